/** Bounds what strangers can make a program say. */

const MINUTE_MS = 60_000;

export interface FloodLimitOptions<K> {
  /** Monotonic, ms. */
  nowMs(): number;
  /** How many of a kind pass in a minute. */
  mostOf(kind: K): number;
  /** So many more of a kind have not passed in the minute before. */
  onMore(kind: K, count: number): void;
}

export interface FloodLimit<K> {
  /** Counts one. @returns whether it passes */
  passes(kind: K): boolean;
  /** Begins another minute if this one is over, or at once. */
  renew(atOnce?: boolean): void;
}

export function createFloodLimit<K>({ nowMs, mostOf, onMore }: FloodLimitOptions<K>): FloodLimit<K> {
  let beganMs = -Infinity;
  const seen = new Map<K, number>();
  const renew = (atOnce = false): void => {
    const now = nowMs();
    if (!atOnce && now - beganMs < MINUTE_MS) return;
    beganMs = now;
    const before = [...seen];
    seen.clear();
    for (const [kind, count] of before) if (count > mostOf(kind)) onMore(kind, count - mostOf(kind));
  };
  return {
    renew,
    passes(kind) {
      renew();
      const count = (seen.get(kind) ?? 0) + 1;
      seen.set(kind, count);
      return count <= mostOf(kind);
    },
  };
}
