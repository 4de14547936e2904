import { describe, expect, it } from 'vitest';
import { ticksAround, ticksWithin } from '../../src/index.js';

describe('the numbers of an axis', () => {
  it('enclose what is drawn, and are neither few nor many', () => {
    for (const [least, most] of [
      [1.2, 4.3],
      [0, 1500],
      [2, 2],
      [0.301, 0.302],
      [0, 100_000],
      [-3, 0.1],
    ] as const) {
      const ticks = ticksAround(least, most);
      expect(ticks[0]).toBeLessThanOrEqual(least);
      expect(ticks.at(-1)).toBeGreaterThanOrEqual(most);
      expect(ticks.length).toBeGreaterThan(1);
      expect(ticks.length).toBeLessThan(9);
    }
  });

  it('lie within the axis where that is fixed', () => {
    expect(ticksWithin(1.23, 4.4)).toEqual([2, 3, 4]);
    expect(ticksWithin(0, 1_500)).toEqual([0, 500, 1_000, 1_500]);
    expect(ticksWithin(0, 0.3)).toEqual([0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3]);
    expect(ticksWithin(3, 3)).toEqual([3]);
  });
});
