import { setTimeout as delay } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { DEFAULT_FRAME_BYTES, throttle, type Pacer } from '../src/index.js';
import { createMemoryPair } from '../src/memory.js';
import { describeTransport } from './conformance.js';

/** Lets every other frame wait for a moment. */
function hesitant(): Pacer {
  let passed = 0;
  let waitMs = 0;
  return {
    waitMs: () => waitMs,
    passed: () => void (waitMs = ++passed % 2),
    sleep: async (ms, signal) => {
      await delay(ms, undefined, { signal });
      waitMs = 0;
    },
  };
}

describeTransport('a throttled link', async () => {
  const [near, far] = createMemoryPair();
  return {
    near: throttle(near, { sending: hesitant(), receiving: hesitant() }),
    far: throttle(far, { sending: hesitant(), receiving: hesitant() }),
    frameBytes: DEFAULT_FRAME_BYTES,
    breakLink: () => near.breakLink('cut'),
    async dispose() {
      near.close('test over');
      await near.closed;
    },
  };
});

/** A pacer on a clock that the test turns: one frame may pass now, the next at `dueMs`. */
function play() {
  let nowMs = 0;
  let dueMs = 0;
  const sleepers: (() => void)[] = [];
  const pacer: Pacer = {
    waitMs: () => Math.max(0, dueMs - nowMs),
    passed: (bytes) => void (dueMs = Math.max(dueMs, nowMs) + bytes),
    sleep: (_ms, signal) =>
      new Promise((resolve, reject) => {
        sleepers.push(resolve);
        signal.addEventListener('abort', () => reject(signal.reason as Error));
      }),
  };
  const pass = async (ms: number): Promise<void> => {
    nowMs += ms;
    for (const wake of sleepers.splice(0)) wake();
    await delay(0);
  };
  return { pacer, pass };
}

const free: Pacer = { waitMs: () => 0, passed: () => undefined, sleep: () => Promise.resolve() };

it('sends a frame when those before it are paid for, and says what waits', async () => {
  const { pacer, pass } = play();
  const [near, far] = createMemoryPair();
  const link = throttle(near, { sending: pacer, receiving: free });
  let arrived = 0;
  void (async () => {
    for (;;) arrived += (await far.receive()).byteLength;
  })().catch(() => undefined);
  for (let i = 0; i < 3; i++) link.send(new Uint8Array(100));
  let isDrained = false;
  void link.drained(100).then(() => (isDrained = true));
  await pass(99);
  expect([arrived, link.bufferedBytes, isDrained]).toEqual([100, 200, false]);
  await pass(1);
  expect([arrived, link.bufferedBytes, isDrained]).toEqual([200, 100, true]);
  await pass(100);
  expect([arrived, link.bufferedBytes]).toEqual([300, 0]);
});

it('takes no frame from the link before it may, so that the other side is slowed', async () => {
  const { pacer, pass } = play();
  const [near, far] = createMemoryPair();
  const taken: number[] = [];
  const counted = {
    ...near,
    receive: async (signal?: AbortSignal) => near.receive(signal).then((one) => (taken.push(one[0]), one)),
  };
  const link = throttle(counted, { sending: free, receiving: pacer });
  far.send(Uint8Array.of(1, 0));
  far.send(Uint8Array.of(2, 0));
  await link.receive();
  const second = link.receive();
  await pass(1);
  expect(taken).toEqual([1]);
  await pass(1);
  expect(await second).toEqual(Uint8Array.of(2, 0));
});

it('takes no frame for a receive that is aborted while it waits', async () => {
  const { pacer, pass } = play();
  const [near, far] = createMemoryPair();
  const link = throttle(near, { sending: free, receiving: pacer });
  for (let i = 1; i <= 2; i++) far.send(Uint8Array.of(i));
  await link.receive();
  const giveUp = new AbortController();
  const refused = expect(link.receive(giveUp.signal)).rejects.toMatchObject({ code: 'aborted' });
  giveUp.abort(new Error('enough'));
  await refused;
  await pass(1);
  expect(await link.receive()).toEqual(Uint8Array.of(2));
});

it('sends what waits when it is closed', async () => {
  const { pacer } = play();
  const [near, far] = createMemoryPair();
  const link = throttle(near, { sending: pacer, receiving: free });
  for (let i = 1; i <= 3; i++) link.send(Uint8Array.of(i));
  link.close('bye');
  for (let i = 1; i <= 3; i++) expect(await far.receive()).toEqual(Uint8Array.of(i));
  await expect(far.receive()).rejects.toMatchObject({ code: 'closed' });
  expect(link.bufferedBytes).toBe(0);
});
