/** How the delays between attempts to connect grow. */
export interface BackoffOptions {
  /** Delay after the first failure, before jitter. */
  readonly firstMs: number;
  /** No delay is longer than this, before jitter. */
  readonly longestMs: number;
  /** The delay is multiplied by a random number in [from, to), so that many clients do not return at once. */
  readonly jitter: readonly [from: number, to: number];
}

/**
 * How long to wait before the next attempt, in ms: doubles with every failure in a row.
 * @param failures in a row; 0 counts as 1
 * @param random in [0, 1)
 */
export function backoffMs(failures: number, random: number, { firstMs, longestMs, jitter }: BackoffOptions): number {
  const [from, to] = jitter;
  const delayMs = Math.min(longestMs, firstMs * 2 ** Math.max(0, failures - 1));
  return delayMs * (from + random * (to - from));
}
