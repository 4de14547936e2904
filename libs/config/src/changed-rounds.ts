/** A resume may change how many windows a round has. */
import { scaled } from './flags.js';
import { firstWindow, isLocal, usualLeaseStreams, usualTracks, type ScheduleConfig, type TrainingConfig } from './training.js';

export interface OtherRounds {
  readonly localSteps: number;
  /** Absent: those of before, or the usual number. */
  readonly tracks?: number | undefined;
  /** Of a reproducible exact run. Absent: the usual number. */
  readonly leaseStreams?: number | undefined;
}

/**
 * The values that people last gave for the flags that follow the rounds, before any scaling. A resume that gives the same value again
 * changes nothing, although the config holds a scaled one.
 */
export interface SaidOfRounds {
  /** H at the start of the run: the windows in one of the rounds that the schedule counted. */
  readonly localSteps: number;
  readonly rounds: number;
  readonly ema: number;
  /** Of a cosine schedule. */
  readonly decayRounds?: number | undefined;
}

/** Of a run whose rounds were never changed, they are in its config. */
export function saidOfRounds({ localSteps, rounds, ema, schedule }: TrainingConfig): SaidOfRounds {
  return { localSteps, rounds, ema, ...(schedule.kind === 'cosine' && { decayRounds: schedule.decayRounds }) };
}

/**
 * The config of a run that has other rounds from `round` on, above 0. It ends after as many windows as before, or less than one round
 * later; learning rate and average go on with the windows.
 */
export function withOtherRounds(config: TrainingConfig, round: number, other: OtherRounds): TrainingConfig {
  const { localSteps } = other;
  const ratio = localSteps / config.localSteps;
  const first = firstWindow(config, round);
  const left = firstWindow(config, config.rounds) - first;
  const kind = { ...config, localSteps };
  const tracks = isLocal(kind) ? (other.tracks ?? (config.tracks || usualTracks(kind))) : (other.tracks ?? 0);
  return {
    ...kind,
    tracks,
    leaseStreams: config.leaseStreams === 0 ? 0 : (other.leaseStreams ?? usualLeaseStreams({ ...kind, tracks })),
    rounds: round + Math.ceil(left / localSteps),
    ema: scaled(config.ema, 'decay', ratio),
    schedule: scheduleInWindows(config),
    changedRound: round,
    changedWindow: first,
  };
}

function scheduleInWindows({ schedule, rounds, localSteps, changedRound }: TrainingConfig): ScheduleConfig {
  if (changedRound > 0) return schedule;
  switch (schedule.kind) {
    case 'cosine': {
      const { warmupRounds, decayRounds } = schedule;
      return { ...schedule, warmupRounds: warmupRounds * localSteps, decayRounds: (decayRounds || rounds) * localSteps };
    }
    case 'step':
      return { ...schedule, everyRounds: schedule.everyRounds * localSteps };
    case 'constant':
      return schedule;
    default:
      return schedule satisfies never;
  }
}
