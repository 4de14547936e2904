/**
 * Trials of parked workers: whether they have become faster, or the others slower. All trials of a
 * run together take at most a fixed part of its time. A trial is charged what the rounds took longer
 * than usual while it lasted, unless it is known that they had to.
 */

/** At most this part of the time of a run goes into trials: half of the 2 % that they may cost. */
export const TRIAL_SHARE = 0.01;
/** Weight of the newest round, and of the newest trial. */
const ROUND_WEIGHT = 0.2;
const TRIAL_WEIGHT = 0.5;
/** A round counts at most this many times the usual one there: a pause is no slow round. */
const MAX_FACTOR = 2;
/** A trial is charged at most this many usual rounds for one: the rest has another reason. */
const MAX_EXCESS = 10;
/** After this time a trial no longer holds up the next: its worker may be frozen. But not before so many usual rounds. */
const TRIAL_MS = 120_000;
const TRIAL_ROUNDS = 4;

export interface TrialBudget {
  /** When the last round ended, unless something has disturbed this one. */
  lastMs: number | undefined;
  /** Time of all rounds so far. A slow one counts as a usual one. */
  elapsedMs: number;
  /** What all trials took of it. */
  spentMs: number;
  /** A usual round; 0 before the first. */
  usualMs: number;
  /** What the next trial will probably take; undefined before the first, which may take a round. */
  expectedMs: number | undefined;
  current: { readonly workerId: string; readonly sinceMs: number; costMs: number } | undefined;
}

export function createTrialBudget(): TrialBudget {
  return { lastMs: undefined, elapsedMs: 0, spentMs: 0, usualMs: 0, expectedMs: undefined, current: undefined };
}

/** A round has ended. @returns its time, ms; undefined: something has disturbed it */
export function noteRound(budget: TrialBudget, nowMs: number): number | undefined {
  const { lastMs, current } = budget;
  budget.lastMs = nowMs;
  if (lastMs === undefined) return undefined;
  const tookMs = nowMs - lastMs;
  budget.elapsedMs += Math.min(tookMs, budget.usualMs);
  if (current) {
    const excessMs = Math.min(Math.max(0, tookMs - budget.usualMs), MAX_EXCESS * budget.usualMs);
    current.costMs += excessMs;
    budget.spentMs += excessMs;
    if (nowMs - current.sinceMs > Math.max(TRIAL_MS, TRIAL_ROUNDS * budget.usualMs)) endTrial(budget, current.workerId);
  } else if (budget.usualMs === 0) budget.usualMs = tookMs;
  else budget.usualMs += (Math.min(tookMs, MAX_FACTOR * budget.usualMs) - budget.usualMs) * ROUND_WEIGHT;
  return tookMs;
}

/** The time of the round that is being computed says nothing. */
export function disturbRound(budget: TrialBudget): void {
  budget.lastMs = undefined;
}

/** Whether the run can afford a trial now. */
export function mayTry({ current, usualMs, expectedMs, spentMs, elapsedMs }: TrialBudget): boolean {
  if (current || usualMs === 0) return false;
  return spentMs + (expectedMs ?? usualMs) <= TRIAL_SHARE * elapsedMs;
}

export function beginTrial(budget: TrialBudget, workerId: string, nowMs: number): void {
  budget.current = { workerId, sinceMs: nowMs, costMs: 0 };
}

/** Does nothing when no trial of this worker is under way. */
export function endTrial(budget: TrialBudget, workerId: string): void {
  const { current, expectedMs, usualMs } = budget;
  if (current?.workerId !== workerId) return;
  const before = expectedMs ?? usualMs;
  budget.expectedMs = before + (current.costMs - before) * TRIAL_WEIGHT;
  budget.current = undefined;
}
