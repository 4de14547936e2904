import { describe, expect, it } from 'vitest';
import { createProgress } from '../src/progress.js';

describe('progress', () => {
  it('has the duration of each round and the speed since the start', () => {
    const progress = createProgress(1_000);
    expect(progress.add(100, 1_500)).toEqual({ roundMs: 500, charsPerSecond: 200 });
    expect(progress.add(300, 2_000)).toEqual({ roundMs: 500, charsPerSecond: 400 });
  });

  it('forgets rounds older than five seconds', () => {
    const progress = createProgress(0);
    for (let s = 1; s <= 10; s++) progress.add(1_000, s * 1_000);
    for (let s = 11; s <= 15; s++) progress.add(100, s * 1_000);
    expect(progress.add(100, 16_000).charsPerSecond).toBe(100);
  });

  it('has the speed of the last round when that took longer than five seconds', () => {
    const progress = createProgress(0);
    progress.add(1_000, 1_000);
    progress.add(1_000, 2_000);
    progress.add(1_000, 22_000);
    expect(progress.add(1_000, 42_000)).toEqual({ roundMs: 20_000, charsPerSecond: 50 });
  });

  it('stays finite when no time has passed', () => {
    expect(createProgress(7).add(5, 7)).toEqual({ roundMs: 0, charsPerSecond: 5_000 });
  });
});
