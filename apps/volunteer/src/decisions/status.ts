/** The state of the session as the page shows it: a pure function of what the trainer reports. */
import type { DirectState, EngineKind, EngineTrial, Failure, Progress, Report } from '../messages.js';
import type { PauseReason } from './pause.js';
import type { RunFacts } from './run-facts.js';

type LogEntry = (Report & { kind: 'log' })['entry'];
/** Undefined: the volunteer stopped it. */
export type StopCode = Extract<LogEntry, { kind: 'stopped' }>['code'];

export type Phase =
  | { readonly at: 'idle' }
  | { readonly at: 'connecting' }
  /** The coordinator has accepted the worker, which chooses an engine and fetches the parameters. */
  | { readonly at: 'preparing' }
  | { readonly at: 'ready' }
  | { readonly at: 'computing' }
  /** The coordinator has no work for this worker: rounds are faster without it. */
  | { readonly at: 'parked' }
  | { readonly at: 'paused'; readonly why: PauseReason }
  | { readonly at: 'reconnecting'; readonly reason: string; readonly retryInMs: number }
  /** The run is over, or the coordinator has dismissed this worker. */
  | { readonly at: 'over'; readonly code: StopCode; readonly reason: string }
  | { readonly at: 'failed'; readonly failure: Failure };

export interface Status {
  readonly phase: Phase;
  /** The last one that this worker contributed to. */
  readonly round: number | undefined;
  readonly parameters: number | undefined;
  /** While gradients are computed. */
  readonly charsPerSecond: number | undefined;
  readonly threads: number | undefined;
  readonly engine: EngineKind | undefined;
  readonly variant: string | undefined;
  readonly trials: readonly EngineTrial[];
  /** This and the following counts: since the page was loaded. */
  readonly sentBytes: number;
  readonly receivedBytes: number;
  readonly characters: number;
  readonly rounds: number;
  /** See Progress. */
  readonly heatFactor: number;
  /** Attempts to connect that failed in a row. */
  readonly failedAttempts: number;
  /** Undefined: the trainer has no direct links. */
  readonly direct: DirectState | undefined;
}

export const IDLE: Status = {
  phase: { at: 'idle' },
  round: undefined,
  parameters: undefined,
  charsPerSecond: undefined,
  threads: undefined,
  engine: undefined,
  variant: undefined,
  trials: [],
  sentBytes: 0,
  receivedBytes: 0,
  characters: 0,
  rounds: 0,
  heatFactor: 1,
  failedAttempts: 0,
  direct: undefined,
};

export type StatusInput =
  | Report
  | { readonly kind: 'started' }
  | { readonly kind: 'paused'; readonly why: PauseReason }
  /** The last progress of a trainer that was released: its work counts, but the phase stays. */
  | (Omit<Progress, 'kind'> & { readonly kind: 'final' })
  /** The volunteer has left. */
  | { readonly kind: 'left' };

export function advance(status: Status, input: StatusInput): Status {
  switch (input.kind) {
    case 'started':
      return { ...status, phase: { at: 'connecting' }, failedAttempts: 0, heatFactor: 1, direct: undefined };
    case 'paused':
      return { ...status, phase: { at: 'paused', why: input.why }, direct: undefined };
    case 'left':
      return { ...status, phase: { at: 'idle' }, direct: undefined };
    case 'direct':
      return { ...status, direct: input.state };
    case 'engine':
      return { ...status, engine: input.engine, variant: input.variant, trials: input.trials };
    case 'progress':
      return onProgress(status, input);
    case 'final':
      return { ...onProgress(status, { ...input, kind: 'progress' }), phase: status.phase };
    case 'ended':
      return onEnded({ ...status, direct: undefined }, input.failure);
    case 'log':
      return onLog(status, input.entry);
    default:
      return input satisfies never;
  }
}

function onEnded(status: Status, failure: Failure | undefined): Status {
  return failure ? { ...status, phase: { at: 'failed', failure } } : status;
}

/** The run itself is over, not only this worker's session. */
export function isRunOver({ phase }: Status): boolean {
  return phase.at === 'over' && phase.code !== undefined && phase.code !== 'dismissed';
}

/**
 * The worker has nothing to do because the run is paused. The facts are seconds old: when the worker computes a later round, the run has
 * resumed since.
 */
export function isHeldByRun({ phase, round }: Status, facts: Pick<RunFacts, 'phase' | 'round'> | undefined): boolean {
  const isIdle = phase.at === 'ready' || phase.at === 'computing';
  return isIdle && facts?.phase === 'paused' && (round ?? 0) <= (facts.round ?? 0);
}

/** Weight of the latest measurement in the speed that is shown. */
const SPEED_WEIGHT = 0.2;

function onProgress(status: Status, report: Progress): Status {
  const sums = {
    sentBytes: status.sentBytes + report.sentBytes,
    receivedBytes: status.receivedBytes + report.receivedBytes,
    characters: status.characters + report.characters,
    rounds: status.rounds + report.rounds,
    heatFactor: report.heatFactor,
  };
  if (report.characters === 0) return { ...status, ...sums };
  const rate = (report.characters * 1000) / Math.max(report.busyMs, 0.1);
  const known = status.charsPerSecond ?? rate;
  const charsPerSecond = known + SPEED_WEIGHT * (rate - known);
  const { threads } = report;
  return { ...status, ...sums, phase: { at: 'computing' }, round: report.round, charsPerSecond, threads };
}

function onLog(status: Status, entry: LogEntry): Status {
  switch (entry.kind) {
    case 'connecting':
      // The page keeps saying that it reconnects, and does not flicker between attempts.
      return status.failedAttempts > 0 ? status : { ...status, phase: { at: 'connecting' } };
    case 'welcome':
      return { ...status, phase: { at: 'preparing' }, parameters: entry.parameters, failedAttempts: 0 };
    case 'ready':
      return { ...status, phase: { at: 'ready' }, round: entry.round };
    case 'parked':
      return { ...status, phase: { at: 'parked' } };
    case 'engine_lost':
    case 'resync':
      return { ...status, phase: { at: 'preparing' } };
    case 'lost':
      return {
        ...status,
        phase: { at: 'reconnecting', reason: entry.reason, retryInMs: entry.retryInMs },
        failedAttempts: status.failedAttempts + 1,
      };
    case 'stopped':
      return { ...status, phase: { at: 'over', code: entry.code, reason: entry.reason } };
    default:
      // Reported in other ways, or of no interest to a volunteer.
      return status;
  }
}
