/** How much of the machine the volunteer lends, turned into threads and rests. */

export interface Effort {
  /** Threads that compute. */
  readonly threads: number;
  /** Part of the time in which they do, 0 < duty <= 1; they rest in between. */
  readonly duty: number;
}

export const MIN_SHARE = 0.1;

/**
 * Fewer threads come before rests: `share` of `cores` is so many cores' time, spread over as few threads as hold it.
 * @param share 0.1 to 1; what is outside is taken for the nearer end
 * @param threaded whether the engine can use more than one thread
 */
export function planEffort(share: number, cores: number, threaded: boolean): Effort {
  const budget = Math.min(Math.max(share, MIN_SHARE), 1) * Math.max(1, cores);
  // One thread at all of a machine's share still leaves the other cores alone.
  if (!threaded) return { threads: 1, duty: Math.min(1, budget) };
  // 0.7 * 10 is a little over 7.
  const threads = Math.max(1, Math.ceil(budget - 1e-9));
  return { threads, duty: Math.min(1, budget / threads) };
}

/** A gradient of minutes is not followed by an hour of rest: the run would have given the worker up by then. */
const MAX_REST_MS = 60_000;

/** How long to rest after having computed for `busyMs`. */
export function restMs(busyMs: number, duty: number): number {
  return Math.min(busyMs * (1 / duty - 1), MAX_REST_MS);
}
