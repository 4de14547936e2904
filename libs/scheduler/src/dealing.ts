/**
 * How units are dealt to workers: pure functions of speeds and of who holds which hidden states.
 */

export interface Capacity {
  readonly workerId: string;
  /** In the engine, chars/s. */
  readonly charsPerSecond: number;
  /** What a lease takes besides, ms. */
  readonly transferMs: number;
  /** Work units whose hidden state this worker holds from the round before. */
  readonly held: number;
}

/** What a deal is about. */
export interface Load {
  /** Work units to deal. */
  readonly units: number;
  /** Characters of a unit. */
  readonly unitCharacters: number;
  /** Time that each worker that takes part costs the all-reduce service, ms. */
  readonly serviceMs: number;
}

/**
 * A deal is kept if it is at most this much slower than the best one. Re-dealing moves hidden
 * states, and measured speeds are noisy: two equal machines should not trade streams every round.
 */
const TOLERANCE = 1.1;
/** The same for a deal that leaves out a worker which helps, or includes one which does not. */
const TEAM_TOLERANCE = 1.02;
/**
 * A new worker starts with this part of its fair share: its reported speed may be wrong, or its
 * link slow.
 */
const PROBATION = 0.25;
/** At most this part of a round goes into probes. */
const PROBE_SHARE = 0.1;

/**
 * How many units each worker gets: the number that it holds already, if that is close to the best
 * deal; else an equal share, if that is close; else what is done soonest. The sum is `load.units`.
 * A worker gets none if the round is faster without it.
 */
export function dealQuotas(capacities: readonly Capacity[], load: Load): number[] {
  const team = fastestTeam(capacities, load).map((i) => capacities[i]);
  const shares = fastestShares(team, load);
  const best = spread(capacities, team, shares);
  const least = roundMs(capacities, best, load);
  const isClose = (quotas: readonly number[]): boolean => {
    const sameTeam = quotas.every((quota, i) => quota > 0 === best[i] > 0);
    return roundMs(capacities, quotas, load) <= least * (sameTeam ? TOLERANCE : TEAM_TOLERANCE);
  };
  const held = capacities.map((capacity) => capacity.held);
  if (held.reduce((a, b) => a + b, 0) === load.units && isClose(held)) return held;
  const users = team.filter((_, k) => shares[k] > 0);
  const { length } = users;
  const equal = users.map((_, k) => Math.floor(load.units / length) + (k < load.units % length ? 1 : 0));
  const equalOfAll = spread(capacities, users, equal);
  return isClose(equalOfAll) ? equalOfAll : best;
}

/**
 * Moves what exceeds these limits to the others, as `dealQuotas` would deal it among them. If all are at their limits, what is left stays
 * with those that had it.
 */
export function limitQuotas(
  capacities: readonly Capacity[],
  quotas: readonly number[],
  limits: readonly number[],
  load: Load,
): number[] {
  const limited = [...quotas];
  const full = new Set<number>();
  for (;;) {
    const over = limited.flatMap((quota, i) => (quota > limits[i] ? [i] : []));
    for (const i of over) full.add(i);
    const free = [...capacities.keys()].filter((i) => !full.has(i));
    if (over.length === 0 || free.length === 0) return limited;
    for (const i of over) limited[i] = limits[i];
    const units = load.units - [...full].reduce((sum, i) => sum + limited[i], 0);
    const dealt = dealQuotas(
      free.map((i) => capacities[i]),
      { ...load, units },
    );
    free.forEach((i, k) => (limited[i] = dealt[k]));
  }
}

/** The quotas of all workers: those of `team`, and 0 for the others. */
function spread(capacities: readonly Capacity[], team: readonly Capacity[], quotas: readonly number[]): number[] {
  const given = new Map(team.map((capacity, k) => [capacity, quotas[k]]));
  return capacities.map((capacity) => given.get(capacity) ?? 0);
}

/** How long a round takes with these quotas, ms. */
export function roundMs(capacities: readonly Capacity[], quotas: readonly number[], load: Load): number {
  let most = 0;
  let used = 0;
  capacities.forEach((capacity, i) => {
    if (quotas[i] === 0) return;
    used++;
    most = Math.max(most, leaseMs(capacity, quotas[i], load));
  });
  return most + used * load.serviceMs;
}

/** How long a worker takes for so many units, ms. */
export function leaseMs({ charsPerSecond, transferMs }: Omit<Capacity, 'held'>, units: number, load: Load): number {
  return transferMs + (units * load.unitCharacters * 1000) / charsPerSecond;
}

/**
 * Indices of the workers with which the round is fastest: the quick ones, as long as the next helps
 * more than it costs the service, and as long as it would be done with one unit in time.
 */
export function fastestTeam(capacities: readonly Capacity[], load: Load): number[] {
  const one = capacities.map((capacity) => leaseMs(capacity, 1, load));
  const order = [...capacities.keys()].sort((i, j) => one[i] - one[j] || i - j);
  let [size, least] = [0, Infinity];
  // Units are whole: some worker has up to one more of them than it would get of a divisible load.
  const slack = order.length === 0 ? 0 : leaseMs({ ...capacities[order[0]], transferMs: 0 }, 1, load);
  let [perMs, offset, ms] = [0, 0, Infinity];
  for (const [k, i] of order.entries()) {
    if (one[i] > ms + slack) break;
    const { charsPerSecond, transferMs } = capacities[i];
    const speed = charsPerSecond / (load.unitCharacters * 1000);
    perMs += speed;
    offset += speed * transferMs;
    ms = (load.units + offset) / perMs;
    const cost = ms + (k + 1) * load.serviceMs;
    if (cost < least) [size, least] = [k + 1, cost];
  }
  return order.slice(0, size).sort((i, j) => i - j);
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

/** Whole quotas that are done soonest. Ties go to the first. */
function fastestShares(team: readonly Capacity[], load: Load): number[] {
  const speeds = team.map(({ charsPerSecond }) => charsPerSecond / (load.unitCharacters * 1000));
  const sum = speeds.reduce((a, b) => a + b, 0);
  const offset = speeds.reduce((total, speed, i) => total + speed * team[i].transferMs, 0);
  // When all would be done if units could be divided.
  const ms = (load.units + offset) / sum;
  const quotas = speeds.map((speed, i) => Math.floor(Math.max(0, (ms - team[i].transferMs) * speed)));
  let missing = load.units - quotas.reduce((a, b) => a + b, 0);
  for (; missing < 0; missing++) quotas[quotas.indexOf(Math.max(...quotas))]--;
  // Each further unit goes to the worker that would be done with it first.
  const doneMs = (i: number): number => team[i].transferMs + (quotas[i] + 1) / speeds[i];
  const heap = createHeap([...team.keys()], (i, j) => doneMs(i) - doneMs(j) || i - j);
  for (; missing > 0; missing--) {
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
