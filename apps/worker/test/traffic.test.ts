import { createMemoryPair } from '@troupe/transport/memory';
import { describe, expect, it } from 'vitest';
import { parseSize, sizeText, watchTraffic } from '../src/traffic.js';

const clock = { nowMs: () => 0, sleep: () => Promise.resolve() };

describe('the traffic of a worker', () => {
  it('reaches its limit with what all links send and receive together', async () => {
    const watch = watchTraffic({ limitBytes: 100, rateMbit: undefined }, clock);
    const pairs = [createMemoryPair(), createMemoryPair()];
    const [one, other] = pairs.map(([near]) => watch.watch(near));
    one.send(new Uint8Array(40));
    pairs[1][1].send(new Uint8Array(59));
    await other.receive();
    expect([watch.spent.aborted, watch.reached]).toEqual([false, undefined]);
    other.send(new Uint8Array(1));
    expect(watch.spent.aborted).toBe(true);
    expect(watch.reached).toEqual({ kind: 'limit', limitBytes: 100, sentBytes: 41, receivedBytes: 59 });
  });

  it('has no limit unless one is given', () => {
    const watch = watchTraffic({ limitBytes: undefined, rateMbit: undefined }, clock);
    watch.watch(createMemoryPair()[0]).send(new Uint8Array(1e5));
    expect(watch.reached).toBeUndefined();
  });
});

describe('a size', () => {
  it.each([
    ['250MB', 250e6, '250 MB'],
    ['1.5 gb', 1.5e9, '1.5 GB'],
    ['2TB', 2e12, '2 TB'],
    ['0.25MB', 250_000, '0.25 MB'],
  ])('%s is read and written', (text, bytes, written) => {
    expect(parseSize(text)).toBe(bytes);
    expect(sizeText(bytes)).toBe(written);
  });
});
