import { expect, it } from 'vitest';
import { DEFAULT_FRAME_BYTES, tap } from '../src/index.js';
import { createMemoryPair } from '../src/memory.js';
import { describeTransport } from './conformance.js';

describeTransport('a tapped link', async () => {
  const [near, far] = createMemoryPair();
  return {
    near: tap(near, {}),
    far: tap(far, { received: () => Promise.resolve() }),
    frameBytes: DEFAULT_FRAME_BYTES,
    breakLink: () => near.breakLink('cut'),
    async dispose() {
      near.close('test over');
      await near.closed;
    },
  };
});

it('sees frames sent and received, but not rejected ones', async () => {
  const [near, far] = createMemoryPair();
  const seen: string[] = [];
  const tapped = tap(near, {
    sent: ([value]) => seen.push(`sent ${value}`),
    received: ([value]) => void seen.push(`got ${value}`),
  });
  tapped.send(Uint8Array.of(1));
  far.send(Uint8Array.of(2));
  await tapped.receive();
  tapped.close('over');
  expect(() => tapped.send(Uint8Array.of(3))).toThrow();
  expect(seen).toEqual(['sent 1', 'got 2']);
});

it('delivers a frame when the callback has finished', async () => {
  const [near, far] = createMemoryPair();
  let letGo = (): void => {};
  const held = new Promise<void>((resolve) => (letGo = resolve));
  let arrived = false;
  const receiving = tap(near, { received: () => held }).receive();
  void receiving.then(() => (arrived = true));
  far.send(Uint8Array.of(1));
  await new Promise((resolve) => setImmediate(resolve));
  expect(arrived).toBe(false);
  letGo();
  expect(await receiving).toEqual(Uint8Array.of(1));
});
