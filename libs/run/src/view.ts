/**
 * What viewers see of a run: the answers of the coordinator's HTTP API and the messages of its live
 * link, all JSON. Loss is in nats/char, durations in ms, points in time in ms since 1970, rates in
 * chars/s. Text from workers is cut to a limit and has no control characters; show it as text,
 * never as markup.
 */
import { LIMITS } from '@troupe/config/limits';
import type { Topology, TrainingConfig } from '@troupe/protocol';

/**
 * `starting`: before the first round · `running` · `paused`: by `pausedBy` · `waiting`: for a
 * worker or the all-reduce service · `over`: completed, stopped or failed.
 */
export type RunPhase = 'starting' | 'running' | 'paused' | 'waiting' | 'over';

/** `read`: may see the run · `admin`: may control it. */
export type Access = 'read' | 'admin';

export interface CorpusView {
  readonly name: string;
  /** Characters in all; `train` and `validation` are its two parts. */
  readonly characters: number;
  readonly train: number;
  readonly validation: number;
}

/** The part of a run's view that the conductor knows. */
export interface RunStatus {
  readonly runId: string;
  readonly phase: RunPhase;
  /** Why it is in this phase, in words. */
  readonly phaseReason: string;
  readonly pausedBy: readonly string[];
  /** Rounds completed, of `rounds` in all. */
  readonly round: number;
  readonly rounds: number;
  /** The part of the next round that is computed, 0 to 1. Only of a running local run, whose rounds may take minutes. */
  readonly progress?: number;
  /** Estimated time to the end, once the run has computed for a while. */
  readonly etaMs?: number;
  /** The current configuration: `learningRate` (the peak) and `clip` hold what was set last. */
  readonly config: TrainingConfig;
  /** For example "LSTM 2x256". */
  readonly model: string;
  readonly parameters: number;
  readonly corpus: CorpusView;
  /** The best validation so far. */
  readonly best?: EvaluationPoint;
  /**
   * At most MAX_WORKERS_SHOWN rows, workers that left a few minutes ago among them. Empty without
   * read access.
   */
  readonly workers: readonly WorkerView[];
  /** All workers that have joined and not left. */
  readonly workerCount: number;
  readonly maxWorkers: number;
}

/** `GET /api/run`, and the live link's `view`. */
export interface RunView extends RunStatus {
  /** The names that the organizer gives to the run and to themselves. */
  readonly name: string;
  readonly organizer?: string;
  /** When the run first started. */
  readonly startedAt: number;
  readonly latest?: RoundPoint;
  /** The last validation. */
  readonly validated?: EvaluationPoint;
  /** What the client may do. */
  readonly access: readonly Access[];
  /** The link for volunteers; for admins only. It has the token of the run, so holders of a signed token do not get it. */
  readonly joinLink?: string;
  /** For admins without `joinLink`: the command that makes a token for volunteers, where the coordinator runs. */
  readonly inviteCommand?: string;
  /** The newest checkpoint on disk; for admins only. */
  readonly checkpoint?: { readonly round: number; readonly path: string };
}

/** `GET /api/run` adds these, for pages that show only a small curve and a sample. */
export interface RunFacts extends RunView {
  /** At most 200 points: rounds completed, smoothed loss. */
  readonly lossHistory: readonly (readonly [round: number, nats: number])[];
  readonly validation: readonly (readonly [round: number, nats: number])[];
  readonly sample?: SamplePoint;
  readonly codec: TrainingConfig['codec'];
  readonly streams: number;
  readonly window: number;
}

/** A view lists at most this many workers. */
export const MAX_WORKERS_SHOWN = LIMITS.workersShown;

/**
 * `joining`: has connected · `syncing`: fetches a snapshot · `ready`: has nothing to do ·
 * `computing` · `late`: past the deadline of its lease, which is backed up by others · `paused`: by
 * itself · `parked`: gets no work and no updates, because rounds are faster without it · `left`.
 */
export type WorkerState = 'joining' | 'syncing' | 'ready' | 'computing' | 'late' | 'paused' | 'parked' | 'left';

/** A worker that offers to sum a part of the gradients for the others. */
export interface PeerView {
  /** Whether it sums in the rounds to come. */
  readonly sums: boolean;
  /** How many workers have a link to it, of all that receive updates. It counts as one of both. */
  readonly reachedBy: number;
  readonly workers: number;
}

export interface WorkerView {
  readonly id: string;
  readonly name: string;
  readonly kind: 'node' | 'browser';
  /** For example "wasm relaxed-simd"; empty until it is ready. */
  readonly engine: string;
  /** Where it computes, if the engine says so: for example "cpu, 2 threads". */
  readonly device?: string;
  /** Speed in its engine, measured by its leases; before that, the speed that it reports. */
  readonly charsPerSecond: number;
  /** The streams of its current leases, or of its last one. */
  readonly streams: number;
  /** Time from lease to counted without the engine's: link both ways, coding and queues. */
  readonly latencyMs?: number;
  /** Rounds in which a result of it counted, and the characters that counted. */
  readonly rounds: number;
  readonly characters: number;
  /** Time since its last message. */
  readonly lastSeenMs: number;
  readonly state: WorkerState;
  /** Why it is in this state, or what last happened to it; may be empty. */
  readonly reason: string;
  /** Absent: it does not offer to sum. */
  readonly peer?: PeerView;
  /** Absent: it is trusted, by its token. */
  readonly audits?: AuditView;
}

/** What the coordinator knows about the honesty of a volunteer. */
export interface AuditView {
  /** Leases that the coordinator computed again, and that agreed. */
  readonly passed: number;
  /** Nothing of it counts before it is audited. */
  readonly onProbation: boolean;
}

/**
 * Where the time of a round went, along the worker whose contribution completed it. The four add up
 * to the round:
 *
 *   waiting   from the last update to this worker's first lease that counts: no worker, a pause,
 *             another worker that was late, or a busy coordinator
 *   compute   in its engine, as it reports, for all its leases of the round
 *   transfer  the rest until its last contribution counted: link both ways, coding and queues
 *   reduce    from there until the update came back: mean, norm, clip, coding
 */
export interface RoundTiming {
  readonly computeMs: number;
  readonly transferMs: number;
  readonly reduceMs: number;
  readonly waitingMs: number;
}

export interface RoundPoint extends RoundTiming {
  /** Rounds completed, counting this one. */
  readonly round: number;
  readonly trainLoss: number;
  /** Exponential moving average of trainLoss over about 50 rounds, or in a local run 50 windows and at least 5 rounds. */
  readonly smoothedLoss: number;
  /** Before clipping. In a local run: of the mean difference of the parameters. */
  readonly gradientNorm: number;
  /** The factor that clipping applied to the gradient; 1 = not clipped. */
  readonly clipScale: number;
  readonly learningRate: number;
  readonly roundMs: number;
  /** Over the last few seconds. */
  readonly charsPerSecond: number;
  /** Workers that were ready when it ended. */
  readonly workers: number;
}

/** In the order in which history.jsonl stores them. */
export const POINT_FIELDS = [
  'round',
  'trainLoss',
  'smoothedLoss',
  'gradientNorm',
  'clipScale',
  'learningRate',
  'roundMs',
  'computeMs',
  'transferMs',
  'reduceMs',
  'waitingMs',
  'charsPerSecond',
  'workers',
] as const satisfies readonly (keyof RoundPoint)[];

export type PointField = (typeof POINT_FIELDS)[number];

/** Points by column, all of the same length, in ascending order of rounds. */
export type PointColumns = Readonly<Record<PointField, readonly number[]>>;

export interface EvaluationPoint {
  readonly round: number;
  /** Of the parameters that the run trains. */
  readonly validationLoss: number;
  /** Of their moving average, in a run that keeps one. */
  readonly averageLoss?: number;
}

/** The loss of the better of the models of a validation. */
export function lossOf({ validationLoss, averageLoss = validationLoss }: Omit<EvaluationPoint, 'round'>): number {
  return Math.min(validationLoss, averageLoss);
}

/** Whether the moving average is the better model. */
export function isAverageBetter({ validationLoss, averageLoss = validationLoss }: Omit<EvaluationPoint, 'round'>): boolean {
  return averageLoss < validationLoss;
}

export interface SamplePoint {
  /** When it was written. */
  readonly round: number;
  readonly text: string;
  /** The best model wrote it, that of this round. Absent: the model of `round`. */
  readonly bestRound?: number;
}

/**
 * How far back a window's last loss reaches: the norm of d(loss)/d(state_t), averaged over a few
 * streams, without dropout.
 */
export interface GradientFlow {
  /** Rounds completed when it was computed. */
  readonly round: number;
  /**
   * [L][T]; layer 0 reads the characters. Index 0 is the last time step, index i is i steps before
   * it.
   */
  readonly layers: readonly (readonly number[])[];
  /** Which state: `h`, or `hc` for h and c of an LSTM as one vector. Absent in older files: h. */
  readonly state?: FlowState;
}

export type FlowState = 'h' | 'hc';

/**
 * `worker`: one joined, left or resynced · `decision`: an unusual decision of the scheduler ·
 * `control`: an admin's action · `checkpoint` · `waiting` · `note`.
 */
export type EventKind = 'worker' | 'decision' | 'control' | 'checkpoint' | 'waiting' | 'note';

export interface LoggedEvent {
  /** Unique in the run, ascending. */
  readonly id: number;
  readonly at: number;
  readonly round: number;
  readonly kind: EventKind;
  readonly level: 'info' | 'warn';
  readonly text: string;
  readonly remedy?: string;
}

/**
 * `GET /api/history?from&to&points`: at most `points` of the rounds from..to, chosen so that spikes
 * remain.
 */
export interface HistoryView {
  readonly points: PointColumns;
  /** All within from..to, thinned to every second one when there are very many. */
  readonly evaluations: readonly EvaluationPoint[];
  /** Of the whole run, not only of from..to. */
  readonly firstRound: number;
  readonly lastRound: number;
  /** Whether rounds were left out. */
  readonly thinned: boolean;
}

/** `GET /api/samples`, oldest first. */
export interface SamplesView {
  readonly samples: readonly SamplePoint[];
}

/** `GET /api/events?after`, oldest first. The coordinator stores only the newest events. */
export interface EventsView {
  readonly events: readonly LoggedEvent[];
  /** The `after` of the next request. */
  readonly last: number;
}

/** `GET /api/flow`, oldest first. */
export interface FlowView {
  readonly flows: readonly GradientFlow[];
}

/** A STUN or TURN server. The credentials are empty for STUN, and expire within minutes for TURN. */
export interface IceServerView {
  readonly urls: readonly string[];
  readonly username: string;
  readonly credential: string;
}

/** `GET /api/network`: what a machine needs to find out whether it could take part, without joining. */
export interface NetworkView {
  /** Workers must speak the same version. */
  readonly protocolVersion: number;
  readonly topology: Topology;
  /** Where workers find the all-reduce service. A path is at the host by which they reach the coordinator. */
  readonly reduceAddress: string;
  /** Absent: a separate all-reduce service has them, and gives them to workers alone. */
  readonly iceServers?: readonly IceServerView[];
}

/** The first line of a run's history: what identifies the run. */
export interface RunHeader {
  readonly runId: string;
  readonly name: string;
  readonly model: string;
  readonly config: TrainingConfig;
  readonly corpus: string;
  readonly parameters: number;
  /** When the run first started, ms since 1970. */
  readonly startedAt: number;
}

/** A run in the same folder, the current one included. */
export interface PastRun extends RunHeader {
  /** Name of its folder, unique. */
  readonly folder: string;
  readonly round: number;
  readonly rounds: number;
  readonly best?: EvaluationPoint;
  /** At most 300 points each. */
  readonly losses: {
    readonly round: readonly number[];
    readonly smoothedLoss: readonly number[];
    readonly gradientNorm: readonly number[];
  };
  readonly evaluations: readonly EvaluationPoint[];
  /** Its last gradient flow. */
  readonly flow?: GradientFlow;
  readonly current: boolean;
}

/** `GET /api/runs`, newest first, at most 50. */
export interface RunsView {
  readonly runs: readonly PastRun[];
}

/** A worker that an admin removed for good, or whose lease turned out wrong when it was computed again. */
export interface Ban {
  /** "b1", "b2" ..., in the order in which they came. */
  readonly id: string;
  readonly at: number;
  /** Who ordered it. */
  readonly by: 'admin' | 'audit';
  /** The address of the worker, without a port. */
  readonly address: string;
  readonly name: string;
  /** Of the signed token that it showed, by which the token can be revoked. */
  readonly tokenId?: string;
  /** Its name is refused at its address. Not if others there had the same name. */
  readonly refused: boolean;
  /** Nothing that comes from its address counts before it is audited. */
  readonly held: boolean;
  /** After an audit: what the worker claimed, and what came out. */
  readonly reason: string;
}

/** `GET /api/bans`, in the order in which they came, at most LIMITS.bans. */
export interface BansView {
  readonly bans: readonly Ban[];
}

/** Body of `POST /api/control`. */
export type ControlRequest =
  | { readonly action: 'pause' }
  | { readonly action: 'resume' }
  | { readonly action: 'checkpoint' }
  | { readonly action: 'stop' }
  /** Disconnects the worker, which may join again. */
  | { readonly action: 'kick'; readonly workerId: string; readonly reason?: string }
  /** Disconnects the worker, and refuses its name from its address from now on, also after a resume. */
  | { readonly action: 'ban'; readonly workerId: string; readonly reason?: string }
  /** Lifts a ban. `ban`: its id. */
  | { readonly action: 'unban'; readonly ban: string }
  /**
   * Takes effect in the next round. `learningRate` is the peak of the schedule; `clip` 0 = never.
   * Refused in a reproducible run.
   */
  | { readonly action: 'set'; readonly learningRate?: number; readonly clip?: number }
  /**
   * Takes the run back to the checkpoint of a round, by default the newest that was saved before the loss rose above its limit. A
   * finished run goes on from there while its coordinator still serves. `learningRate`: from that round on; refused in a reproducible run.
   */
  | { readonly action: 'back'; readonly round?: number; readonly learningRate?: number };

/** Answer to `POST /api/control`. */
export interface ControlReply {
  readonly ok: true;
  /** What the coordinator did, in words. */
  readonly text: string;
  /** After `checkpoint`: where the file is. */
  readonly path?: string;
}

/** Body of `POST /api/sample`. */
export interface PlayRequest {
  /** The text that the model continues; default a line break. */
  readonly prime?: string;
  /** Leave out characters of the prime that the model does not know. */
  readonly skipUnknown?: boolean;
  /** Default 0.7; 0 always takes the most likely character. */
  readonly temperature?: number;
  /** Sample among the k most likely characters; default 0 = among all. */
  readonly topK?: number;
  /** Characters, default 300, at most MAX_PLAY_CHARACTERS. */
  readonly length?: number;
  /** Default: a new one each time. */
  readonly seed?: number;
}

export const MAX_PLAY_CHARACTERS = LIMITS.playCharacters;
export const MAX_PRIME_CHARACTERS = LIMITS.primeCharacters;

/** The data of each event (`text/event-stream`) that `POST /api/sample` answers with. */
export type PlayMessage =
  | { readonly type: 'start'; readonly round: number; readonly seed: number }
  | { readonly type: 'text'; readonly text: string }
  | { readonly type: 'end' }
  | ({ readonly type: 'error' } & ApiError);

/** Body of every answer with a status of 400 or more. */
export interface ApiError {
  readonly code: string;
  readonly message: string;
  readonly remedy: string;
}

/**
 * The first and only message of a viewer on /live. Without `token` it has the access of
 * unauthenticated clients.
 */
export interface LiveHello {
  readonly token?: string;
}

/**
 * Messages on /live, JSON as text, at most 4 a second. `hello` comes once; the viewer fetches
 * earlier data by GET. An `update` has only what is new since the last one. A slow viewer misses
 * points in between, and can fetch them from /api/history.
 */
export type LiveMessage =
  | { readonly type: 'hello'; readonly view: RunView; readonly lastRound: number; readonly lastEvent: number }
  | {
      readonly type: 'update';
      readonly view?: RunView;
      readonly points?: PointColumns;
      readonly evaluations?: readonly EvaluationPoint[];
      readonly samples?: readonly SamplePoint[];
      readonly events?: readonly LoggedEvent[];
      readonly flow?: GradientFlow;
    }
  /** The link closes after this message. */
  | ({ readonly type: 'refused' } & ApiError);
