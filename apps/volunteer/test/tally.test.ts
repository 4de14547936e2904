import { describe, expect, it } from 'vitest';
import { createTally } from '../src/trainer/tally.js';

describe('the tally', () => {
  it('sums up leases between two reports, and reports nothing twice', () => {
    const tally = createTally();
    expect(tally.take(0, 0, 1)).toBeUndefined();
    tally.worked({ characters: 6, busyMs: 10, threads: 2 });
    tally.computed(4, 6);
    tally.computed(4, 12);
    tally.worked({ characters: 6, busyMs: 30, threads: 2 });
    tally.computed(5, 18);
    const report = { kind: 'progress', round: 5, characters: 18, rounds: 2, busyMs: 50, threads: 2 };
    expect(tally.take(100, 7, 1)).toEqual({ ...report, sentBytes: 100, receivedBytes: 7, heatFactor: 1 });
    expect(tally.take(100, 7, 1)).toBeUndefined();
    expect(tally.take(101, 7, 0.7)).toMatchObject({ characters: 0, rounds: 0, sentBytes: 1, receivedBytes: 0, heatFactor: 0.7 });
  });
});
