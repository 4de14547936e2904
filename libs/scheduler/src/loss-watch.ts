/** Whether training has become unstable, from the training loss of each round alone. */
import { roundsOfWindows, type TrainingConfig } from '@troupe/protocol';

/** A loss above this many times that of guessing is reported. */
const HIGH_FACTOR = 1.5;
/** Windows in a row above the limit after which the run has diverged, and the least number of rounds: one may be bad by chance. */
const WINDOWS_ABOVE_LIMIT = 10;
const LEAST_ROUNDS = 3;

/** What training losses are compared with. */
export interface LossLimits extends Partial<Pick<TrainingConfig, 'localSteps'>> {
  /** The loss of guessing among all characters, nats/char. */
  readonly chanceLoss: number;
  /** The run has diverged when its loss stays above this many times `chanceLoss`; 0 = never. */
  readonly maxLoss: number;
}

export interface LossWatch {
  /** Rounds in a row, up to the last one, whose loss was above the limit. */
  aboveLimit: number;
  /** The loss is high, and that is reported. */
  high: boolean;
}

/** Rounds in a row above the limit after which the run has diverged. */
export function roundsAboveLimit(limits: Pick<LossLimits, 'localSteps'>): number {
  return roundsOfWindows(limits, WINDOWS_ABOVE_LIMIT, LEAST_ROUNDS);
}

export function createLossWatch(aboveLimit: number): LossWatch {
  return { aboveLimit, high: false };
}

/**
 * Changes `watch` by the training loss of a round, nats/char. `high` is returned once each time
 * that the loss becomes so.
 */
export function watchLoss(watch: LossWatch, trainLoss: number, limits: LossLimits): 'usual' | 'high' | 'diverged' {
  const { chanceLoss, maxLoss } = limits;
  // Written so that NaN is high and above.
  const exceeds = (factor: number): boolean => !(trainLoss <= factor * chanceLoss);
  watch.aboveLimit = maxLoss > 0 && exceeds(maxLoss) ? watch.aboveLimit + 1 : 0;
  if (watch.aboveLimit >= roundsAboveLimit(limits)) return 'diverged';
  const before = watch.high;
  watch.high = exceeds(HIGH_FACTOR);
  return watch.high && !before ? 'high' : 'usual';
}
