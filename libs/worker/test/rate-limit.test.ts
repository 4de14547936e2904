import { describe, expect, it } from 'vitest';
import { createMemoryPair } from '@troupe/transport/memory';
import { createRateLimit } from '../src/rate-limit.js';

/** A clock that moves when somebody sleeps. */
function createClock() {
  let nowMs = 0;
  return {
    nowMs: () => nowMs,
    async sleep(ms: number, signal: AbortSignal) {
      const dueMs = nowMs + ms;
      await new Promise((resolve) => setImmediate(resolve));
      signal.throwIfAborted();
      nowMs = Math.max(nowMs, dueMs);
    },
  };
}

const FRAME = 25_000;

/** Sends `frames` over each of `links` limited links, and receives as many. @returns ms */
async function exchange(mbit: number, links: number, frames: number): Promise<number> {
  const clock = createClock();
  const rate = createRateLimit(clock, mbit);
  const pairs = Array.from({ length: links }, () => createMemoryPair());
  await Promise.all(
    pairs.map(async ([near, far]) => {
      const link = rate.limit(near);
      for (let i = 0; i < frames; i++) {
        link.send(new Uint8Array(FRAME));
        far.send(new Uint8Array(FRAME));
      }
      for (let i = 0; i < frames; i++) await Promise.all([link.receive(), far.receive()]);
    }),
  );
  return clock.nowMs();
}

describe('a rate limit', () => {
  it('holds for all links together, in each direction', async () => {
    // 4 links of 50 frames of 25 kB: 5 MB each way, which 8 Mbit/s carry in 5 s.
    const ms = await exchange(8, 4, 50);
    expect(ms).toBeGreaterThan(4_700);
    expect(ms).toBeLessThan(5_300);
  });

  it('of 0 limits nothing', async () => {
    expect(await exchange(0, 2, 50)).toBe(0);
  });

  it('can be changed while links are open', async () => {
    const clock = createClock();
    const rate = createRateLimit(clock);
    const [near, far] = createMemoryPair();
    const link = rate.limit(near);
    link.send(new Uint8Array(FRAME));
    expect(clock.nowMs()).toBe(0);
    rate.set(0.8);
    // 0.1 MB a second: each frame takes a quarter of a second, and the first goes at once.
    for (let i = 0; i < 5; i++) link.send(new Uint8Array(FRAME));
    for (let i = 0; i < 6; i++) await far.receive();
    expect(clock.nowMs()).toBeGreaterThan(800);
    expect(clock.nowMs()).toBeLessThan(1_100);
  });
});
