import type { Refusals } from './rests.js';
import type { AuditMode, ContributionRefusal, DeclineCode, GradientCodec, MessageOf, SlowRest, Topology } from '@troupe/protocol';
import { createAudits, type AuditPolicy, type Audits, type Trust } from './audits.js';
import { createComparison, type Comparison } from './comparison.js';
import type { Decision } from './decisions.js';
import { createLossWatch, type LossLimits, type LossWatch } from './loss-watch.js';
import type { Pace } from './pace.js';
import { createTrialBudget, type TrialBudget } from './trials.js';

/** What the scheduler needs to know about a run. Rounds count from 0. */
export interface RunSettings extends LossLimits {
  /** B, streams. */
  readonly streams: number;
  /** Characters per stream and round: T, or H * T in a local run. */
  readonly window: number;
  /** Rounds to compute in all. */
  readonly rounds: number;
  /**
   * Windows in one pass over a stream. Where a round begins with the first one, the stream wraps and
   * its hidden state is reset.
   */
  readonly windowsPerPass: number;
  /** Windows of a stream in a round, H; default 1. */
  readonly localSteps?: number;
  /** See TrainingConfig; default 0. */
  readonly changedRound?: number;
  readonly changedWindow?: number;
  /** In rounds; 0 = only at the end. */
  readonly evaluateEvery: number;
  readonly checkpointEvery: number;
  readonly sampleEvery: number;
  /** Streams of every lease in a reproducible run, or of a track; 0 = the size of leases follows speed. */
  readonly leaseStreams: number;
  /** Who may sum the gradients. Default: auto. */
  readonly topology?: Topology;
  /** Absent: nobody is told which local rounds would keep workers busy. */
  readonly codec?: GradientCodec;
  /** Absent: nobody is audited. */
  readonly audits?: AuditPolicy | undefined;
}

export interface WorkerRecord {
  readonly id: string;
  readonly name: string;
  readonly trust: Trust;
  /**
   * `syncing`: it fetches a snapshot. `paused`: it paused itself. `parked`: it receives no updates,
   * because rounds are faster without it. Only a ready worker gets leases.
   */
  state: 'ready' | 'syncing' | 'paused' | 'parked';
  /**
   * Why it is fetched back, or was: to work, or on trial. `tried`: the trial has measured it.
   */
  wanted: 'work' | 'trial' | 'tried' | undefined;
  /** Rounds in a row in which it could compute and got nothing. */
  spareRounds: number;
  /** When it was last parked, and by how much rounds are faster without it, as a part of a round. */
  parkedRound: number;
  faster: number;
  /** Since a round last relied on it. */
  trials: number;
  /** How often updates have piled up at its link, and until when it rests because of that. */
  lag: SlowRest;
  /** From its leases. Starts as the speed that the worker reports. */
  pace: Pace;
  /** Speed that the worker measured itself, chars/s. Another figure means another engine. */
  reportedCharsPerSecond: number;
  /** Its leases of this round that are neither counted nor returned. */
  readonly leases: Set<string>;
  /** Units whose `holder` it is, so that they are found when it leaves. */
  held: number[];
  /** Units whose `nextHolder` it is. */
  nextHeld: number[];
  /** Its leases of earlier rounds that it has not answered: it may still compute them. */
  readonly unanswered: Map<string, Lease>;
  /**
   * For `pace`: when its last leases were granted, how many of their characters count, and how long
   * they took in its engine. Void if anything disturbed it.
   */
  measurement: { sinceMs: number; characters: number; computeMs: number; void: boolean };
  /** The last round in which it got a lease. */
  dealtRound: number;
  /** It gets no lease before this time, because its engine has just failed. */
  cooldownUntilMs: number;
  /**
   * How many leases of `round` it has declined as useless or impossible, and until when it gets no
   * other of that round.
   */
  declines: { round: number; count: number; untilMs: number };
  readonly refusals: Refusals;
  /** The worker's credit: contributions that counted, and their characters. */
  counted: number;
  characters: number;
}

export interface Lease {
  readonly id: string;
  readonly round: number;
  readonly workerId: string;
  readonly units: readonly number[];
  readonly characters: number;
  /** Its characters and those of the leases that were granted with it and come before it. */
  readonly charactersSoFar: number;
  readonly grantedAtMs: number;
  /** Time that it was granted, ms. */
  readonly allowedMs: number;
  /** Reports of progress move both, see progress.ts. */
  deadlineAtMs: number;
  /** From this time on the worker counts as stuck. */
  stuckAtMs: number;
  /** Steps that its worker has taken, by its own account. */
  steps: number;
  /** If not, its streams may be lent to another worker as well; the first valid result counts. */
  reliable: boolean;
  /** Past its deadline. */
  late: boolean;
  /** It measures a worker of unknown speed, and is unreliable from the start. */
  readonly probe: boolean;
}

/**
 * The least that is lent: one stream, or in a reproducible or local run a fixed group of neighbouring
 * streams.
 */
export interface WorkUnit {
  readonly streams: readonly number[];
  /** Whether it is counted in this round. */
  counted: boolean;
  /** Number of reliable leases of this round that cover it. */
  reliableLeases: number;
  /** The latest unreliable lease that covers it: a late one or a probe. */
  unreliableLease: string | undefined;
  /** The worker that holds the hidden states before this round's window, if any. */
  holder: string | undefined;
  /** The worker whose contribution counted in this round. */
  nextHolder: string | undefined;
  /** How often its gradient was not finite in this round, and at which workers. */
  failures: number;
  readonly failedBy: Set<string>;
  /** Whether it was lent in this round: its states then travel with each further lease. */
  lent: boolean;
}

export interface ActiveWorkers {
  /** Speed of each when the round was dealt, chars/s. */
  readonly paces: Map<string, number>;
  /** Speed of all that are left, chars/s. */
  charsPerSecond: number;
  /** Speed lost since spare workers were last asked, chars/s. */
  lost: number;
  /** When they should be done. */
  endMs: number;
}

export interface Parking {
  /** What the deal of this round should take, ms, with so many workers. 0 workers: it was not dealt as a whole. */
  plan: { readonly roundMs: number; readonly workers: number };
  /** Time that each worker costs the all-reduce service in a round, ms. */
  serviceMs: number;
  /** Rounds in a row that would have been faster with parked workers. */
  slowRounds: number;
  /** Since when nobody computes what is left of the round, if so. */
  stalledSinceMs: number | undefined;
  readonly trials: TrialBudget;
}

/** How many of the workers that receive updates have a link to a worker that offers to sum. */
export interface Offer {
  readonly members: number;
  readonly linked: number;
}

/** Which workers may sum the gradients, and which do. */
export interface TopologyState {
  readonly offers: Map<string, Offer>;
  /** Workers that were lost while they summed: how often, and the round from which on they are used again. */
  readonly losses: Map<string, { readonly count: number; readonly untilRound: number }>;
  /** Those that the others shall link to, and those of them that sum. */
  candidates: readonly string[];
  reducers: readonly string[];
  /** Those that people were told of last. */
  told: readonly string[];
  /** Who sums if that is possible, and no trial is under way: `auto` changes it. */
  way: 'star' | 'peers';
  readonly comparison: Comparison;
  /** Time of the last round, ms, unless something has disturbed it. */
  tookMs: number | undefined;
}

/** What is known of the links of workers, see thin-links.ts. */
export interface LinkWatch {
  /** Rounds in a row that were mostly spent on links. */
  slowRounds: number;
  /** Advice is given once. */
  told: boolean;
}

export interface RunState {
  readonly settings: RunSettings;
  phase: 'idle' | 'running' | 'over';
  /** Who paused the run; while there is anyone no lease is granted. */
  readonly pausedBy: Set<string>;
  /** The round being computed, which is the number of rounds completed. */
  round: number;
  readonly workers: Map<string, WorkerRecord>;
  readonly units: readonly WorkUnit[];
  /** Indices of units that are not counted and that no reliable lease covers. */
  readonly uncovered: Set<number>;
  /** Ids of workers that could compute and have nothing to do. */
  readonly idle: Set<string>;
  /**
   * Idle as well, but of no use to this round: they get nothing in it while others work. A worker
   * that is spare for some rounds is parked.
   */
  readonly spare: Set<string>;
  readonly parking: Parking;
  readonly audits: Audits;
  readonly topology: TopologyState;
  readonly links: LinkWatch;
  /** The workers that the round relies on, as it was dealt. */
  readonly active: ActiveWorkers;
  readonly leases: Map<string, Lease>;
  leaseCount: number;
  waiting: boolean;
  readonly loss: LossWatch;
}

export type RunInput =
  | { readonly type: 'start' }
  | {
      readonly type: 'workerReady';
      readonly workerId: string;
      readonly name: string;
      readonly charsPerSecond: number;
      /** By its token: what it computes need not be audited. */
      readonly trusted: boolean;
      /** Somebody at its address has lied. */
      readonly suspect?: boolean;
    }
  /** The worker asks for a snapshot that is not older than `round`. */
  | { readonly type: 'workerSyncing'; readonly workerId: string; readonly reason: string; readonly round: number }
  | { readonly type: 'workerLeft'; readonly workerId: string; readonly reason: string }
  | {
      readonly type: 'declined';
      readonly workerId: string;
      readonly leaseId: string;
      readonly code: DeclineCode;
      readonly reason: string;
    }
  /** The worker has taken so many steps of a local lease. */
  | { readonly type: 'progress'; readonly workerId: string; readonly leaseId: string; readonly steps: number }
  | {
      readonly type: 'counted';
      readonly leaseId: string;
      readonly workerId: string;
      readonly round: number;
      readonly streams: readonly number[];
      /** Nats, summed over the characters. */
      readonly lossSum: number;
      /** In the worker's engine. */
      readonly computeMs: number;
      /** Of the all-reduce service. */
      readonly serviceMs: number;
      /** Of the gradient sum per character, if the lease named one. */
      readonly norm?: number | undefined;
    }
  /** The norm of a contribution is beyond that of its lease: it is held until it is audited. */
  | { readonly type: 'conspicuous'; readonly leaseId: string; readonly workerId: string; readonly round: number }
  /** A person has changed the learning rate, or another knob. */
  | { readonly type: 'tuned' }
  | {
      readonly type: 'rejected';
      readonly leaseId: string;
      readonly workerId: string;
      readonly round: number;
      readonly computeMs: number;
      readonly result: ContributionRefusal;
      readonly reason: string;
    }
  /** The coordinator has computed a lease again, or could not. */
  | {
      readonly type: 'audited';
      readonly round: number;
      readonly workerId: string;
      readonly leaseId: string;
      readonly verdict: MessageOf<'rule'>['verdict'];
      readonly reason: string;
    }
  /** The answer to `verify`. `finite`: undefined if nobody could compute it. */
  | {
      readonly type: 'verified';
      readonly round: number;
      readonly claimants: readonly string[];
      readonly finite: boolean | undefined;
      readonly reason: string;
    }
  /** A worker offers to sum gradients, or no longer does; or the number of its links has changed. */
  | {
      readonly type: 'peer';
      readonly workerId: string;
      readonly offered: boolean;
      readonly members: number;
      readonly linked: number;
    }
  /** Updates pile up at the link of the worker, and it is sent no more. */
  | { readonly type: 'lagging'; readonly workerId: string }
  /** The update of `round` has arrived. `trainLoss`: nats/char. */
  | { readonly type: 'updated'; readonly round: number; readonly trainLoss: number }
  /** The all-reduce service was lost and is back, empty: the round starts over. */
  | { readonly type: 'reopen' }
  /** No lease is granted until everyone who paused the run has resumed it. */
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
      /** One letter per stream: `z` zeros, `h` held by the worker, `g` given with the lease. */
      readonly states: string;
      readonly deadlineMs: number;
      readonly audit: AuditMode;
      /** A contribution with a larger norm per character is held until it is audited. Absent: its worker is trusted. */
      readonly mostNorm?: number | undefined;
    }
  /**
   * The worker lied, or computes wrongly: remove it, and do not admit it again. `since`: the first round in which something of it counted
   * that was not audited.
   */
  | { readonly type: 'ban'; readonly workerId: string; readonly reason: string; readonly since: number | undefined }
  /** Compute a lease of these streams: the claimants say that its gradient is not finite, and not all of them are trusted. */
  | {
      readonly type: 'verify';
      readonly round: number;
      readonly streams: readonly number[];
      readonly claimants: readonly string[];
    }
  /** Send the worker a snapshot that is not older than `round`; it reports ready afterwards. */
  | { readonly type: 'resync'; readonly workerId: string; readonly reason: string; readonly round: number }
  /** The streams of the lease are counted: the worker need not compute it. */
  | { readonly type: 'cancel'; readonly workerId: string; readonly leaseId: string }
  /**
   * Send the worker no more updates. `faster`: by how much a round is faster without it, as a part
   * of the round. `restMs`: updates pile up at its link, and it rests for this long.
   */
  | { readonly type: 'park'; readonly workerId: string; readonly faster: number; readonly restMs?: number }
  /** Send the worker updates again; it asks for a snapshot. */
  | { readonly type: 'unpark'; readonly workerId: string }
  /** Updates pile up at its link before it has been ready: disconnect it, if it is there. It joins again by itself. */
  | { readonly type: 'leaveOut'; readonly workerId: string }
  /** Have the others link to `candidates`, and `reducers` sum from the next round on. */
  | { readonly type: 'usePeers'; readonly candidates: readonly string[]; readonly reducers: readonly string[] }
  | { readonly type: 'evaluate'; readonly round: number }
  | { readonly type: 'sample'; readonly round: number }
  | { readonly type: 'checkpoint'; readonly round: number }
  | { readonly type: 'waiting'; readonly reason: WaitReason }
  /** For the log, the dashboard and metrics. */
  | { readonly type: 'decision'; readonly decision: Decision }
  /** The run has diverged and is over. Its last checkpoint remains. */
  | { readonly type: 'fail'; readonly round: number; readonly reason: string }
  | { readonly type: 'finish'; readonly round: number; readonly outcome: 'completed' | 'stopped' };

/** Why a run that nobody paused makes no progress. `noWorker`: no worker is ready. */
export type WaitReason = 'noWorker';

/**
 * The state of a run that is about to compute `round`: 0, or the round of a checkpoint. It was
 * `aboveLimit` rounds above the limit of the loss then, see LossWatch.
 */
export function createRunState(settings: RunSettings, round: number, aboveLimit = 0): RunState {
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
    spare: new Set(),
    parking: {
      plan: { roundMs: 0, workers: 0 },
      serviceMs: 0,
      slowRounds: 0,
      stalledSinceMs: undefined,
      trials: createTrialBudget(),
    },
    audits: createAudits(settings.audits),
    topology: {
      offers: new Map(),
      losses: new Map(),
      candidates: [],
      reducers: [],
      told: [],
      way: 'star',
      comparison: createComparison(),
      tookMs: undefined,
    },
    links: { slowRounds: 0, told: false },
    active: { paces: new Map(), charsPerSecond: 0, lost: 0, endMs: 0 },
    leases: new Map(),
    leaseCount: 0,
    waiting: false,
    loss: createLossWatch(aboveLimit),
  };
}

/** The units that these streams belong to, each once. */
export function unitsOf(settings: RunSettings, streams: readonly number[]): readonly number[] {
  return settings.leaseStreams > 0 ? [...new Set(streams.map((stream) => unitOf(settings, stream)))] : streams;
}

/** The unit that a stream belongs to. */
export function unitOf({ leaseStreams }: RunSettings, stream: number): number {
  return leaseStreams > 0 ? Math.floor(stream / leaseStreams) : stream;
}
