/** The state of the session as the page shows it: a pure function of what the trainer reports. */
import type { DirectState, EngineKind, EngineTrial, Failure, KnownEngine, Progress, Report } from '../messages.js';
import type { PauseReason } from './pause.js';
import type { RunFacts } from './run-facts.js';
import { NO_SPEED, observeSpeed, type SpeedWatch } from './speed.js';

type LogEntry = (Report & { kind: 'log' })['entry'];
/** Undefined: the volunteer stopped it. */
export type StopCode = Extract<LogEntry, { kind: 'stopped' }>['code'];

export type Phase =
  | { readonly at: 'idle' }
  | { readonly at: 'connecting' }
  /** The coordinator has accepted the worker, which chooses an engine and fetches the parameters. */
  | { readonly at: 'preparing' }
  | { readonly at: 'ready' }
  /** `part`: of a local lease, 0 to 1, where that takes long. */
  | { readonly at: 'computing'; readonly part?: number }
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
  /** Of what counted; see speed.ts. */
  readonly speed: SpeedWatch;
  readonly threads: number | undefined;
  readonly engine: EngineKind | undefined;
  readonly variant: string | undefined;
  readonly trials: readonly EngineTrial[];
  /** For the next trainer. */
  readonly known: KnownEngine | undefined;
  /** This and the following counts: since the page was loaded. */
  readonly sentBytes: number;
  readonly receivedBytes: number;
  /** That counted, and their rounds. */
  readonly characters: number;
  readonly rounds: number;
  /** See Progress. */
  readonly heatFactor: number;
  /** Attempts to connect that failed in a row. */
  readonly failedAttempts: number;
  /** Undefined: the trainer has no direct links. */
  readonly direct: DirectState | undefined;
  /** It leaves as soon as what it computes counts. */
  readonly isFinishing: boolean;
}

export const IDLE: Status = {
  phase: { at: 'idle' },
  round: undefined,
  parameters: undefined,
  speed: NO_SPEED,
  threads: undefined,
  engine: undefined,
  variant: undefined,
  trials: [],
  known: undefined,
  sentBytes: 0,
  receivedBytes: 0,
  characters: 0,
  rounds: 0,
  heatFactor: 1,
  failedAttempts: 0,
  direct: undefined,
  isFinishing: false,
};

export type StatusInput =
  | Report
  | { readonly kind: 'started' }
  /** The volunteer wants to stop once what is being computed counts. */
  | { readonly kind: 'finishing' }
  | { readonly kind: 'paused'; readonly why: PauseReason }
  /** The last progress of a trainer that was released: its work counts, but the phase stays. */
  | (Omit<Progress, 'kind'> & { readonly kind: 'final' })
  /** The volunteer has left. */
  | { readonly kind: 'left' };

/** What belongs to one trainer. */
const FRESH = { direct: undefined, isFinishing: false, speed: NO_SPEED } as const;

export function advance(status: Status, input: StatusInput): Status {
  switch (input.kind) {
    case 'started':
      return { ...status, ...FRESH, phase: { at: 'connecting' }, failedAttempts: 0, heatFactor: 1 };
    case 'finishing':
      return { ...status, isFinishing: true };
    case 'paused':
      return { ...status, ...FRESH, phase: { at: 'paused', why: input.why } };
    case 'left':
      return { ...status, ...FRESH, phase: { at: 'idle' } };
    case 'direct':
      return { ...status, direct: input.state };
    case 'engine':
      return { ...status, engine: input.engine, variant: input.variant, trials: input.trials, known: input.known };
    case 'progress':
      return onProgress(status, input);
    case 'final':
      return { ...onProgress(status, { ...input, kind: 'progress' }), phase: status.phase, speed: status.speed };
    case 'ended':
      return onEnded({ ...status, ...FRESH }, input.failure);
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

function onProgress(status: Status, report: Progress): Status {
  const next: Status = {
    ...status,
    sentBytes: status.sentBytes + report.sentBytes,
    receivedBytes: status.receivedBytes + report.receivedBytes,
    characters: status.characters + report.characters,
    rounds: status.rounds + report.rounds,
    heatFactor: report.heatFactor,
    speed: observeSpeed(status.speed, report.characters, report.elapsedMs),
  };
  if (report.computed === 0) return next;
  return { ...next, phase: { at: 'computing' }, round: report.round, threads: report.threads };
}

function onLog(status: Status, entry: LogEntry): Status {
  switch (entry.kind) {
    case 'connecting':
      // The page keeps saying that it reconnects, and does not flicker between attempts.
      return status.failedAttempts > 0 ? status : { ...status, phase: { at: 'connecting' } };
    case 'welcome':
      return { ...status, phase: { at: 'preparing' }, parameters: entry.parameters, failedAttempts: 0 };
    case 'ready':
      return {
        ...status,
        phase: { at: 'ready' },
        round: entry.round,
        known: status.known && { ...status.known, charsPerSecond: entry.charsPerSecond },
      };
    case 'progress':
      return { ...status, phase: { at: 'computing', part: entry.steps / entry.of } };
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
