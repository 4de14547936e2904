import { beforeEach, describe, expect, it } from 'vitest';
import { createTally } from '../src/trainer/tally.js';

describe('the tally', () => {
  let now = 0;
  beforeEach(() => void (now = 0));
  const open = () => createTally(() => now);

  it('sums up what is computed and what counts between two reports, and reports nothing twice', () => {
    const tally = open();
    expect(tally.take(0, 0, 1)).toBeUndefined();
    tally.worked({ characters: 6, busyMs: 10, threads: 2 });
    tally.computed(4, 6);
    tally.counted(4, 6);
    tally.computed(4, 12);
    tally.counted(4, 6);
    tally.computed(5, 18);
    now = 240;
    const report = { kind: 'progress', round: 5, computed: 18, characters: 12, rounds: 1, elapsedMs: 240, threads: 2 };
    expect(tally.take(100, 7, 1)).toEqual({ ...report, sentBytes: 100, receivedBytes: 7, heatFactor: 1 });
    expect(tally.take(100, 7, 1)).toBeUndefined();
    now = 300;
    tally.counted(5, 6);
    expect(tally.take(100, 7, 1)).toMatchObject({ computed: 0, characters: 6, rounds: 1, elapsedMs: 60, sentBytes: 0 });
    expect(tally.take(101, 7, 0.7)).toMatchObject({ characters: 0, rounds: 0, sentBytes: 1, receivedBytes: 0, heatFactor: 0.7 });
  });

  it('reports once a second that nothing happens', () => {
    const tally = open();
    now = 999;
    expect(tally.take(0, 0, 1)).toBeUndefined();
    now = 1_000;
    expect(tally.take(0, 0, 1)).toMatchObject({ characters: 0, elapsedMs: 1_000 });
    expect(tally.take(0, 0, 1)).toBeUndefined();
  });
});
