/** Whether a validation says that something has spoiled the parameters, and not that the model learns badly. */
import type { Evaluation } from './training.js';

/** A model whose best validation is not this far below guessing has learned too little to judge by. */
const HAS_LEARNED = 0.8;
/** How often a run goes back because of its validations, at most. */
const MOST_JUMPS = 3;

export interface JumpFacts {
  /** Before this one, in order. */
  readonly evaluations: readonly Evaluation[];
  readonly evaluation: Evaluation;
  /** Of the last round, nats/char. */
  readonly trainLoss: number;
  /** Of guessing, nats/char. */
  readonly chance: number;
}

/**
 * The loss has jumped if the validation before was good, and both this one and the training loss are now more than halfway from the best
 * validation to guessing. A model that learns its text by heart has a low training loss. In a warm-up nothing is good yet.
 * @returns the round of the validation before, up to which all was well; undefined if the loss has not jumped
 */
export function jumpedSince({ evaluations, evaluation, trainLoss, chance }: JumpFacts): number | undefined {
  const before = evaluations.at(-1);
  const best = Math.min(...evaluations.map(({ validationLoss }) => validationLoss));
  if (!before || !(best <= HAS_LEARNED * chance)) return undefined;
  const limit = (best + chance) / 2;
  // NaN is above the limit.
  const isGood = (loss: number): boolean => loss <= limit;
  return isGood(before.validationLoss) && !isGood(evaluation.validationLoss) && !isGood(trainLoss) ? before.round : undefined;
}

/**
 * Whether the run may go back to round `since` because of a jump. What comes a second time is the training's own: leases are pure, so
 * computing them again cannot help.
 * @param jumps rounds of the validations because of which it has gone back
 */
export function mayGoBack(jumps: ReadonlySet<number>, since: number): boolean {
  return jumps.size < MOST_JUMPS && ![...jumps].some((round) => round > since);
}
