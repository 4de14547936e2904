/** The speed of a run from the times of its rounds. */
import { charactersOf } from '@troupe/config';
import type { PointColumns } from './view.js';

/** Rounds whose median is taken: one that a pause or a straggler made long does not change it. */
const ROUNDS = 20;

/** Median time of the last rounds, ms; undefined before the first one. */
export function usualRoundMs(roundMs: readonly number[]): number | undefined {
  const last = roundMs.slice(-ROUNDS).sort((a, b) => a - b);
  return last[last.length >> 1];
}

/**
 * After each round, what all workers together computed, in chars/s: the characters of the round divided by the median time of the last
 * 20 rounds.
 * @param points consecutive rounds
 */
export function roundSpeeds(
  { round, roundMs }: Pick<PointColumns, 'round' | 'roundMs'>,
  config: Parameters<typeof charactersOf>[0],
): number[] {
  const sorted: number[] = [];
  return roundMs.map((ms, i) => {
    if (i >= ROUNDS) sorted.splice(sorted.indexOf(roundMs[i - ROUNDS]), 1);
    const place = sorted.findIndex((one) => one > ms);
    sorted.splice(place < 0 ? sorted.length : place, 0, ms);
    return speedOf(sorted[sorted.length >> 1], charactersOf(config, round[i]) - charactersOf(config, round[i] - 1));
  });
}

/** Characters per second. */
export function speedOf(roundMs: number, roundCharacters: number): number {
  return (roundCharacters * 1_000) / Math.max(roundMs, 0.001);
}
