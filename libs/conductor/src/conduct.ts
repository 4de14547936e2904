/** A run from its first round to its last: links, all-reduce, run core and follow-ups put together. */
import type { RunPhase, RunStatus, WorkerView } from '@troupe/run';
import { createRunState, NO_WORKER, type RunInput, type RunSettings, type RunState } from '@troupe/scheduler';
import type { Connection } from '@troupe/transport';
import { createControlServer, type ControlServer } from './control-server.js';
import { createFollowUps } from './follow-ups.js';
import { createOverview, type Overview } from './overview.js';
import type { CheckpointWriter, ConductorPorts, SideJobs } from './ports.js';
import { openReduceLink, type ReduceLink } from './reduce-link.js';
import { createRunShell, type Ending, type RunShell } from './run-shell.js';
import { configNow, type Knobs, type Training } from './training.js';

/** Deadlines are kept to this. */
const TICK_MS = 100;
const GOODBYE_MS = 3_000;
/** Holds a reproducible run back while too many of its validations are pending. */
const VALIDATION = 'validation';

/** Rounds between validations, checkpoints and samples; 0 = only at the end. */
export interface Cadences {
  readonly evaluateEvery: number;
  readonly checkpointEvery: number;
  readonly sampleEvery: number;
}

export interface ConductorOptions {
  readonly training: Training;
  readonly cadences: Cadences;
  readonly ports: ConductorPorts;
  readonly side: SideJobs;
  readonly writer: CheckpointWriter;
  /** What workers must show to join. */
  readonly token: string;
  /** The secret of the all-reduce service. */
  readonly reduceToken: string;
  /** Where workers find that service; a path means: on the host by which they reached the coordinator. */
  readonly reduceAddress: string;
  /** The best checkpoint of before, in a resumed run. */
  readonly bestPath?: string | undefined;
}

export interface Conductor {
  readonly shell: Pick<RunShell, 'round' | 'workers' | 'state'>;
  /** Serves one worker's control link until it ends. Never rejects. */
  serve(link: Connection): Promise<void>;
  /** What the run is doing; costs next to nothing. */
  status(): ConductorStatus;
  /** A row for each worker that a dashboard lists, those that left lately among them. */
  workers(): WorkerView[];
  /** For who steers the run. */
  feed(input: Extract<RunInput, { type: 'pause' | 'continue' | 'stop' }>): void;
  /** From the next round on. In a reproducible run nothing but config and corpus may decide: whoever asks is to be turned down. */
  tune(knobs: Partial<Knobs>): void;
  /** See ControlDoor.remove. */
  remove(workerId: string, reason: string, ban: boolean): string | undefined;
  /** Saves the run as it stands. @returns where, or undefined when it could not be written */
  save(): Promise<string | undefined>;
  /** Runs to the end; aborted: saves and stops. @throws RunDiverged, NotSaved, what no reconnecting mends */
  conduct(signal: AbortSignal): Promise<void>;
  /** Lets every link go; to be called whatever `conduct` came to. */
  close(): void;
}

export type ConductorStatus = Pick<RunStatus, 'phase' | 'phaseReason' | 'pausedBy' | 'round' | 'config' | 'workerCount'>;

/** The loss or the gradient overflowed. */
export class RunDiverged extends Error {
  override readonly name = 'RunDiverged';
  readonly code = 'diverged';
  readonly remedy: string;
  constructor(reason: string, place: string) {
    super(`the run has diverged: ${reason}`);
    this.remedy = `Start anew with a lower --lr or a --clip; the checkpoints of before stand in ${place}.`;
  }
}

/** Connects to the all-reduce service. @throws TransportError, CollectiveError when it cannot be reached or turns us away */
export async function createConductor(options: ConductorOptions): Promise<Conductor> {
  const over = new AbortController();
  const reduce = await openReduceLink(() => host(options, over.signal), over.signal, options.ports);
  let end: (ending: Ending) => void = () => undefined;
  let fail: (error: unknown) => void = () => undefined;
  const ended = new Promise<Ending>((resolve, reject) => {
    end = resolve;
    fail = reject;
  });
  // Whoever closes without conducting hears of no failure.
  ended.catch(() => undefined);
  let ending: Ending | undefined;
  const { shell, control, followUps, overview } = assemble(options, reduce, (how) => end((ending = how)));
  let lost: string | undefined;
  const close = (): void => {
    reduce.close('the run is over');
    over.abort(new Error('the run is over'));
  };

  return {
    shell,
    serve: (link) => control.serve(link, over.signal),
    status,
    workers: () => overview.workers(shell.state),
    feed: (input) => shell.feed(input),
    tune: (knobs) => void Object.assign(options.training.knobs, knobs),
    remove: (workerId, reason, ban) => control.remove(workerId, reason, ban),
    save: () => followUps.saveNow(shell.round),
    conduct,
    close,
  };

  function status(): ConductorStatus {
    const { state } = shell;
    const [phase, phaseReason] = phaseOf(state, ending, lost);
    return {
      phase,
      phaseReason,
      pausedBy: [...state.pausedBy],
      round: state.round,
      config: configNow(options.training),
      workerCount: control.workers,
    };
  }

  async function conduct(signal: AbortSignal): Promise<void> {
    const { writer, ports } = options;
    listenToReduce().catch(fail);
    tickUntil(over.signal, ports, shell).catch(fail);
    const stop = (): void => shell.feed({ type: 'stop' });
    signal.addEventListener('abort', stop, { once: true });
    let concluding = false;
    try {
      shell.feed({ type: 'start' });
      if (signal.aborted) stop();
      const how = await ended;
      if (how.type === 'fail') {
        await control.dismissAll('diverged', GOODBYE_MS);
        throw new RunDiverged(how.reason, writer.place);
      }
      concluding = true;
      const saved = await followUps.saveNow(how.round);
      // Rounds that are on no disk have to be computed again, by workers that are still there.
      if (saved === undefined) control.closeAll('the last rounds could not be saved');
      else await control.dismissAll(how.outcome, GOODBYE_MS);
      await followUps.conclude(how, saved, signal);
    } catch (error) {
      // The replica is sound whatever else broke, but for a step cut short: nothing trained is lost.
      if (!concluding && !(error instanceof RunDiverged)) {
        // Workers come back by themselves should the run be resumed.
        control.closeAll('the coordinator has failed');
        if (shell.sound) await followUps.saveNow(shell.round);
      }
      throw error;
    } finally {
      signal.removeEventListener('abort', stop);
      await writer.settled();
    }
  }

  function listenToReduce(): Promise<void> {
    const { report } = options.ports;
    return reduce.listen({
      onEvent(event) {
        overview.onReduce(event, shell.state);
        shell.onReduce(event);
      },
      onLost(reason) {
        lost = `the all-reduce service is lost (${reason}); reconnecting`;
        report({ event: 'waiting', reason: lost });
      },
      onRefused: (reason, remedy) => report({ event: 'note', level: 'warn', text: reason, remedy }),
      onRestored() {
        lost = undefined;
        overview.reopened();
        shell.feed({ type: 'reopen' });
      },
    });
  }
}

function phaseOf(state: RunState, ending: Ending | undefined, lost: string | undefined): [RunPhase, reason: string] {
  if (state.phase === 'over') {
    if (ending?.type === 'fail') return ['over', `failed: ${ending.reason}`];
    return ['over', ending?.outcome === 'stopped' ? 'stopped' : 'all rounds are computed'];
  }
  if (state.phase === 'idle') return ['starting', 'the first round is about to open'];
  if (lost !== undefined) return ['waiting', lost];
  const people = [...state.pausedBy].filter((by) => by !== VALIDATION);
  if (people.length > 0) return ['paused', `paused by ${people.join(', ')}`];
  if (state.pausedBy.has(VALIDATION)) return ['waiting', 'validation is behind, and a reproducible run leaves none out'];
  if (state.waiting) return ['waiting', NO_WORKER];
  return ['running', `round ${state.round + 1} of ${state.settings.rounds} is being computed`];
}

async function host({ training, ports, reduceToken, reduceAddress }: ConductorOptions, signal: AbortSignal) {
  const { config, runId, layout, stateFloats } = training;
  return ports.collective.host({
    address: reduceAddress,
    token: reduceToken,
    runId,
    streams: config.streams,
    window: config.window,
    codec: config.codec,
    ordered: config.leaseStreams > 0,
    tensorSizes: layout.tensors.map((tensor) => tensor.size),
    stateFloats,
    deadline: (ms) => ports.deadline(ms),
    signal,
  });
}

interface Assembled {
  readonly shell: RunShell;
  readonly control: ControlServer;
  readonly followUps: ReturnType<typeof createFollowUps>;
  readonly overview: Overview;
}

function assemble(options: ConductorOptions, reduce: ReduceLink, onEnd: (ending: Ending) => void): Assembled {
  const { training, ports } = options;
  const overview = createOverview(() => ports.nowMs());
  const followUps = createFollowUps({
    ...options,
    nowMs: () => ports.nowMs(),
    timestamp: () => ports.timestamp(),
    deadline: (ms) => ports.deadline(ms),
    report: (event) => ports.report(event),
    workers: () => shell.workers,
    timing: () => overview.timing,
    hold: (on) => shell.feed({ type: on ? 'pause' : 'continue', by: VALIDATION }),
  });
  const shell = createRunShell({
    ...training,
    state: createRunState(runSettings(options), training.round),
    nowMs: () => ports.nowMs(),
    host: reduce,
    control: () => control,
    onUpdate: (update) => followUps.onUpdate(update),
    onDue: (effect) => followUps.onDue(effect),
    onWaiting: (reason) => ports.report({ event: 'waiting', reason }),
    onTell: (text) => ports.report({ event: 'decision', round: shell.round, text }),
    onEnd,
  });
  const control = createControlServer({
    token: options.token,
    ...welcomeOf(options),
    deadline: (ms) => ports.deadline(ms),
    secret: (bytes) => ports.secret(bytes),
    admit: (workerId, ticket) => reduce.admit(workerId, ticket),
    dismiss: (workerId, reason) => reduce.dismiss(workerId, reason),
    feed: (input) => shell.feed(input),
    onHeard({ workerId, name }, message) {
      if (message.type === 'hello') overview.joined(workerId, name, message.kind);
      overview.heard(workerId, message);
    },
    onChange(worker, change, reason) {
      if (change === 'left') overview.left(worker.workerId, reason);
      // That everyone leaves when the run is over is no news.
      if (change === 'left' && shell.state.phase === 'over') return;
      ports.report({ event: 'worker', ...worker, change, reason, workers: control.workers });
    },
  });
  return { shell, control, followUps, overview };
}

function welcomeOf({ training: { runId, config, layout }, reduceAddress }: ConductorOptions) {
  return { layoutHash: layout.hash, welcome: { runId, config, layoutHash: layout.hash, reduceAddress } };
}

function runSettings({ training: { config, streams }, cadences }: ConductorOptions): RunSettings {
  const { rounds, window, leaseStreams } = config;
  return { streams: config.streams, window, rounds, leaseStreams, windowsPerPass: streams.roundsPerPass, ...cadences };
}

async function tickUntil(over: AbortSignal, ports: ConductorPorts, shell: RunShell): Promise<void> {
  for (;;) {
    try {
      await ports.sleep(TICK_MS, over);
    } catch (error) {
      if (over.aborted) return;
      throw error;
    }
    shell.feed({ type: 'tick' });
  }
}
