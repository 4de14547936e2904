/** Turns the share of the machine that its owner lends into threads and rests. */

export interface Effort {
  readonly threads: number;
  /** Fraction of the time in which the threads compute, 0 < duty <= 1; they rest in between. */
  readonly duty: number;
}

export const MIN_SHARE = 0.1;

/**
 * Uses fewer threads before it adds rests: the core time that `share` of `cores` allows is spread over as few threads as possible.
 * @param share clamped to 0.1 to 1
 * @param threaded whether the engine can use more than one thread
 */
export function planEffort(share: number, cores: number, threaded: boolean): Effort {
  const budget = Math.min(Math.max(share, MIN_SHARE), 1) * Math.max(1, cores);
  // Even a single thread without rests leaves the other cores free.
  if (!threaded) return { threads: 1, duty: Math.min(1, budget) };
  // 0.7 * 10 is a little over 7.
  const threads = Math.max(1, Math.ceil(budget - 1e-9));
  return { threads, duty: Math.min(1, budget / threads) };
}

/** A gradient that took minutes is not followed by an hour of rest: the coordinator would drop the worker. */
const MAX_REST_MS = 60_000;

/** How long to rest after having computed for `busyMs`. */
export function restMs(busyMs: number, duty: number): number {
  return Math.min(busyMs * (1 / duty - 1), MAX_REST_MS);
}
