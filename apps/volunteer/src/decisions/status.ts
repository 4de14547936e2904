/** What the page says of the session: one pure function of what the trainer reports. */
import type { EngineKind, EngineTrial, Failure, Progress, Report } from '../messages.js';
import type { PauseReason } from './pause.js';
import type { RunFacts } from './run-facts.js';

type LogEntry = (Report & { kind: 'log' })['entry'];
/** Undefined: by its own person. */
export type StopCode = Extract<LogEntry, { kind: 'stopped' }>['code'];

export type Phase =
  /** Not started yet. */
  | { readonly at: 'idle' }
  | { readonly at: 'connecting' }
  /** Welcome: the engine is chosen and the parameters are fetched. */
  | { readonly at: 'preparing' }
  | { readonly at: 'ready' }
  | { readonly at: 'computing' }
  | { readonly at: 'paused'; readonly why: PauseReason }
  | { readonly at: 'reconnecting'; readonly reason: string; readonly retryInMs: number }
  /** The run is over, or the coordinator let this worker go. */
  | { readonly at: 'over'; readonly code: StopCode; readonly reason: string }
  | { readonly at: 'failed'; readonly failure: Failure };

export interface Status {
  readonly phase: Phase;
  /** Completed, as far as this worker knows. */
  readonly round: number | undefined;
  readonly parameters: number | undefined;
  /** Of gradients, while they are computed; chars/s. */
  readonly charsPerSecond: number | undefined;
  readonly threads: number | undefined;
  readonly engine: EngineKind | undefined;
  readonly variant: string | undefined;
  readonly trials: readonly EngineTrial[];
  /** Of the sessions since the page was loaded. */
  readonly sentBytes: number;
  readonly receivedBytes: number;
  readonly characters: number;
  readonly rounds: number;
  /** See Progress. */
  readonly heatFactor: number;
  /** Tries to connect that failed since the last one that did not. */
  readonly misses: number;
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
  misses: 0,
};

export type StatusInput =
  | Report
  | { readonly kind: 'started' }
  | { readonly kind: 'paused'; readonly why: PauseReason }
  /** The last progress of a trainer that was let go: it counts, but nothing goes on. */
  | (Omit<Progress, 'kind'> & { readonly kind: 'farewell' })
  /** The person has left. */
  | { readonly kind: 'left' };

export function advance(status: Status, input: StatusInput): Status {
  switch (input.kind) {
    case 'started':
      return { ...status, phase: { at: 'connecting' }, misses: 0, heatFactor: 1 };
    case 'paused':
      return { ...status, phase: { at: 'paused', why: input.why } };
    case 'left':
      return { ...status, phase: { at: 'idle' } };
    case 'engine':
      return { ...status, engine: input.engine, variant: input.variant, trials: input.trials };
    case 'progress':
      return onProgress(status, input);
    case 'farewell':
      return { ...onProgress(status, { ...input, kind: 'progress' }), phase: status.phase };
    case 'ended':
      return input.failure ? { ...status, phase: { at: 'failed', failure: input.failure } } : status;
    case 'log':
      return onLog(status, input.entry);
    default:
      return input satisfies never;
  }
}

/** Rather than only this worker's part in it. */
export function isRunOver({ phase }: Status): boolean {
  return phase.at === 'over' && phase.code !== undefined && phase.code !== 'dismissed';
}

/** It has nothing to do because the run is paused. What is told of the run is seconds old: who computes a later round knows better. */
export function isHeldByRun({ phase, round }: Status, facts: Pick<RunFacts, 'phase' | 'round'> | undefined): boolean {
  const isIdle = phase.at === 'ready' || phase.at === 'computing';
  return isIdle && facts?.phase === 'paused' && (round ?? 0) <= (facts.round ?? 0);
}

/** Weight of the newest measurement in the speed shown. */
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
      // A try after a miss is still the miss to whoever looks on.
      return status.misses > 0 ? status : { ...status, phase: { at: 'connecting' } };
    case 'welcome':
      return { ...status, phase: { at: 'preparing' }, parameters: entry.parameters, misses: 0 };
    case 'ready':
      return { ...status, phase: { at: 'ready' }, round: entry.round };
    case 'engine_lost':
    case 'resync':
      return { ...status, phase: { at: 'preparing' } };
    case 'lost':
      return {
        ...status,
        phase: { at: 'reconnecting', reason: entry.reason, retryInMs: entry.retryInMs },
        misses: status.misses + 1,
      };
    case 'stopped':
      return { ...status, phase: { at: 'over', code: entry.code, reason: entry.reason } };
    default:
      // Told in other ways, or of no interest to a volunteer.
      return status;
  }
}
