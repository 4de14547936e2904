/**
 * How units are dealt to workers: pure functions of speeds and of who holds which hidden states.
 */

export interface Capacity {
  readonly workerId: string;
  /** Chars/s; only ratios matter. */
  readonly charsPerSecond: number;
  /** Work units whose hidden state this worker holds from the round before. */
  readonly held: number;
}

/**
 * A deal is kept if it is at most this much slower than the best one. Re-dealing moves hidden
 * states, and measured speeds are noisy: two equal machines should not trade streams every round.
 */
const TOLERANCE = 1.1;
/**
 * A new worker starts with this part of its fair share: its reported speed may be wrong, or its
 * link slow.
 */
const PROBATION = 0.25;
/** At most this part of a round goes into probes. */
const PROBE_SHARE = 0.1;

/**
 * How many of `total` units each worker gets: the number that it holds already, if that is close to
 * the best deal; else an equal share, if that is close; else a share in proportion to its speed.
 * The sum is `total`. A slow worker may get none.
 */
export function dealQuotas(capacities: readonly Capacity[], total: number): number[] {
  const best = fastestShares(
    capacities.map((capacity) => capacity.charsPerSecond),
    total,
  );
  const bound = makespan(capacities, best) * TOLERANCE;
  const held = capacities.map((capacity) => capacity.held);
  const sum = held.reduce((a, b) => a + b, 0);
  if (sum === total && makespan(capacities, held) <= bound) return held;
  const equal = capacities.map((_, i) => Math.floor(total / capacities.length) + (i < total % capacities.length ? 1 : 0));
  return makespan(capacities, equal) <= bound ? equal : best;
}

/**
 * Moves units from the largest quota to the empty ones, as long as there are enough: unmeasured
 * speeds may be far too low.
 */
export function oneForEach(quotas: readonly number[]): number[] {
  const fair = [...quotas];
  for (const i of fair.keys()) {
    if (fair[i] > 0) continue;
    const richest = fair.indexOf(Math.max(...fair));
    if (fair[richest] < 2) break;
    fair[richest]--;
    fair[i]++;
  }
  return fair;
}

/**
 * How many of `total` units each candidate's probe covers, in their order.
 * @param candidates with the speed that each reports; 0: it was too slow for one unit when it was
 * measured
 * @param charsPerSecond speed of all measured workers together
 */
export function probeQuotas(
  candidates: readonly { readonly reportedCharsPerSecond: number }[],
  charsPerSecond: number,
  total: number,
): readonly number[] {
  let left = Math.max(Math.floor(total * PROBE_SHARE), total > 1 ? 1 : 0);
  return candidates.map(({ reportedCharsPerSecond }) => {
    const wished = Math.max(
      Math.floor((PROBATION * total * reportedCharsPerSecond) / (charsPerSecond + reportedCharsPerSecond)),
      1,
    );
    const given = Math.min(wished, left);
    left -= given;
    return given;
  });
}

/** Time until the last worker is done; 1 is one unit at one char/s. */
function makespan(capacities: readonly Capacity[], quotas: readonly number[]): number {
  let most = 0;
  capacities.forEach((capacity, i) => (most = Math.max(most, quotas[i] / capacity.charsPerSecond)));
  return most;
}

/**
 * Whole quotas with the sum `total` that are done soonest at these speeds (all > 0). Ties go to the
 * first.
 */
function fastestShares(speeds: readonly number[], total: number): number[] {
  const sum = speeds.reduce((a, b) => a + b, 0);
  const quotas = speeds.map((speed) => Math.floor((speed / sum) * total));
  const missing = total - quotas.reduce((a, b) => a + b, 0);
  // Each further unit goes to the worker that would be done with it first.
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
      for (let child = 2 * i + 1; child <= 2 * i + 2 && child < items.length; child++) {
        if (compare(items[child], items[least]) < 0) least = child;
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

/** Sorts in place. Most lists are in order already, and `sort` copies even those. */
export function ascending(units: number[]): number[] {
  for (let i = 1; i < units.length; i++) if (units[i] < units[i - 1]) return units.sort((a, b) => a - b);
  return units;
}

/**
 * Deals units by quotas: each worker keeps what it holds up to its quota, and the others fill up in
 * order. What exceeds all quotas goes to nobody.
 * @param holder names the worker that holds a unit's states, if any
 */
export function dealUnits(
  units: readonly number[],
  workerIds: readonly string[],
  quotas: readonly number[],
  holder: (unit: number) => string | undefined,
): Map<string, number[]> {
  const dealt = new Map<string, number[]>(workerIds.map((id) => [id, []]));
  const room = new Map(workerIds.map((id, i) => [id, quotas[i]]));
  const rest: number[] = [];
  for (const unit of units) {
    const keeper = holder(unit);
    if (keeper !== undefined && (room.get(keeper) ?? 0) > 0) give(keeper, unit);
    else rest.push(unit);
  }
  let next = 0;
  for (const unit of rest) {
    while (next < workerIds.length && room.get(workerIds[next]) === 0) next++;
    if (next < workerIds.length) give(workerIds[next], unit);
  }
  for (const mine of dealt.values()) ascending(mine);
  return dealt;

  function give(workerId: string, unit: number): void {
    dealt.get(workerId)!.push(unit);
    room.set(workerId, room.get(workerId)! - 1);
  }
}
