import type { Chance } from '../src/access.js';

export const DAY_MS = 86_400_000;
/** Of a day in 2026. */
export const NOW_MS = 1_770_000_000_000;

/** Bytes that differ with each call. */
export function chanceAt(nowMs = NOW_MS): Chance {
  return { nowMs, random: (bytes) => Uint8Array.from({ length: bytes }, () => (next = (next * 31 + 7) % 251)) };
}
let next = 1;
