/** How grains are dealt to workers: pure functions of speeds and of who holds what. */

export interface Hand {
  readonly workerId: string;
  /** Measured speed, chars/s; only ratios matter. */
  readonly charsPerSecond: number;
  /** Grains whose hidden state this worker holds from the round before. */
  readonly held: number;
  /** Whether the speed is only what the worker says of itself: a moment's disturbance may have made it many times too low. */
  readonly untried: boolean;
}

/**
 * A deal that is up to this much slower than the best one is kept, because re-dealing moves hidden states and measured speeds are
 * noisy: two equal machines should not trade streams every round.
 */
const TOLERANCE = 1.1;
/** A newcomer among tried workers starts with this part of what its word would give it: its word may be wrong, its link slow. */
const PROBATION = 0.25;

/**
 * How many of `total` grains each worker gets: what it holds already, if that is near the best; else an equal share, if that is;
 * else in proportion to speed. The sum is `total`. A slow worker may get none; one that is untried gets one at least, while there are
 * enough, or what it said of itself would never be corrected.
 */
export function dealQuotas(hands: readonly Hand[], total: number): number[] {
  const anyTried = hands.some(({ untried }) => !untried);
  const weighed = hands.map((hand) =>
    hand.untried && anyTried ? { ...hand, charsPerSecond: hand.charsPerSecond * PROBATION } : hand,
  );
  const quotas = quotasBySpeed(weighed, total);
  hands.forEach(({ untried }, i) => {
    if (!untried || quotas[i] > 0) return;
    const richest = quotas.indexOf(Math.max(...quotas));
    if (quotas[richest] < 2) return;
    quotas[richest]--;
    quotas[i]++;
  });
  return quotas;
}

function quotasBySpeed(hands: readonly Hand[], total: number): number[] {
  const best = fastestShares(
    hands.map((hand) => hand.charsPerSecond),
    total,
  );
  const bound = makespan(hands, best) * TOLERANCE;
  const held = hands.map((hand) => hand.held);
  const sum = held.reduce((a, b) => a + b, 0);
  if (sum === total && makespan(hands, held) <= bound) return held;
  const equal = hands.map((_, i) => Math.floor(total / hands.length) + (i < total % hands.length ? 1 : 0));
  return makespan(hands, equal) <= bound ? equal : best;
}

/** Time until the last worker is done, in units of one grain at one char/s. */
function makespan(hands: readonly Hand[], quotas: readonly number[]): number {
  let most = 0;
  hands.forEach((hand, i) => (most = Math.max(most, quotas[i] / hand.charsPerSecond)));
  return most;
}

/** Whole shares that sum to `total` and are all done soonest at these speeds (all > 0); ties go to the first. */
function fastestShares(speeds: readonly number[], total: number): number[] {
  const sum = speeds.reduce((a, b) => a + b, 0);
  const quotas = speeds.map((speed) => Math.floor((speed / sum) * total));
  const missing = total - quotas.reduce((a, b) => a + b, 0);
  // One grain after the other to who would be done with it first.
  const doneAt = (i: number): number => (quotas[i] + 1) / speeds[i];
  const heap = createHeap(
    speeds.map((_, i) => i),
    (i, j) => doneAt(i) - doneAt(j) || i - j,
  );
  for (let k = 0; k < missing; k++) {
    quotas[heap.top]++;
    heap.settle();
  }
  return quotas;
}

/** A binary heap whose least item may grow. */
function createHeap(items: number[], compare: (a: number, b: number) => number): { readonly top: number; settle(): void } {
  const sink = (at: number): void => {
    for (let i = at; ;) {
      let least = i;
      for (const child of [2 * i + 1, 2 * i + 2]) {
        if (child < items.length && compare(items[child], items[least]) < 0) least = child;
      }
      if (least === i) return;
      [items[i], items[least]] = [items[least], items[i]];
      i = least;
    }
  };
  for (let i = (items.length >> 1) - 1; i >= 0; i--) sink(i);
  return {
    get top() {
      return items[0];
    },
    /** After the top item has grown. */
    settle: () => sink(0),
  };
}

/**
 * Which grains go to whom: every worker keeps what it holds as far as its quota goes, the rest fills up in order.
 * `holder(grain)` names the worker that holds the grain's states, if any.
 */
export function dealGrains(
  grains: readonly number[],
  workerIds: readonly string[],
  quotas: readonly number[],
  holder: (grain: number) => string | undefined,
): Map<string, number[]> {
  const dealt = new Map<string, number[]>(workerIds.map((id) => [id, []]));
  const room = new Map(workerIds.map((id, i) => [id, quotas[i]]));
  const rest: number[] = [];
  for (const grain of grains) {
    const keeper = holder(grain);
    if (keeper !== undefined && (room.get(keeper) ?? 0) > 0) give(keeper, grain);
    else rest.push(grain);
  }
  let next = 0;
  for (const grain of rest) {
    while (room.get(workerIds[next]) === 0) next++;
    give(workerIds[next], grain);
  }
  for (const mine of dealt.values()) mine.sort((a, b) => a - b);
  return dealt;

  function give(workerId: string, grain: number): void {
    dealt.get(workerId)!.push(grain);
    room.set(workerId, room.get(workerId)! - 1);
  }
}
