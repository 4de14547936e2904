import { describe, expect, it } from 'vitest';
import { observeOthers, othersShare, type Idleness } from '../src/idleness.js';

describe('the processor that other programs use', () => {
  const before = { busyMs: 1000, totalMs: 4000, ownMs: 100 };
  it.each([
    [{ busyMs: 1500, totalMs: 5000, ownMs: 600 }, 0],
    [{ busyMs: 1500, totalMs: 5000, ownMs: 100 }, 0.5],
    [{ busyMs: 1500, totalMs: 5000, ownMs: 350 }, 0.25],
    // The counters of the system are coarser than those of the process.
    [{ busyMs: 1400, totalMs: 5000, ownMs: 600 }, 0],
    [{ busyMs: 0, totalMs: 0, ownMs: 600 }, 0],
  ])('until %j is %d', (now, share) => expect(othersShare(before, now)).toBeCloseTo(share));
});

describe('a machine', () => {
  /** One look each 5 s. */
  const after = (shares: readonly number[]): boolean => {
    let state: Idleness | undefined;
    shares.forEach((share, i) => (state = observeOthers(state, share, i * 5000)));
    return state!.isBusy;
  };
  const times = (count: number, share: number): number[] => Array.from({ length: count }, () => share);

  it.each([
    ['busy at the first look', [0.2], true],
    ['idle at the first look', [0.19], false],
    ['idle during a short burst', [0, 0.9, 0.9], false],
    ['busy after 10 s of other work', [0, 0.9, 0.9, 0.9], true],
    ['idle when the work has a break', [0, 0.9, 0.9, 0, 0.9, 0.9], false],
    ['busy during a short break', [0.9, ...times(12, 0)], true],
    ['idle after 60 s without other work', [0.9, ...times(13, 0)], false],
    ['busy while some work goes on', [0.9, ...times(30, 0.15)], true],
    ['idle while little work goes on', times(30, 0.15), false],
    ['busy when the break ends', [0.9, ...times(12, 0), 0.5, ...times(12, 0)], true],
  ])('is %s', (_, shares, isBusy) => expect(after(shares)).toBe(isBusy));
});
