/**
 * The coordinator's machine: the real conductor, a disk that outlives it, and a supervisor that
 * restarts it.
 */
import type { Collective } from '@troupe/collective';
import { createStarCollective, createStarService, type StarOptions } from '@troupe/collective/star';
import {
  createBanList,
  createConductor,
  createTokenGate,
  createTraining,
  NotSaved,
  RunDiverged,
  RunTainted,
  savedBestOf,
  writeInTurn,
  type Conductor,
  type ConductorOptions,
  type Gate,
  type SideJobs,
  type Training,
} from '@troupe/conductor';
import { lossOf, type RunEvent } from '@troupe/run';
import { createMemoryPair } from '@troupe/transport/memory';
import { createSimulatedAuditor } from './auditor.js';
import { createDisk, type Disk } from './disk.js';
import { createHost, type Host } from './host.js';
import { REDUCE_TOKEN, reduceAddress, serviceOptions } from './reduce.js';
import { sha256 } from './training.js';
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
  'ValidationFailed',
  'RunTainted',
]);

export interface SimulatedCoordinator {
  readonly host: Host;
  readonly disk: Disk;
  readonly running: boolean;
  /** The thread for validations, in every life of the process. */
  readonly side: {
    /** The number of validations, from now on, that fail. */
    failures: number;
    /** Nats/char of parameters [P]. Absent: an arbitrary function. */
    lossOf?: (parameters: Float32Array) => number;
  };
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
  return new CoordinatorMachine(world);
}

class CoordinatorMachine implements SimulatedCoordinator {
  readonly disk: Disk;
  readonly side: SimulatedCoordinator['side'] = { failures: 0 };
  readonly events: RunEvent[] = [];
  readonly failures: Error[] = [];
  host: Host;
  conductor: Conductor | undefined;
  running = false;
  ended = false;
  served = 0;
  readonly #world: World;
  readonly #bans = createBanList({ now: () => 0 });
  readonly #jumps = new Set<number>();

  constructor(world: World) {
    this.#world = world;
    this.disk = createDisk(world.start);
    this.host = createHost(world.clock, 'coordinator', 5_000);
    this.disk.onWritten = (...file) => world.audit.onWritten(...file);
    world.clock.onSettled(() => {
      if (this.conductor && this.running && this.host.alive) world.audit.onState(this.conductor.shell.state);
    });
  }

  // Faults pass it on as a task.
  readonly boot = (): void => {
    if (this.running || this.ended) return;
    const { clock } = this.#world;
    const mine = createHost(clock, 'coordinator', this.host.nowMs() - clock.nowMs);
    this.host = mine;
    this.running = true;
    this.conductor = undefined;
    this.served = 0;
    this.#live(mine).then(
      () => this.#over(mine, undefined),
      (error: unknown) => this.#over(mine, error),
    );
  };

  crash(silently = false): void {
    if (!this.running) return;
    this.running = false;
    this.#world.network.kill(this.host, silently);
  }

  /** One life of the process. */
  async #live(mine: Host): Promise<void> {
    const world = this.#world;
    const over = new AbortController();
    const training = createTraining({
      runId: 'run',
      config: world.config,
      ...world.text,
      checkpoint: this.disk.latest(),
      evaluateEvery: world.cadences.evaluateEvery,
    });
    world.audit.onBoot();
    world.audit.onCommitted(training.round, training.replica.parameters, training.replica.digest());
    const serving = (work: Promise<void>, host: Host): Promise<void> => this.#serving(work, host);
    const connectReduce = world.separate ? dialReduce(world, mine) : embedReduce(world, mine, over.signal, serving);
    const report = (event: RunEvent): void => this.#report(event, training);
    const parts = { disk: this.disk, side: this.side, bans: this.#bans, jumps: this.#jumps, training, connectReduce, report };
    const options = conductorOptions(world, mine, parts);
    const conductor = await createConductor(options, new AbortController().signal);
    this.conductor = conductor;
    world.network.listen(mine, '/control', (link) => serving(conductor.serve(link), mine));
    try {
      await conductor.conduct(new AbortController().signal);
    } finally {
      conductor.close();
      over.abort(new Error('the run is over'));
    }
  }

  /** Counts a link while it is served. */
  async #serving(work: Promise<void>, mine: Host): Promise<void> {
    this.served++;
    const { audit } = this.#world;
    await work.catch((error: unknown) => audit.violate(`serving a link rejects: ${String(error)}`));
    if (mine === this.host) this.served--;
  }

  #report(event: RunEvent, training: Training): void {
    const world = this.#world;
    this.events.push(event);
    world.trace('coordinator', () => JSON.stringify(event));
    if (event.event === 'finished') this.#checkBest(event);
    if (event.event === 'worker' && event.change === 'left') world.audit.onLeft(event.name);
    if (event.event !== 'round') return;
    world.audit.onCommitted(event.round, training.replica.parameters, training.replica.digest());
    world.onRound(event.round);
  }

  /** The best model that the end of a run names is in the file of that name. */
  #checkBest({ bestCheckpoint, bestValidationLoss }: Extract<RunEvent, { event: 'finished' }>): void {
    const best = savedBestOf(this.disk.best());
    if (best?.path === bestCheckpoint && (best && lossOf(best)) === bestValidationLoss) return;
    this.#world.audit.violate(
      `the end names ${bestCheckpoint} with ${bestValidationLoss}, but the disk has ${JSON.stringify(best)}`,
    );
  }

  #over(mine: Host, error: unknown): void {
    if (mine !== this.host || !this.running) return;
    const { audit, clock, network, onNotSaved, trace } = this.#world;
    this.running = false;
    trace('coordinator', () => `ended: ${error instanceof Error ? error.message : 'complete'}`);
    if (error instanceof Error) this.failures.push(error);
    if (error instanceof RunTainted) this.disk.goBack(error.since);
    if (error instanceof Error && !RESTARTABLE.has(error.name)) audit.violate(`the coordinator ends with ${String(error)}`);
    this.ended = error === undefined || error instanceof RunDiverged;
    if (this.ended) return;
    network.kill(mine, false);
    clock.after(RESTART_MS, 'coordinator: restart', this.boot);
    if (error instanceof NotSaved) onNotSaved();
  }
}

interface Parts extends Pick<ConductorOptions, 'training' | 'bans' | 'jumps'> {
  readonly disk: Disk;
  readonly side: SimulatedCoordinator['side'];
  readonly connectReduce: StarOptions['connect'];
  report(event: RunEvent): void;
}

function conductorOptions(world: World, host: Host, parts: Parts): ConductorOptions {
  const { disk, side, bans, jumps, training, connectReduce, report } = parts;
  const onFailed = (error: Error): void => report({ event: 'note', level: 'warn', text: error.message });
  return {
    training,
    cadences: world.cadences,
    stopRules: world.stopRules,
    topology: world.peers ? 'peers' : 'auto',
    gate: createGate(world),
    bans,
    jumps,
    auditor: createSimulatedAuditor(world.config, host),
    reduceToken: REDUCE_TOKEN,
    reduceAddress: world.separate ? reduceAddress('reduce') : '/reduce',
    best: savedBestOf(disk.best()),
    side: createSideJobs(host, side),
    writer: writeInTurn({
      place: 'disk',
      holds: async (round) => disk.holds(round),
      write: (checkpoint, best) => disk.write(host, checkpoint, best),
      onFailed,
    }),
    ports: {
      nowMs: () => host.nowMs(),
      sleep: (ms, signal) => host.sleep(ms, signal),
      deadline: (ms) => host.deadline(ms),
      timestamp: () => '2026-01-01T00:00:00.000Z',
      secret: (bytes) => Array.from({ length: bytes }, () => Math.floor(world.random.next() * 36).toString(36)).join(''),
      sha256: (parts) => Buffer.from(sha256(parts), 'hex'),
      collective: collectiveOf(world, connectReduce),
      report,
    },
  };
}

/** Trusts those who have the token of workers. */
function createGate({ token, volunteerToken }: World): Gate {
  const [workers, volunteers] = [createTokenGate(token), createTokenGate(volunteerToken, false)];
  return {
    addressOf: (link) => workers.addressOf(link),
    admit(hello, link) {
      if (hello.token === volunteerToken) return volunteers.admit(hello, link);
      return workers.admit(hello, link);
    },
  };
}

/** The conductor hosts it; the machines of the reducers are named here. */
function collectiveOf({ audit, config, separate, reducers }: World, connect: Parts['connectReduce']): Collective {
  const star = createStarCollective({
    connect: async (address, signal) => audit.listenIn(await connect(address, signal), config.streams),
  });
  const named = separate ? reducers.map(reduceAddress) : [];
  return { join: (options) => star.join(options), host: (options) => star.host({ ...options, reducers: named }) };
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
  const reducers = world.reducers.map((name) => ({ address: reduceAddress(name), forWorkers: reduceAddress(name) }));
  const service = createStarService({ ...serviceOptions(world, host), reducers });
  world.network.listen(host, '/reduce', (link) => serving(service.serve(link, over), host));
  return async () => {
    const [inside, outside] = createMemoryPair(['coordinator', 'all-reduce']);
    void serving(service.serve(outside, over), host);
    return inside;
  };
}

function arbitraryLoss(parameters: Float32Array): number {
  return 3 - parameters.reduce((sum, value) => sum + Math.abs(value), 0) / parameters.length;
}

function createSideJobs(host: Host, side: SimulatedCoordinator['side']): SideJobs {
  let queue: Promise<unknown> = Promise.resolve();
  let pending = 0;
  const inTurn = <T>(job: () => Promise<T>): Promise<T> => {
    pending++;
    const done = queue.then(job).finally(() => pending--);
    queue = done.catch(() => undefined);
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
        if (side.failures > 0) {
          side.failures--;
          throw new Error('the side thread broke');
        }
        return { lossPerChar: (side.lossOf ?? arbitraryLoss)(copy), tokens: 100 };
      });
    },
    sample: () => inTurn(async () => new Uint16Array(3)),
  };
}
