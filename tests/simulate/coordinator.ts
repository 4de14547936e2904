/**
 * The coordinator's machine: the real conductor, a disk that outlives it, and a supervisor that
 * restarts it.
 */
import { createStarCollective, createStarService, type StarOptions } from '@troupe/collective/star';
import {
  createConductor,
  createTraining,
  NotSaved,
  RunDiverged,
  writeInTurn,
  type Conductor,
  type ConductorOptions,
  type SideJobs,
  type Training,
} from '@troupe/conductor';
import type { RunEvent } from '@troupe/run';
import { createMemoryPair } from '@troupe/transport/memory';
import { createDisk, type Disk } from './disk.js';
import { createHost, type Host } from './host.js';
import { corpus, split, vocabulary } from './training.js';
import type { World } from './world.js';

const RESTART_MS = 2_000;
const EVALUATION_MS = 30;
/** Errors after which the supervisor restarts it. */
const RESTARTABLE: ReadonlySet<string> = new Set([
  'TransportError',
  'CollectiveError',
  'ProtocolError',
  'NotSaved',
  'RunDiverged',
]);
export const REDUCE_TOKEN = 'secret of the all-reduce';

export interface SimulatedCoordinator {
  readonly host: Host;
  readonly disk: Disk;
  readonly running: boolean;
  readonly events: readonly RunEvent[];
  /** The errors with which it ended. */
  readonly failures: readonly Error[];
  /** The run is complete or has diverged. */
  readonly ended: boolean;
  readonly conductor: Conductor | undefined;
  /** Connections being served. */
  readonly served: number;
  boot(): void;
  crash(silently?: boolean): void;
}

export function createSimulatedCoordinator(world: World): SimulatedCoordinator {
  const disk = createDisk();
  disk.onWritten = (...file) => world.audit.onWritten(...file);
  const events: RunEvent[] = [];
  const failures: Error[] = [];
  let host = createHost(world.clock, 'coordinator', 5_000);
  let conductor: Conductor | undefined;
  let running = false;
  let ended = false;
  let served = 0;

  world.clock.onSettled(() => {
    if (conductor && running && host.alive) world.audit.onState(conductor.shell.state);
  });
  const serving = async (work: Promise<void>, mine: Host): Promise<void> => {
    served++;
    await work.catch((error: unknown) => world.audit.violate(`serving a link rejects: ${String(error)}`));
    if (mine === host) served--;
  };

  async function live(mine: Host): Promise<void> {
    const over = new AbortController();
    const training = createTraining({
      runId: 'run',
      config: world.config,
      vocabulary,
      corpus,
      split,
      checkpoint: disk.latest(),
      evaluateEvery: world.cadences.evaluateEvery,
    });
    world.audit.onBoot();
    world.audit.onCommitted(training.round, training.replica.parameters, training.replica.digest());
    const connectReduce = world.separate ? dialReduce(world, mine) : embedReduce(world, mine, over.signal, serving);
    const options = conductorOptions(world, mine, { disk, training, connectReduce, report: (event) => report(event, training) });
    const current = await createConductor(options);
    conductor = current;
    world.network.listen(mine, '/control', (link) => serving(current.serve(link), mine));
    try {
      await current.conduct(new AbortController().signal);
    } finally {
      current.close();
      over.abort(new Error('the run is over'));
    }
  }
  function report(event: RunEvent, training: Training): void {
    events.push(event);
    world.trace('coordinator', () => JSON.stringify(event));
    if (event.event !== 'round') return;
    world.audit.onCommitted(event.round, training.replica.parameters, training.replica.digest());
    world.onRound(event.round);
  }
  function over(mine: Host, error: unknown): void {
    if (mine !== host || !running) return;
    running = false;
    world.trace('coordinator', () => `ended: ${error instanceof Error ? error.message : 'complete'}`);
    if (error instanceof Error) failures.push(error);
    if (error instanceof Error && !RESTARTABLE.has(error.name)) world.audit.violate(`the coordinator ends with ${String(error)}`);
    ended = error === undefined || error instanceof RunDiverged;
    if (ended) return;
    world.network.kill(mine, false);
    world.clock.after(RESTART_MS, 'coordinator: restart', boot);
    if (error instanceof NotSaved) world.onNotSaved();
  }
  function boot(): void {
    if (running || ended) return;
    const mine = createHost(world.clock, 'coordinator', host.nowMs() - world.clock.nowMs);
    host = mine;
    running = true;
    conductor = undefined;
    served = 0;
    live(mine).then(
      () => over(mine, undefined),
      (error: unknown) => over(mine, error),
    );
  }
  return {
    disk,
    events,
    failures,
    boot,
    crash(silently = false) {
      if (!running) return;
      running = false;
      world.network.kill(host, silently);
    },
    get host() {
      return host;
    },
    get running() {
      return running;
    },
    get ended() {
      return ended;
    },
    get conductor() {
      return conductor;
    },
    get served() {
      return served;
    },
  };
}

interface Parts extends Pick<ConductorOptions, 'training'> {
  readonly disk: Disk;
  readonly connectReduce: StarOptions['connect'];
  report(event: RunEvent): void;
}

function conductorOptions(world: World, host: Host, { disk, training, connectReduce, report }: Parts): ConductorOptions {
  const onFailed = (error: Error): void => report({ event: 'note', level: 'warn', text: error.message });
  return {
    training,
    cadences: world.cadences,
    token: world.token,
    reduceToken: REDUCE_TOKEN,
    reduceAddress: world.separate ? 'sim://reduce/reduce' : '/reduce',
    bestPath: disk.best() && 'disk/best',
    side: createSideJobs(host),
    writer: writeInTurn({ place: 'disk', write: (checkpoint, best) => disk.write(host, checkpoint, best), onFailed }),
    ports: {
      nowMs: () => host.nowMs(),
      sleep: (ms, signal) => host.sleep(ms, signal),
      deadline: (ms) => host.deadline(ms),
      timestamp: () => '2026-01-01T00:00:00.000Z',
      secret: (bytes) => Array.from({ length: bytes }, () => Math.floor(world.random.next() * 36).toString(36)).join(''),
      collective: createStarCollective({
        connect: async (address, signal) => world.audit.listenIn(await connectReduce(address, signal), world.config.streams),
      }),
      report,
    },
  };
}

function dialReduce(world: World, host: Host): Parts['connectReduce'] {
  return (address, signal) => world.network.dial(host, address, signal);
}

function embedReduce(
  world: World,
  host: Host,
  over: AbortSignal,
  serving: (work: Promise<void>, host: Host) => Promise<void>,
): Parts['connectReduce'] {
  const service = createStarService({
    token: REDUCE_TOKEN,
    deadline: (ms) => host.deadline(ms),
    log: (note) => world.trace('all-reduce', () => note.text),
  });
  world.network.listen(host, '/reduce', (link) => serving(service.serve(link, over), host));
  return async () => {
    const [inside, outside] = createMemoryPair(['coordinator', 'all-reduce']);
    void serving(service.serve(outside, over), host);
    return inside;
  };
}

/** The validation loss is an arbitrary function of the parameters. */
function createSideJobs(host: Host): SideJobs {
  let queue: Promise<unknown> = Promise.resolve();
  let pending = 0;
  const inTurn = <T>(job: () => Promise<T>): Promise<T> => {
    pending++;
    const done = queue.then(job).finally(() => pending--);
    queue = done;
    return done;
  };
  return {
    get pending() {
      return pending;
    },
    evaluate(parameters) {
      const copy = parameters.slice();
      return inTurn(async () => {
        await host.sleep(EVALUATION_MS);
        return { lossPerChar: 5 - copy.reduce((sum, value) => sum + Math.abs(value), 0) / copy.length, tokens: 100 };
      });
    },
    sample: () => inTurn(async () => new Uint16Array(3)),
  };
}
