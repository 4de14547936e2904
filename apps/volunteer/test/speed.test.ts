import { describe, expect, it } from 'vitest';
import { NO_SPEED, observeSpeed, speedOf, type SpeedWatch } from '../src/decisions/speed.js';

/** Contributions of `characters` that count one after the other, `ms` apart. */
const steady = (watch: SpeedWatch, count: number, characters: number, ms: number): SpeedWatch =>
  Array.from({ length: count }).reduce<SpeedWatch>((now) => observeSpeed(now, characters, ms), watch);

describe('the speed of what counted', () => {
  it('is unknown until the second contribution counts: nobody knows when the first was begun', () => {
    expect(speedOf(steady(NO_SPEED, 20, 0, 1_000))).toBeUndefined();
    const first = observeSpeed(NO_SPEED, 500, 9_000);
    expect(speedOf(first)).toBeUndefined();
    expect(speedOf(observeSpeed(first, 500, 250))).toBe(2_000);
  });

  it('counts all the time that passes', () => {
    const watch = observeSpeed(steady(observeSpeed(NO_SPEED, 1, 0), 4, 100, 1_000), 0, 4_000);
    expect(speedOf(watch)).toBe(50);
    expect(speedOf(observeSpeed(watch, 0, 8_000))).toBe(25);
  });

  it('forgets what is long ago, but not the last contributions of a slow device', () => {
    const fast = steady(observeSpeed(NO_SPEED, 1, 0), 1_000, 1_000, 250);
    expect(fast.counted.length).toBeLessThanOrEqual(82);
    expect(speedOf(steady(fast, 200, 100, 250))).toBeCloseTo(400);
    const slow = steady(observeSpeed(NO_SPEED, 1, 0), 5, 60_000, 60_000);
    expect(slow.counted).toHaveLength(3);
    expect(speedOf(slow)).toBe(1_000);
  });
});
