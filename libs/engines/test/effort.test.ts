import { describe, expect, it } from 'vitest';
import { planEffort, restMs } from '../src/index.js';

describe('the share of the machine', () => {
  it.each([
    [1, 8, 8, 1],
    [0.5, 8, 4, 1],
    [0.3, 8, 3, 0.8],
    [0.7, 10, 7, 1],
    [0.5, 1, 1, 0.5],
    [0.1, 2, 1, 0.2],
  ])('%d of %d cores is %d threads, busy %d of the time', (share, cores, threads, duty) => {
    const effort = planEffort(share, cores, true);
    expect(effort.threads).toBe(threads);
    expect(effort.duty).toBeCloseTo(duty);
  });

  it('is one thread with rests where the engine cannot use more', () => {
    expect(planEffort(0.5, 1, false)).toEqual({ threads: 1, duty: 0.5 });
    expect(planEffort(0.5, 8, false)).toEqual({ threads: 1, duty: 1 });
  });

  it('is never zero and never more than the machine', () => {
    expect(planEffort(0, 4, true).duty).toBeGreaterThan(0);
    expect(planEffort(9, 4, true)).toEqual({ threads: 4, duty: 1 });
  });

  it('rests in proportion to the computing time, but not for long', () => {
    expect(restMs(100, 1)).toBe(0);
    expect(restMs(100, 0.25)).toBeCloseTo(300);
    expect(restMs(600_000, 0.1)).toBe(60_000);
  });
});
