/** Speed and time per round, so that they agree with each other and with the chart. */
import { speedOf, usualRoundMs, type PointColumns } from '@troupe/run';

export interface Figures {
  /** Median of the last rounds. */
  readonly roundMs: number;
  /** Characters of a round divided by that time. */
  readonly charsPerSecond: number;
}

/** @param roundCharacters of all streams. @returns undefined before the first round */
export function figuresOf({ roundMs }: PointColumns, roundCharacters: number): Figures | undefined {
  const usual = usualRoundMs(roundMs);
  return usual === undefined ? undefined : { roundMs: usual, charsPerSecond: speedOf(usual, roundCharacters) };
}
