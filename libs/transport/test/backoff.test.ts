import { describe, expect, it } from 'vitest';
import { backoffMs, type BackoffOptions } from '../src/backoff.js';

const OPTIONS: BackoffOptions = { firstMs: 500, longestMs: 15_000, jitter: [0.75, 1.25] };
const middle = (failures: number): number => backoffMs(failures, 0.5, OPTIONS);

describe('backoffMs', () => {
  it('doubles with every failure in a row, up to the longest delay', () => {
    expect([1, 2, 3, 4, 5, 6, 7].map(middle)).toEqual([500, 1_000, 2_000, 4_000, 8_000, 15_000, 15_000]);
  });

  it('stays at the longest delay after any number of failures', () => {
    expect(middle(1_000)).toBe(15_000);
    expect(middle(1e6)).toBe(15_000);
  });

  it('waits before the first attempt as after the first failure', () => {
    expect(middle(0)).toBe(500);
  });

  it('spreads clients over the jitter range', () => {
    expect(backoffMs(1, 0, OPTIONS)).toBe(375);
    expect(backoffMs(1, 0.999, OPTIONS)).toBeCloseTo(624.75);
    expect(backoffMs(1, 0.999, { ...OPTIONS, jitter: [1, 1] })).toBe(500);
  });
});
