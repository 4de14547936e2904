import { describe, expect, it } from 'vitest';
import { createNorms, FAR_BEYOND, forgetNorms, largestExpected, noteNorm } from '../src/norms.js';

const after = (...seen: readonly number[]) => {
  const norms = createNorms();
  for (const norm of seen) noteNorm(norms, norm);
  return norms;
};
const times = (count: number, norm: number): number[] => Array<number>(count).fill(norm);

describe('the largest norm that is expected', () => {
  it('is any at first', () => {
    expect([0, 15].map((count) => largestExpected(after(...times(count, 1))))).toEqual([Number.MAX_VALUE, Number.MAX_VALUE]);
    expect(largestExpected(after(...times(16, 2)))).toBe(2 * FAR_BEYOND);
  });

  it('follows the median, which few cannot move', () => {
    expect(largestExpected(after(...times(40, 1), ...times(24, 1e9)))).toBe(FAR_BEYOND);
  });

  it('follows gradients that grow in earnest', () => {
    const norms = after(...times(64, 1));
    for (const norm of times(33, 100)) noteNorm(norms, norm);
    expect(largestExpected(norms)).toBe(100 * FAR_BEYOND);
  });

  it('is any if nothing has a norm, and after somebody has changed the training', () => {
    expect(largestExpected(after(...times(64, 0)))).toBe(Number.MAX_VALUE);
    const norms = after(...times(64, 1));
    forgetNorms(norms);
    expect(largestExpected(norms)).toBe(Number.MAX_VALUE);
    for (const norm of times(16, 5)) noteNorm(norms, norm);
    expect(largestExpected(norms)).toBe(5 * FAR_BEYOND);
  });
});
