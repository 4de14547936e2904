/** A run from its first round to its last: control links, all-reduce, scheduler and follow-ups. */
import { largestState } from '@troupe/model';
import { createCreditLedger, type CreditLedger, type RunStatus, type WorkerState, type WorkerView } from '@troupe/run';
import { aborted, isLocal, streamCharacters, unitStreams, type SendBudget, type Topology } from '@troupe/protocol';
import { createRunState, oldestUnverified, roundProgress, type RunSettings } from '@troupe/scheduler';
import type { Connection } from '@troupe/transport';
import { Audits } from './audits.js';
import { createAnnouncer, warningOf, type Announcer } from './announcer.js';
import type { BanList } from './bans.js';
import type { SavedBest } from './best-model.js';
import { ControlServer } from './control-server.js';
import { createCreditBook, type CreditBook } from './credits.js';
import { createEventQueue, reduceEvent, type ConductorEvent, type Ending, type Order } from './events.js';
import { FollowUps, type BestParameters } from './follow-ups.js';
import type { Gate } from './gate.js';
import { phaseOf, standingAfter, type Standing } from './phase.js';
import type { Auditor, CheckpointWriter, ConductorPorts, SideJobs } from './ports.js';
import { openReduceLink, type ReduceLink } from './reduce-link.js';
import { createRoster, sessionOf, updateRoster, type Roster } from './roster.js';
import { RunReturns, RunRewound, RunTainted, type StandingOrders } from './returns.js';
import { RunShell } from './run-shell.js';
import { SnapshotSender } from './snapshot-sender.js';
import { chanceLoss, configNow, isReproducible, type Knobs, type Training } from './training.js';
import { workerStates, workerViews } from './worker-views.js';

/** The resolution of the scheduler's deadlines. */
const TICK_MS = 100;
/** How long the end of a run waits for the audits of its last rounds; in a local run, for each of the steps. */
const LAST_AUDITS_MS = 60_000;
const LAST_AUDITS_MOST_MS = 900_000;
/** How long workers have to receive the news that the run is over. */
const GOODBYE_MS = 3_000;

/** Rounds between validations, checkpoints and samples; 0 = only at the end. */
export interface Cadences {
  readonly evaluateEvery: number;
  readonly checkpointEvery: number;
  readonly sampleEvery: number;
}

/** When a run stops before its last round. */
export interface StopRules {
  /** The run has diverged when its loss stays above this many times that of guessing; 0 = never. */
  readonly maxLoss: number;
  /** Stop when this many validations in a row were not better than the best; 0 = never. */
  readonly patience: number;
}

export interface ConductorOptions {
  readonly training: Training;
  readonly stopRules: StopRules;
  readonly cadences: Cadences;
  readonly ports: ConductorPorts;
  readonly side: SideJobs;
  /** Computes leases of volunteers again. Absent: everyone is trusted. */
  readonly auditor?: Auditor | undefined;
  readonly writer: CheckpointWriter;
  /** Decides who may join. */
  readonly gate: Gate;
  /** Who is banned, and which addresses are suspect. */
  readonly bans: BanList;
  /** Rounds of the validations because of which the run has gone back, which outlive this conductor. Absent: it never does. */
  readonly jumps?: Set<number> | undefined;
  /** The secret of the all-reduce service. */
  readonly reduceToken: string;
  /**
   * Where workers find that service. A path means the host at which they reached the coordinator.
   */
  readonly reduceAddress: string;
  /** Addresses of further services, which sum a range of the parameters each for that one. They have the same secret. */
  readonly reducers?: readonly string[] | undefined;
  /** Who may sum the gradients. Default: auto. */
  readonly topology?: Topology;
  /** Of the process: bounds what is queued for all links together. */
  readonly budget?: SendBudget | undefined;
  /** The best model on disk, in a resumed run. */
  readonly best?: SavedBest | undefined;
  /** Who computed what, of earlier sessions; this one is added to it. Default: a new one. */
  readonly credits?: CreditLedger | undefined;
  /** Reads the best model from disk; undefined if there is none. */
  readBest?(): Promise<BestParameters | undefined>;
}

/** Changes of knobs take effect at that round. */
export interface BackOrder extends Partial<Knobs> {
  /** Of a checkpoint. */
  readonly round: number;
}

export interface Conductor {
  readonly shell: Pick<RunShell, 'round' | 'workers' | 'state'>;
  /** Serves one worker's control link until it ends. Never rejects. */
  serve(link: Connection): Promise<void>;
  /**
   * The round to which the run may have to go back, because an audit fails or the validation loss jumps: the newest checkpoint that is not
   * after it must not be removed.
   */
  mayGoBackTo(): number | undefined;
  /** What the run is doing. Cheap: its cost does not grow with the number of workers. */
  status(): ConductorStatus;
  /** The rows of a dashboard's table of workers, including those that left recently. */
  workers(): WorkerView[];
  /** Connected workers, and those that left recently, counted by state. */
  workerStates(): ReadonlyMap<WorkerState, number>;
  /** Pauses, continues or stops the run. */
  feed(order: Extract<Order, { type: 'pause' | 'resume' | 'stop' }>): void;
  /**
   * Takes effect in the next round. A reproducible run must not be tuned: only its config and
   * corpus may decide.
   */
  tune(knobs: Partial<Knobs>): void;
  /**
   * Makes `conduct` reject, so that the run can go on from a checkpoint. A run that is over stays as it ended.
   * @returns what it rejects with
   */
  goBack(order: BackOrder): RunRewound;
  /** See ControlServer.remove. */
  remove(workerId: string, reason: string, ban: boolean): string | undefined;
  /** Saves the run now. @returns the path, or undefined when it could not be written */
  save(): Promise<string | undefined>;
  /**
   * Runs to the end. When `signal` aborts, it saves and stops. Afterwards the all-reduce is released, and workers that come late
   * hear that the run is over until `close`.
   * @throws RunDiverged, RunReturns, NotSaved, ValidationFailed, and any failure that reconnecting cannot repair
   */
  conduct(signal: AbortSignal): Promise<void>;
  /** Closes every link. Call it however `conduct` ended. */
  close(): void;
}

export type ConductorStatus = Pick<
  RunStatus,
  'phase' | 'phaseReason' | 'pausedBy' | 'round' | 'progress' | 'config' | 'workerCount'
>;

/** The loss or the gradient overflowed. */
export class RunDiverged extends Error {
  override readonly name = 'RunDiverged';
  readonly code = 'diverged';
  readonly remedy: string;
  constructor(reason: string, { newest }: Pick<CheckpointWriter, 'newest'>, training: Pick<Training, 'config'>) {
    super(`the run has diverged: ${reason}`);
    // A reproducible run keeps its learning rate.
    const resumable = newest !== undefined && !isReproducible(training.config);
    const resume = resumable ? `Continue from the last checkpoint, ${newest}, with --resume and a lower --lr. Or start` : 'Start';
    this.remedy = `${resume} again with a lower --lr, or with --clip.`;
  }
}

/**
 * Connects to the all-reduce service. A service that another coordinator has is asked again for a
 * while: that coordinator may have crashed a moment ago. `signal` ends this wait.
 * @throws TransportError, CollectiveError when the service cannot be reached or refuses
 */
export async function createConductor(options: ConductorOptions, signal: AbortSignal): Promise<Conductor> {
  const over = new AbortController();
  const { ports } = options;
  const owner = ports.secret(12);
  const onTaken = (reason: string): void => ports.report({ event: 'waiting', reason: `${reason}; asking again` });
  const starting = { signal, onTaken };
  const reduce = await openReduceLink(() => host(options, owner, over.signal), over.signal, ports, starting);
  return new RunConductor(options, reduce, over);
}

class RunConductor implements Conductor {
  readonly shell: RunShell;
  readonly #options: ConductorOptions;
  readonly #reduce: ReduceLink;
  /** Aborts when the training is over. */
  readonly #over: AbortController;
  /** Aborts when nobody is answered any more. */
  readonly #closed = new AbortController();
  readonly #put: (event: ConductorEvent) => void;
  readonly #roster: Roster;
  readonly #credits: CreditBook;
  readonly #announcer: Announcer;
  readonly #control: ControlServer;
  readonly #snapshots: SnapshotSender;
  readonly #followUps: FollowUps;
  readonly #audits: Audits;
  readonly #ended = createPromise<Ending>();
  /** The progress that was reported last. */
  #told = { round: -1, fraction: 0 };
  #standing: Standing = {};
  #tainted: RunTainted | undefined;

  constructor(options: ConductorOptions, reduce: ReduceLink, over: AbortController) {
    const { training, ports } = options;
    const startMs = ports.nowMs();
    this.#options = options;
    this.#reduce = reduce;
    this.#over = over;
    this.#put = createEventQueue((event) => this.#handle(event));
    this.#roster = createRoster(startMs);
    const { credits = createCreditLedger() } = options;
    this.#credits = createCreditBook({ ledger: credits, roster: this.#roster, report: (event) => ports.report(event) });
    this.#announcer = createAnnouncer({ config: training.config, knobs: training.knobs, roster: this.#roster, startMs });
    this.#control = createControlServer(options, reduce, this.#roster, this.#put);
    const state = createRunState(runSettings(options), training.round, training.roundsAboveLimit);
    this.#snapshots = this.#createSnapshots();
    this.shell = new RunShell({
      training,
      state,
      reduce,
      workers: this.#control,
      snapshots: this.#snapshots,
      put: this.#put,
    });
    this.#audits = new Audits({
      ...{ training, reduce, ports, auditor: options.auditor, over: over.signal, put: this.#put },
      isSound: () => this.shell.sound,
      round: () => this.shell.round,
    });
    this.#followUps = new FollowUps({
      ...options,
      loss: state.loss,
      patience: options.stopRules.patience,
      put: this.#put,
      fail: this.#ended.reject,
    });
    // A conductor that is closed before it conducts must not cause an unhandled rejection.
    this.#ended.promise.catch(() => undefined);
  }

  #createSnapshots(): SnapshotSender {
    const { training, ports } = this.#options;
    return new SnapshotSender({
      parameters: training.layout.size,
      round: () => this.shell.round,
      readyWorkers: () => this.shell.workers,
      take: () => this.shell.replicaState(),
      seeds: () => this.shell.seeds,
      sha256: (parts) => ports.sha256(parts),
      workers: this.#control,
      channelOf: (workerId) => sessionOf(this.#roster, workerId)?.channel,
      nowMs: () => ports.nowMs(),
      report: (event) => ports.report(event),
      fail: this.#ended.reject,
    });
  }

  /**
   * The one order in which the parts receive an event. The folds come first, so that the parts
   * that act see them up to date.
   */
  #handle(event: ConductorEvent): void {
    const nowMs = this.#options.ports.nowMs();
    updateRoster(this.#roster, event, nowMs);
    this.#credits.handle(event);
    this.#standing = standingAfter(this.#standing, event);
    const news = [this.#announcer(event, nowMs, this.shell.state.phase === 'over'), warningOf(event)];
    for (const one of news) if (one) this.#options.ports.report(one);
    this.shell.handle(event, nowMs);
    this.#reportProgress(event);
    this.#audits.handle(event);
    if (event.type === 'tainted') this.#noteTainted(event.reason, event.since);
    this.#snapshots.handle(event);
    this.#followUps.handle(event);
    if (this.#standing.ending) this.#ended.resolve(this.#standing.ending);
  }

  /** Once for each per cent of a local round. */
  #reportProgress(event: ConductorEvent): void {
    const { training, ports } = this.#options;
    const isNews = event.type === 'counted' || (event.type === 'workerMessage' && event.message.type === 'progress');
    if (!isNews || !isLocal(training.config)) return;
    const { round } = this.shell;
    const fraction = Math.floor(roundProgress(this.shell.state) * 100) / 100;
    if (round === this.#told.round && fraction <= this.#told.fraction) return;
    this.#told = { round, fraction };
    ports.report({ event: 'progress', ...this.#told });
  }

  /** The earliest lie counts. It may be found when the last round is complete. */
  #noteTainted(reason: string, since: number): void {
    if (this.#tainted && this.#tainted.since <= since) return;
    this.#tainted = new RunTainted(reason, since, this.#standingOrders());
    this.#ended.reject(this.#tainted);
  }

  serve(link: Connection): Promise<void> {
    return this.#control.serve(link, this.#closed.signal);
  }

  status(): ConductorStatus {
    const { state } = this.shell;
    const [phase, phaseReason] = phaseOf(state, this.#standing);
    return {
      phase,
      phaseReason,
      pausedBy: [...state.pausedBy],
      round: state.round,
      ...(isLocal(this.#options.training.config) && phase === 'running' && { progress: roundProgress(state) }),
      config: configNow(this.#options.training),
      workerCount: this.#roster.connected,
    };
  }

  mayGoBackTo(): number | undefined {
    const rounds = [oldestUnverified(this.shell.state), this.#followUps.lastValidated].filter((round) => round !== undefined);
    return rounds.length > 0 ? Math.min(...rounds) : undefined;
  }

  workers(): WorkerView[] {
    return workerViews(this.#roster, this.shell.state, this.#options.ports.nowMs());
  }

  workerStates(): ReadonlyMap<WorkerState, number> {
    return workerStates(this.#roster, this.shell.state, this.#options.ports.nowMs());
  }

  feed(order: Order): void {
    this.#put({ type: 'order', order });
  }

  tune(knobs: Partial<Knobs>): void {
    Object.assign(this.#options.training.knobs, knobs);
    this.feed({ type: 'tuned' });
  }

  goBack({ round, ...changes }: BackOrder): RunRewound {
    const { knobs, pausedBy } = this.#standingOrders();
    const rewound = new RunRewound(round, this.shell.round, { knobs: { ...knobs, ...changes }, pausedBy });
    this.#ended.reject(rewound);
    return rewound;
  }

  #standingOrders(): StandingOrders {
    return { knobs: this.#options.training.knobs, pausedBy: [...this.shell.state.pausedBy] };
  }

  remove(workerId: string, reason: string, ban: boolean): string | undefined {
    return this.#control.remove(workerId, reason, ban);
  }

  save(): Promise<string | undefined> {
    this.#credits.report(this.shell.round);
    return this.#followUps.saveNow(this.shell.round);
  }

  close(): void {
    this.#endTraining();
    this.#closed.abort(new Error('the run is over'));
  }

  #endTraining(): void {
    this.#reduce.close('the run is over');
    this.#over.abort(new Error('the run is over'));
  }

  async conduct(signal: AbortSignal): Promise<void> {
    this.#listen().catch(this.#ended.reject);
    this.#tick().catch(this.#ended.reject);
    try {
      await this.#conclude(await this.#train(signal), signal);
    } catch (error) {
      if (error instanceof RunReturns) this.#control.closeAll('the run goes back to an earlier round');
      throw error;
    } finally {
      this.#followUps.close();
      await this.#options.writer.settled();
      this.#endTraining();
    }
  }

  /**
   * Resolves when the scheduler is done. @throws RunDiverged, and any failure that reconnecting
   * cannot repair, after it saved the run
   */
  async #train(signal: AbortSignal): Promise<Extract<Ending, { type: 'finish' }>> {
    const stop = (): void => this.feed({ type: 'stop' });
    signal.addEventListener('abort', stop, { once: true });
    try {
      this.feed({ type: 'start' });
      this.#followUps.checkPatience();
      if (signal.aborted) stop();
      const ending = await this.#ended.promise;
      return ending.type === 'finish' ? ending : await this.#stoppedBefore(ending, signal);
    } catch (error) {
      if (!(error instanceof RunDiverged || error instanceof RunReturns)) await this.#saveWhatIsSound();
      throw error;
    } finally {
      signal.removeEventListener('abort', stop);
    }
  }

  /**
   * How a run that has diverged ends if patience had stopped it before.
   * @throws RunDiverged otherwise, when the last good checkpoint is written
   */
  async #stoppedBefore(
    { round, reason }: Extract<Ending, { type: 'fail' }>,
    signal: AbortSignal,
  ): Promise<Extract<Ending, { type: 'finish' }>> {
    if (await this.#followUps.settle(signal)) {
      const ending = { type: 'finish', round, outcome: 'stopped' } as const;
      this.#standing = { ...this.#standing, ending };
      return ending;
    }
    await this.#control.dismissAll('diverged', GOODBYE_MS);
    throw new RunDiverged(reason, this.#options.writer, this.#options.training);
  }

  /**
   * Nothing trained is lost: the replica is sound whatever else failed, unless its step was
   * interrupted.
   */
  async #saveWhatIsSound(): Promise<void> {
    // Workers reconnect on their own if the run is resumed.
    this.#control.closeAll('the coordinator failed');
    if (this.shell.sound) await this.save();
  }

  /** @throws NotSaved, ValidationFailed, RunTainted */
  async #conclude(ending: Extract<Ending, { type: 'finish' }>, signal: AbortSignal): Promise<void> {
    const { training, ports } = this.#options;
    const late = ports.deadline(Math.min(LAST_AUDITS_MS * training.config.localSteps, LAST_AUDITS_MOST_MS));
    await Promise.race([this.#audits.settled(), aborted(signal), aborted(late)]);
    if (this.#tainted) throw this.#tainted;
    const saved = await this.#followUps.saveNow(ending.round);
    // Rounds that are not on disk have to be computed again, so workers must not be told that the
    // run is over.
    if (saved === undefined) this.#control.closeAll('the last rounds could not be saved');
    else await this.#control.dismissAll(ending.outcome, GOODBYE_MS);
    await this.#followUps.conclude(ending, saved, signal);
  }

  #listen(): Promise<void> {
    return this.#reduce.listen((event) => {
      const timely = 'kind' in event ? reduceEvent(event, this.shell.state) : event;
      if (timely) this.#put(timely);
    });
  }

  async #tick(): Promise<void> {
    const { signal } = this.#over;
    for (;;) {
      try {
        await this.#options.ports.sleep(TICK_MS, signal);
      } catch (error) {
        if (signal.aborted) return;
        throw error;
      }
      this.feed({ type: 'tick' });
    }
  }
}

async function host(options: ConductorOptions, owner: string, signal: AbortSignal) {
  const { training, ports, reduceToken, reduceAddress, reducers = [] } = options;
  const { config, runId, layout, stateFloats } = training;
  return ports.collective.host({
    address: reduceAddress,
    token: reduceToken,
    runId,
    owner,
    streams: config.streams,
    window: streamCharacters(config),
    codec: config.codec,
    ordered: config.leaseStreams > 0,
    tensorSizes: layout.tensors.map((tensor) => tensor.size),
    stateFloats,
    largestState: largestState(config.model, training.streams.windowsPerPass * config.window),
    reducers,
    deadline: (ms) => ports.deadline(ms),
    signal,
  });
}

function createControlServer(
  { training, ports, gate, bans, reduceAddress, budget }: ConductorOptions,
  reduce: ReduceLink,
  roster: Roster,
  put: (event: ConductorEvent) => void,
): ControlServer {
  const { runId, config, layout } = training;
  return new ControlServer({
    gate,
    bans,
    layoutHash: layout.hash,
    welcome: { runId, config, layoutHash: layout.hash, reduceAddress },
    roster,
    reduce,
    put,
    budget,
    nowMs: () => ports.nowMs(),
    deadline: (ms) => ports.deadline(ms),
    secret: (bytes) => ports.secret(bytes),
  });
}

function runSettings({
  training: { config, streams },
  cadences,
  stopRules: { maxLoss },
  topology,
  auditor,
  ports,
}: ConductorOptions): RunSettings {
  const { rounds, localSteps, changedRound, changedWindow, codec } = config;
  const loss = { chanceLoss: chanceLoss(config), maxLoss };
  return {
    streams: config.streams,
    window: streamCharacters(config),
    rounds,
    leaseStreams: unitStreams(config),
    windowsPerPass: streams.windowsPerPass,
    ...{ localSteps, changedRound, changedWindow },
    codec,
    ...loss,
    ...cadences,
    topology: topology ?? 'auto',
    audits: auditor && { seed: auditSeed(ports) },
  };
}

function auditSeed({ secret, sha256 }: ConductorPorts): readonly [number, number] {
  const bytes = sha256([new TextEncoder().encode(secret(24))]);
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  return [view.getUint32(0), view.getUint32(4)];
}

function createPromise<T>(): { readonly promise: Promise<T>; resolve(value: T): void; reject(error: unknown): void } {
  let resolve: (value: T) => void;
  let reject: (error: unknown) => void;
  const promise = new Promise<T>((...settle) => ([resolve, reject] = settle));
  return { promise, resolve: resolve!, reject: reject! };
}
