import { describe, expect, it } from 'vitest';
import { clipScale, learningRateAt } from '../src/index.js';

describe('learningRateAt', () => {
  it('stays at the peak when constant', () => {
    expect(learningRateAt({ kind: 'constant' }, 0.3, 999, 1000)).toBe(0.3);
  });

  it('decays by the factor every `everyRounds` rounds', () => {
    const at = (round: number) => learningRateAt({ kind: 'step', everyRounds: 10, factor: 0.5 }, 8, round, 100);
    expect([0, 9, 10, 20, 39].map(at)).toEqual([8, 8, 4, 2, 1]);
  });

  it('warms up linearly, then falls along half a cosine to the final fraction in the last round', () => {
    const at = (round: number) =>
      learningRateAt({ kind: 'cosine', warmupRounds: 4, finalFraction: 0.1, decayRounds: 0 }, 2, round, 105);
    expect([0, 1, 3, 4].map(at)).toEqual([0.5, 1, 2, 2]);
    expect(at(54)).toBeCloseTo(2 * 0.55, 12);
    expect(at(104)).toBeCloseTo(0.2, 12);
    expect(at(500)).toBeCloseTo(0.2, 12);
  });

  it('is finite when the warm-up is longer than the run', () => {
    const at = (round: number) =>
      learningRateAt({ kind: 'cosine', warmupRounds: 20, finalFraction: 0, decayRounds: 0 }, 1, round, 5);
    expect([0, 4].map(at)).toEqual([1 / 20, 5 / 20]);
  });
});

describe('clipScale', () => {
  it('reduces a norm above the clip to it and leaves others unchanged', () => {
    expect(clipScale(10, 5)).toBe(0.5);
    expect(clipScale(5, 5)).toBe(1);
    expect(clipScale(0, 5)).toBe(1);
  });

  it('never clips with clip 0', () => {
    expect(clipScale(1e30, 0)).toBe(1);
  });
});
