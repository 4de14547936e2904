/**
 * Which of two ways to do a round is faster. Bandwidths, latencies and busy processors all count, and none of them can be known from
 * outside: so now and then some rounds go the other way, and the times of both are compared.
 */

/** Rounds of each way that are compared, by their median. */
const COMPARED_ROUNDS = 9;
/** The first rounds after a change are not counted: they may still go the old way, or be slow because of the change. */
const SETTLING_ROUNDS = 3;
/** The other way is taken when its rounds take this part of the time. */
const WORTH_CHANGING = 0.9;
/**
 * A trial ends early after SLOW_ROUNDS rounds that take more than SLOW_FACTOR times as long as before, or when it has cost as much time as
 * MAX_COST_ROUNDS usual rounds.
 */
const SLOW_ROUNDS = 2;
const SLOW_FACTOR = 2;
const MAX_COST_ROUNDS = 20;
/** All trials together may make a run this much slower. */
const TRIAL_SHARE = 0.01;
/** Rounds until the next trial, at least. Each trial that changes nothing doubles them, up to a limit. */
const REST_ROUNDS = 200;
const MAX_REST_ROUNDS = 10_000;

export interface Comparison {
  /** Of the last rounds this way, ms, the newest last. */
  times: readonly number[];
  /** Rounds that do not count yet. */
  settling: number;
  /** Rounds until the next trial may begin. */
  restRounds: number;
  /** Trials in a row that changed nothing. */
  vain: number;
  /** Present while the other way is tried: the usual time of a round before, ms, and what the trial cost so far. */
  trial: { readonly usualMs: number; costMs: number } | undefined;
}

/** What follows from the last round: go on, try the other way, or the outcome of a trial. */
export type Verdict =
  | { readonly kind: 'go on' | 'try' }
  /** Medians of a round: on trial, and before it. */
  | { readonly kind: 'change' | 'return'; readonly triedMs: number; readonly usualMs: number };

export function createComparison(): Comparison {
  return { times: [], settling: 0, restRounds: 0, vain: 0, trial: undefined };
}

/** Nothing that was measured applies any more. A trial ends without an outcome, and is paid for like one that changed nothing. */
export function interrupt(comparison: Comparison): void {
  if (comparison.trial) payFor(comparison, comparison.trial, comparison.trial.usualMs, false);
  restart(comparison);
}

function restart(comparison: Comparison): void {
  Object.assign(comparison, { times: [], settling: SETTLING_ROUNDS, trial: undefined });
}

/**
 * A round has ended.
 * @param tookMs its time; undefined: something has disturbed it
 * @param mayTry whether the other way is possible
 */
export function compare(comparison: Comparison, tookMs: number | undefined, mayTry: boolean): Verdict {
  const { trial } = comparison;
  comparison.restRounds = Math.max(0, comparison.restRounds - 1);
  if (trial && tookMs !== undefined) trial.costMs += Math.max(0, tookMs - trial.usualMs);
  if (comparison.settling > 0) comparison.settling--;
  else if (tookMs !== undefined) comparison.times = [...comparison.times, tookMs].slice(-COMPARED_ROUNDS);
  if (trial) return judge(comparison, trial, tookMs);
  if (!mayTry || comparison.restRounds > 0 || comparison.times.length < COMPARED_ROUNDS) return { kind: 'go on' };
  const usualMs = median(comparison.times);
  restart(comparison);
  comparison.trial = { usualMs, costMs: 0 };
  return { kind: 'try' };
}

type Trial = NonNullable<Comparison['trial']>;

function judge(comparison: Comparison, trial: Trial, tookMs = 0): Verdict {
  const { times } = comparison;
  const { usualMs, costMs } = trial;
  const isSlow = costMs >= MAX_COST_ROUNDS * usualMs || times.filter((ms) => ms > SLOW_FACTOR * usualMs).length >= SLOW_ROUNDS;
  if (!isSlow && times.length < COMPARED_ROUNDS) return { kind: 'go on' };
  const triedMs = times.length > 0 ? median(times) : tookMs;
  const isFaster = !isSlow && triedMs <= WORTH_CHANGING * usualMs;
  payFor(comparison, trial, isFaster ? triedMs : usualMs, isFaster);
  if (isFaster) comparison.trial = undefined;
  else restart(comparison);
  return { kind: isFaster ? 'change' : 'return', triedMs, usualMs };
}

/** The next trial comes when this one has paid for itself. @param roundMs from here on */
function payFor(comparison: Comparison, { costMs }: Trial, roundMs: number, hasChanged: boolean): void {
  comparison.vain = hasChanged ? 0 : comparison.vain + 1;
  const usualRest = Math.min(REST_ROUNDS * 2 ** comparison.vain, MAX_REST_ROUNDS);
  const paidOff = costMs / Math.max(roundMs * TRIAL_SHARE, Number.MIN_VALUE);
  comparison.restRounds = Math.ceil(Math.max(usualRest, paidOff));
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)];
}
