/**
 * What a run shows to whoever looks on: the answers of the coordinator's HTTP API and the messages of its live link, all of them JSON.
 * Loss in nats/char, times in ms, moments in ms since 1970, rates in chars/s. Text that workers chose is cut and holds no control
 * characters; it is text, never markup.
 */
import { LIMITS } from '@troupe/config/limits';
import type { TrainingConfig } from '@troupe/protocol';

/**
 * `starting`: before the first round · `running` · `paused`: by someone, `pausedBy` · `waiting`: for a worker or the all-reduce service ·
 * `over`: completed, stopped or failed.
 */
export type RunPhase = 'starting' | 'running' | 'paused' | 'waiting' | 'over';

/** `read`: see the run · `admin`: steer it. */
export type Access = 'read' | 'admin';

export interface CorpusView {
  readonly name: string;
  /** In all, to train on, to validate. */
  readonly characters: number;
  readonly train: number;
  readonly validation: number;
}

/** What the run itself knows. */
export interface RunStatus {
  readonly runId: string;
  readonly phase: RunPhase;
  /** Why, in plain words. */
  readonly phaseReason: string;
  readonly pausedBy: readonly string[];
  /** Rounds completed, of how many. */
  readonly round: number;
  readonly rounds: number;
  /** While it runs and enough is known. */
  readonly etaMs?: number;
  /** As it stands now: `learningRate` (the peak) and `clip` are what was set last. */
  readonly config: TrainingConfig;
  /** "LSTM 2x256". */
  readonly model: string;
  readonly parameters: number;
  readonly corpus: CorpusView;
  /** Validation, the best so far. */
  readonly best?: EvaluationPoint;
  /** The first MAX_WORKERS_SHOWN of them; `workerCount` counts all. Those who left stay for a few minutes. Empty for whoever may not read. */
  readonly workers: readonly WorkerView[];
  /** Joined and not left. */
  readonly workerCount: number;
  readonly maxWorkers: number;
}

/** `GET /api/run`, and the live link's `view`. */
export interface RunView extends RunStatus {
  /** What whoever runs it calls it, and themselves. */
  readonly name: string;
  readonly organizer?: string;
  /** When the run was first started. */
  readonly startedAt: number;
  readonly latest?: RoundPoint;
  /** The last validation. */
  readonly validated?: EvaluationPoint;
  /** What whoever asked may do. */
  readonly access: readonly Access[];
  /** To be handed to volunteers; for admins only. */
  readonly joinLink?: string;
  /** The newest on disk; for admins only. */
  readonly checkpoint?: { readonly round: number; readonly path: string };
}

/** `GET /api/run` has these besides, for a page that shows no more than a small curve and what the model writes now. */
export interface RunFacts extends RunView {
  /** At most 200 points, [rounds completed, nats/char smoothed]. */
  readonly lossHistory: readonly (readonly [round: number, nats: number])[];
  readonly validation: readonly (readonly [round: number, nats: number])[];
  readonly sample?: SamplePoint;
  readonly codec: TrainingConfig['codec'];
  readonly streams: number;
  readonly window: number;
}

/** More are not listed one by one. */
export const MAX_WORKERS_SHOWN = LIMITS.workersShown;

/**
 * `joining`: has said hello · `syncing`: fetches parameters · `ready`: has nothing to do at the moment · `computing` ·
 * `late`: past the deadline of its lease, whose streams are lent to others too · `paused`: by its own wish · `left`.
 */
export type WorkerState = 'joining' | 'syncing' | 'ready' | 'computing' | 'late' | 'paused' | 'left';

export interface WorkerView {
  readonly id: string;
  readonly name: string;
  readonly kind: 'node' | 'browser';
  /** "wasm relaxed-simd"; empty until it is ready. */
  readonly engine: string;
  /** Where it computes, "cpu, 2 threads", when the engine says so. */
  readonly device?: string;
  /** From lease to counted; its own word until that was measured. */
  readonly charsPerSecond: number;
  /** Lent to it now, else in its last lease. */
  readonly streams: number;
  /** From lease to counted, less the time in its engine: link both ways, coding and queues. */
  readonly latencyMs?: number;
  /** In which something of it counted, and characters of it that count. */
  readonly rounds: number;
  readonly characters: number;
  /** How long ago the last message came from it. */
  readonly lastSeenMs: number;
  readonly state: WorkerState;
  /** Why it is in this state, or the last thing of note that befell it; may be empty. */
  readonly reason: string;
}

/**
 * Where the time of a round went, seen along its last worker, the one whose contribution completed it; the four add up to the round:
 *
 *   waiting   from the update before until this worker was given its first lease that counts: nobody there, a pause, another worker
 *             that was late, or the coordinator busy
 *   compute   in its engine, by its own word (of all its leases of the round)
 *   transfer  the rest until its last contribution counted: link both ways, coding and queues
 *   reduce    from there until the update had come back: mean, norm, clip, coding
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
  /** Exponential mean of trainLoss, over some 50 rounds. */
  readonly smoothedLoss: number;
  /** Before clipping. */
  readonly gradientNorm: number;
  /** The gradient was multiplied by it; 1 = not clipped. */
  readonly clipScale: number;
  readonly learningRate: number;
  readonly roundMs: number;
  /** Over the last few seconds. */
  readonly charsPerSecond: number;
  /** Ready when it ended. */
  readonly workers: number;
}

/** In the order in which columns are written to disk. */
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

/** Points column by column, all of one length, rounds ascending. */
export type PointColumns = Readonly<Record<PointField, readonly number[]>>;

export interface EvaluationPoint {
  readonly round: number;
  readonly validationLoss: number;
}

export interface SamplePoint {
  readonly round: number;
  readonly text: string;
}

/**
 * How far back the error of a window's last character reaches: the norm of d(its loss)/d(h_t), mean over a few streams, without dropout.
 */
export interface GradientFlow {
  /** Rounds completed when it was computed. */
  readonly round: number;
  /** [L][T]; layer 0 reads the characters. Index 0 is the last time step, index i is i steps before it. */
  readonly layers: readonly (readonly number[])[];
}

/**
 * `worker`: came, went, fell out of step · `decision`: something out of the ordinary and what was done · `control`: a person steered ·
 * `checkpoint` · `waiting` · `note`.
 */
export type EventKind = 'worker' | 'decision' | 'control' | 'checkpoint' | 'waiting' | 'note';

export interface LoggedEvent {
  /** Ascending, unique in the run. */
  readonly id: number;
  readonly at: number;
  readonly round: number;
  readonly kind: EventKind;
  readonly level: 'info' | 'warn';
  readonly text: string;
  readonly remedy?: string;
}

/** `GET /api/history?from&to&points`: rounds from..to, at most so many points, chosen so that spikes stay. */
export interface HistoryView {
  readonly points: PointColumns;
  /** All within from..to; of very many every second. */
  readonly evaluations: readonly EvaluationPoint[];
  /** Of the whole run. */
  readonly firstRound: number;
  readonly lastRound: number;
  /** Whether rounds were left out. */
  readonly thinned: boolean;
}

/** `GET /api/samples`, oldest first. */
export interface SamplesView {
  readonly samples: readonly SamplePoint[];
}

/** `GET /api/events?after`, oldest first; the newest MAX_EVENTS are kept. */
export interface EventsView {
  readonly events: readonly LoggedEvent[];
  /** To be asked after next. */
  readonly last: number;
}

/** `GET /api/flow`, oldest first. */
export interface FlowView {
  readonly flows: readonly GradientFlow[];
}

/** What identifies a run in its history. */
export interface RunHeader {
  readonly runId: string;
  readonly name: string;
  readonly model: string;
  readonly config: TrainingConfig;
  readonly corpus: string;
  readonly parameters: number;
  /** Ms since 1970. */
  readonly startedAt: number;
}

/** A run of the same folder, this one among them. */
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
  /** Its last one. */
  readonly flow?: GradientFlow;
  readonly current: boolean;
}

/** `GET /api/runs`, newest first, at most 50. */
export interface RunsView {
  readonly runs: readonly PastRun[];
}

/** Body of `POST /api/control`. */
export type ControlRequest =
  | { readonly action: 'pause' }
  | { readonly action: 'resume' }
  | { readonly action: 'checkpoint' }
  | { readonly action: 'stop' }
  /** It may come back. */
  | { readonly action: 'kick'; readonly workerId: string; readonly reason?: string }
  /** Whoever comes from its address under its name is turned down until the coordinator ends. */
  | { readonly action: 'ban'; readonly workerId: string; readonly reason?: string }
  /** From the next round on; `learningRate` is the peak that the schedule scales, `clip` 0 = never. Not in a reproducible run. */
  | { readonly action: 'set'; readonly learningRate?: number; readonly clip?: number };

/** Its answer. */
export interface ControlReply {
  readonly ok: true;
  /** What was done, in words. */
  readonly text: string;
  /** Of `checkpoint`: where it is. */
  readonly path?: string;
}

/** Body of `POST /api/sample`. */
export interface PlayRequest {
  /** What the model goes on from; empty: a line break. */
  readonly prime?: string;
  /** Default 0.7; 0 takes the likeliest. */
  readonly temperature?: number;
  /** Default 0 = among all. */
  readonly topK?: number;
  /** Characters, default 300, at most MAX_PLAY_CHARACTERS. */
  readonly length?: number;
  /** Default: another each time. */
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

/** Body of every answer of 400 and above. */
export interface ApiError {
  readonly code: string;
  readonly message: string;
  readonly remedy: string;
}

/** The one message of a viewer on /live: the first. Left out: as whoever may read without a token. */
export interface LiveHello {
  readonly token?: string;
}

/**
 * Messages on /live, JSON as text, at most 4 a second. `hello` comes once; what the viewer has missed it fetches by GET. An `update` has
 * only what is new since the last: a viewer too slow for it loses points in between, and finds them again in /api/history.
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
  /** The link closes after it. */
  | ({ readonly type: 'refused' } & ApiError);
