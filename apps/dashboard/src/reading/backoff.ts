const FIRST_MS = 500;
const LONGEST_MS = 15_000;

/** How long to wait before trying again after so many misses (1: the first), in ms; `random` in [0, 1) spreads many pages out. */
export function retryDelay(misses: number, random: number): number {
  return Math.min(LONGEST_MS, FIRST_MS * 2 ** Math.min(misses - 1, 10)) * (0.75 + random / 2);
}
