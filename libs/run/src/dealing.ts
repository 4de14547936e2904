/** How streams are dealt to workers: pure functions of speeds and of who holds what. */

export interface Hand {
  readonly workerId: string;
  /** Measured speed, chars/s; only ratios matter. */
  readonly charsPerSecond: number;
  /** Streams whose hidden state this worker holds from the round before. */
  readonly held: number;
  /** Whether the speed is only what the worker says of itself: a moment's disturbance may have made it many times too low. */
  readonly untried: boolean;
}

/**
 * A deal that is up to this much slower than the best one is kept, because re-dealing moves hidden states and measured speeds are
 * noisy: two equal machines should not trade streams every round.
 */
const TOLERANCE = 1.1;

/**
 * How many of `total` streams each worker gets: what it holds already, if that is near the best; else an equal share, if that is;
 * else in proportion to speed. The sum is `total`. A slow worker may get none; one that is untried gets one at least, while there are
 * enough, or what it said of itself would never be corrected.
 */
export function dealQuotas(hands: readonly Hand[], total: number): number[] {
  const quotas = quotasBySpeed(hands, total);
  hands.forEach(({ untried }, i) => {
    const richest = quotas.indexOf(Math.max(...quotas));
    if (!untried || quotas[i] > 0 || quotas[richest] < 2) return;
    quotas[richest]--;
    quotas[i]++;
  });
  return quotas;
}

function quotasBySpeed(hands: readonly Hand[], total: number): number[] {
  const proportional = shares(
    hands.map((hand) => hand.charsPerSecond),
    total,
  );
  const held = hands.map((hand) => hand.held);
  const equal = shares(
    hands.map(() => 1),
    total,
  );
  const bound = makespan(hands, proportional) * TOLERANCE;
  const sum = held.reduce((a, b) => a + b, 0);
  if (sum === total && makespan(hands, held) <= bound) return held;
  return makespan(hands, equal) <= bound ? equal : proportional;
}

/** Time until the last worker is done, in units of one stream at one char/s. */
function makespan(hands: readonly Hand[], quotas: readonly number[]): number {
  return Math.max(...hands.map((hand, i) => (quotas[i] === 0 ? 0 : quotas[i] / hand.charsPerSecond)));
}

/** Largest-remainder method: whole shares in proportion to `weights` (all > 0) that sum to `total`; ties go to the first. */
function shares(weights: readonly number[], total: number): number[] {
  const sum = weights.reduce((a, b) => a + b, 0);
  const exact = weights.map((weight) => (weight / sum) * total);
  const quotas = exact.map(Math.floor);
  const byRemainder = exact
    .map((value, i) => ({ i, remainder: value - quotas[i] }))
    .sort((a, b) => b.remainder - a.remainder || a.i - b.i);
  const missing = total - quotas.reduce((a, b) => a + b, 0);
  for (let k = 0; k < missing; k++) quotas[byRemainder[k].i]++;
  return quotas;
}

/**
 * Which streams go to whom: every worker keeps what it holds as far as its quota goes, the rest fills up in order.
 * `holder(stream)` names the worker that holds the stream's state, if any.
 */
export function dealStreams(
  streams: readonly number[],
  workerIds: readonly string[],
  quotas: readonly number[],
  holder: (stream: number) => string | undefined,
): Map<string, number[]> {
  const dealt = new Map<string, number[]>(workerIds.map((id) => [id, []]));
  const room = new Map(workerIds.map((id, i) => [id, quotas[i]]));
  const rest: number[] = [];
  for (const stream of streams) {
    const keeper = holder(stream);
    if (keeper !== undefined && (room.get(keeper) ?? 0) > 0) give(keeper, stream);
    else rest.push(stream);
  }
  let next = 0;
  for (const stream of rest) {
    while (room.get(workerIds[next]) === 0) next++;
    give(workerIds[next], stream);
  }
  for (const mine of dealt.values()) mine.sort((a, b) => a - b);
  return dealt;

  function give(workerId: string, stream: number): void {
    dealt.get(workerId)!.push(stream);
    room.set(workerId, room.get(workerId)! - 1);
  }
}
