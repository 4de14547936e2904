import type { ContributionRefusal, DeclineCode } from '@troupe/protocol';
import type { Decision } from './decisions.js';
import type { Pace } from './pace.js';

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
  /** Streams of every lease in a reproducible run; 0 = leases are cut by speed. */
  readonly leaseStreams: number;
}

export interface WorkerRecord {
  readonly id: string;
  readonly name: string;
  /** `syncing`: fetching a snapshot; `paused`: by its own wish. It gets no lease until it says ready. */
  state: 'ready' | 'syncing' | 'paused';
  /** From lease to counted, link time included; starts as what the worker measured itself. */
  pace: Pace;
  /** What it measured itself, chars/s; another figure comes from another engine. */
  reportedCharsPerSecond: number;
  /** Its leases of this round that are neither counted nor given back. */
  readonly leases: Set<string>;
  /** Work units whose holder it is, and whose next holder: where to look when it is lost. */
  held: number[];
  nextHeld: number[];
  /** Its leases of rounds that are over, of which nothing was heard: it may be computing them still. */
  readonly unanswered: Map<string, Lease>;
  /** What it was dealt last: since when, and how many characters of it count. Void when something else came between. */
  measurement: { sinceMs: number; characters: number; void: boolean };
  /** The last round in which it was dealt something. */
  dealtRound: number;
  /** Gets no lease before this moment: its engine has just failed. */
  restUntilMs: number;
  /** Contributions counted and characters in them: the worker's credit. */
  counted: number;
  characters: number;
}

export interface Lease {
  readonly id: string;
  readonly round: number;
  readonly workerId: string;
  readonly units: readonly number[];
  /** To compute, with those of its leases before this one that were dealt in one go. */
  readonly characters: number;
  readonly charactersSoFar: number;
  readonly grantedAtMs: number;
  readonly deadlineAtMs: number;
  /** From here on the worker is thought to wait for something that will never come. */
  readonly stuckAtMs: number;
  /** Whether it is relied on. If not, its streams may be lent to someone else as well; the first valid result counts. */
  reliable: boolean;
  /** Past its deadline. */
  late: boolean;
  /** Not relied on from the start: nobody knows how fast its worker is. */
  readonly probe: boolean;
}

/** What is dealt as one: a stream; in a reproducible run a fixed group of neighbouring streams. */
export interface WorkUnit {
  readonly streams: readonly number[];
  /** Counted in this round. */
  counted: boolean;
  /** Leases of this round that cover the unit and are relied on. */
  reliableLeases: number;
  /** The latest lease that covers the unit and is not relied on: late, or on trial. */
  unreliableLease: string | undefined;
  /** The worker that holds the hidden states before this round's window, if one does. */
  holder: string | undefined;
  /** The worker whose contribution counted in this round. */
  nextHolder: string | undefined;
  /** How often its gradient came out not finite in this round, and with whom. */
  failures: number;
  readonly failedBy: Set<string>;
  /** Lent in this round before: the states then travel with the lease. */
  lent: boolean;
}

export interface RunState {
  readonly settings: RunSettings;
  phase: 'idle' | 'running' | 'over';
  /** Who or what holds the run back; while there is anyone no lease is dealt. */
  readonly pausedBy: Set<string>;
  /** The round being computed = rounds completed. */
  round: number;
  readonly workers: Map<string, WorkerRecord>;
  readonly units: readonly WorkUnit[];
  /** Neither counted nor in timely hands. */
  readonly uncovered: Set<number>;
  /** Workers that have nothing to do and could. */
  readonly idle: Set<string>;
  /** They could as well, but others will be done before they are with one unit: not asked in this round while those are at work. */
  readonly parked: Set<string>;
  /** What the round relies on, as it was dealt: who, at how many chars/s each (`lost`: gone since), and when they should be done. */
  readonly active: { readonly paces: Map<string, number>; charsPerSecond: number; lost: number; endMs: number };
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
  /** Nothing new is dealt until everyone who paused has continued. */
  | { readonly type: 'pause'; readonly by: string }
  | { readonly type: 'resume'; readonly by: string }
  | { readonly type: 'stop' }
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
  | { readonly type: 'waiting'; readonly reason: WaitReason }
  /** Out of the ordinary, and what follows from it: for the log and the dashboard. */
  | { readonly type: 'decision'; readonly decision: Decision }
  /** The run cannot go on: the loss has diverged. The last checkpoint stands. */
  | { readonly type: 'fail'; readonly round: number; readonly reason: string }
  | { readonly type: 'finish'; readonly round: number; readonly outcome: 'completed' | 'stopped' };

/** Why the run cannot go on, though nobody holds it back: no worker is ready. */
export type WaitReason = 'noWorker';

/** A run about to compute `round` (0, or where a checkpoint stands). */
export function createRunState(settings: RunSettings, round: number): RunState {
  const { streams, leaseStreams } = settings;
  const size = leaseStreams || 1;
  const units = Array.from({ length: Math.ceil(streams / size) }, (_, k): WorkUnit => {
    const first = k * size;
    return {
      streams: Array.from({ length: Math.min(size, streams - first) }, (__, i) => first + i),
      counted: false,
      reliableLeases: 0,
      unreliableLease: undefined,
      holder: undefined,
      nextHolder: undefined,
      failures: 0,
      failedBy: new Set(),
      lent: false,
    };
  });
  return {
    settings,
    phase: 'idle',
    pausedBy: new Set(),
    round,
    workers: new Map(),
    units,
    uncovered: new Set(),
    idle: new Set(),
    parked: new Set(),
    active: { paces: new Map(), charsPerSecond: 0, lost: 0, endMs: 0 },
    leases: new Map(),
    leaseCount: 0,
    waiting: false,
  };
}

/** The unit that a stream belongs to. */
export function unitOf({ leaseStreams }: RunSettings, stream: number): number {
  return leaseStreams > 0 ? Math.floor(stream / leaseStreams) : stream;
}
