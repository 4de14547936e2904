import { describe, expect, it } from 'vitest';
import { roundSpeeds, speedOf, usualRoundMs } from '../src/index.js';

const pointsOf = (roundMs: readonly number[]) => ({ round: roundMs.map((_, i) => i + 1), roundMs: [...roundMs] });
const ofCharacters = (window: number) => ({ streams: 1, window });

describe('the speed of a run', () => {
  const withPause = Array.from({ length: 60 }, (_, i) => (i === 30 ? 60_000 : 200));

  it('does not change with a pause', () => {
    expect(new Set(roundSpeeds(pointsOf(withPause), ofCharacters(2_048)))).toEqual(new Set([10_240]));
  });

  it('follows a change within a few rounds', () => {
    const faster = Array.from({ length: 60 }, (_, i) => (i < 30 ? 200 : 100));
    const speeds = roundSpeeds(pointsOf(faster), ofCharacters(2_000));
    expect([speeds[29], speeds[45]]).toEqual([10_000, 20_000]);
  });

  it('counts the characters that rounds had then when a resume has changed them', () => {
    const config = { ...ofCharacters(1_000), localSteps: 10, changedRound: 20, changedWindow: 20 };
    const speeds = roundSpeeds(pointsOf(Array.from({ length: 60 }, (_, i) => (i < 20 ? 100 : 1_000))), config);
    expect([speeds[19], speeds[59]]).toEqual([10_000, 10_000]);
  });

  it('ends with the figure of the last rounds', () => {
    const times = Array.from({ length: 50 }, (_, i) => 100 + ((i * 37) % 41));
    expect(roundSpeeds(pointsOf(times), ofCharacters(1_000)).at(-1)).toBe(speedOf(usualRoundMs(times)!, 1_000));
    expect(roundSpeeds(pointsOf(times.slice(0, 7)), ofCharacters(1_000)).at(-1)).toBe(
      speedOf(usualRoundMs(times.slice(0, 7))!, 1_000),
    );
    expect(usualRoundMs([])).toBeUndefined();
  });
});
