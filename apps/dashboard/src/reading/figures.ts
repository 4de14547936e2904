/** Speed and time per round, so that they agree with each other. */
import type { PointColumns } from '@troupe/run';

/** Rounds that the figures are of. */
const ROUNDS = 20;

export interface Figures {
  /** Median of the last rounds: one that a pause or a straggler made long does not change it. */
  readonly roundMs: number;
  /** Characters of a round divided by that time. */
  readonly charsPerSecond: number;
}

/** @param roundCharacters of all streams. @returns undefined before the first round */
export function figuresOf({ roundMs }: PointColumns, roundCharacters: number): Figures | undefined {
  const last = roundMs.slice(-ROUNDS).sort((a, b) => a - b);
  if (last.length === 0) return undefined;
  const median = last[last.length >> 1];
  return { roundMs: median, charsPerSecond: (roundCharacters * 1_000) / Math.max(median, 0.001) };
}
