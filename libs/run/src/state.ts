import type { ContributionRefusal, DeclineCode } from '@troupe/protocol';

/** What the run core needs to know of a run. Rounds count from 0; `rounds` of them are computed. */
export interface RunSettings {
  /** B, streams. */
  readonly streams: number;
  /** T, characters per stream and round. */
  readonly window: number;
  readonly rounds: number;
  /** Windows in one pass over a stream: it wraps, and its hidden state is reset, where round % windowsPerPass = 0. */
  readonly windowsPerPass: number;
  /** Cadences in rounds; 0 = only at the end. */
  readonly evaluateEvery: number;
  readonly checkpointEvery: number;
  readonly sampleEvery: number;
}

export interface WorkerRecord {
  readonly id: string;
  readonly name: string;
  /** `syncing`: fetching a snapshot; gets no lease until it says ready. */
  state: 'ready' | 'syncing';
  /** Running estimate from lease to counted, link time included; starts as what the worker measured itself. */
  charsPerSecond: number;
  /** What it measured itself; another figure comes from another engine. */
  toldCharsPerSecond: number;
  /** Whether `charsPerSecond` comes from a lease of this run. */
  measured: boolean;
  /** Its leases of this round that are neither counted nor given back. */
  readonly leases: Set<string>;
  /** Gets no lease before this moment: its engine has just failed. */
  restUntilMs: number;
  /** Contributions counted and characters in them: the worker's credit. */
  counted: number;
  characters: number;
}

export interface Lease {
  readonly id: string;
  readonly workerId: string;
  readonly streams: readonly number[];
  readonly grantedAtMs: number;
  readonly deadlineAtMs: number;
  /** Past its deadline: its streams may be lent to someone else as well; the first valid result counts. */
  late: boolean;
}

export interface StreamRecord {
  /** Counted in this round. */
  counted: boolean;
  /** Leases of this round that cover the stream and are not late. */
  timelyLeases: number;
  /** The worker that holds the hidden state before this round's window, if one does. */
  holder: string | undefined;
  /** The worker whose contribution counted in this round. */
  nextHolder: string | undefined;
  /** How often its gradient came out not finite in this round, and with whom. */
  failures: number;
  readonly failedBy: Set<string>;
  /** Lent in this round before: the state then travels with the lease. */
  lent: boolean;
}

export interface RunState {
  readonly settings: RunSettings;
  phase: 'idle' | 'running' | 'paused' | 'over';
  /** The round being computed = rounds completed. */
  round: number;
  readonly workers: Map<string, WorkerRecord>;
  readonly streams: readonly StreamRecord[];
  readonly leases: Map<string, Lease>;
  leaseCount: number;
  waiting: boolean;
}

export type RunInput =
  | { readonly type: 'start' }
  | { readonly type: 'workerReady'; readonly workerId: string; readonly name: string; readonly charsPerSecond: number }
  | { readonly type: 'workerSyncing'; readonly workerId: string; readonly reason: string }
  | { readonly type: 'workerLeft'; readonly workerId: string; readonly reason: string }
  | {
      readonly type: 'declined';
      readonly workerId: string;
      readonly leaseId: string;
      readonly code: DeclineCode;
      readonly reason: string;
    }
  | {
      readonly type: 'counted';
      readonly leaseId: string;
      readonly workerId: string;
      readonly round: number;
      readonly streams: readonly number[];
    }
  | {
      readonly type: 'rejected';
      readonly leaseId: string;
      readonly workerId: string;
      readonly round: number;
      readonly result: ContributionRefusal;
      readonly reason: string;
    }
  /** The update of `round` stands and the coordinator's replica has applied it. */
  | { readonly type: 'updated'; readonly round: number }
  /** The all-reduce service was lost and is back, empty: the round is computed again from its start. */
  | { readonly type: 'reopen' }
  | { readonly type: 'pause' }
  | { readonly type: 'continue' }
  | { readonly type: 'stop'; readonly reason: string }
  | { readonly type: 'tick' };

export type RunEffect =
  | { readonly type: 'openRound'; readonly round: number }
  | {
      readonly type: 'lease';
      readonly workerId: string;
      readonly leaseId: string;
      readonly round: number;
      readonly streams: readonly number[];
      /** For each stream: `z` zeros, `h` held by the worker, `g` given. */
      readonly states: string;
      readonly deadlineMs: number;
    }
  /** Send the worker a snapshot; it says ready afterwards. */
  | { readonly type: 'resync'; readonly workerId: string; readonly reason: string }
  | { readonly type: 'evaluate'; readonly round: number }
  | { readonly type: 'sample'; readonly round: number }
  | { readonly type: 'checkpoint'; readonly round: number }
  | { readonly type: 'waiting'; readonly reason: string }
  /** The run cannot go on: the loss has diverged. The last checkpoint stands. */
  | { readonly type: 'fail'; readonly round: number; readonly reason: string }
  | { readonly type: 'finish'; readonly round: number; readonly outcome: 'completed' | 'stopped' };

export interface Decision {
  readonly state: RunState;
  readonly effects: readonly RunEffect[];
  /** Why, in plain words, for the log and the dashboard. */
  readonly reason: string;
}

/** A run about to compute `round` (0, or where a checkpoint stands). */
export function createRunState(settings: RunSettings, round: number): RunState {
  const streams = Array.from({ length: settings.streams }, (): StreamRecord => ({
    counted: false,
    timelyLeases: 0,
    holder: undefined,
    nextHolder: undefined,
    failures: 0,
    failedBy: new Set(),
    lent: false,
  }));
  return { settings, phase: 'idle', round, workers: new Map(), streams, leases: new Map(), leaseCount: 0, waiting: false };
}
