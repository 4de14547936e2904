import { expect, it } from 'vitest';
import { DEFAULT_FRAME_BYTES } from '../src/index.js';
import { createMemoryListener, createMemoryPair } from '../src/memory.js';
import { describeTransport } from './conformance.js';

describeTransport('memory', async () => {
  const [near, far] = createMemoryPair();
  return {
    near,
    far,
    frameBytes: DEFAULT_FRAME_BYTES,
    breakLink: () => near.breakLink('cut'),
    async dispose() {
      near.close('test over');
      await near.closed;
    },
  };
});

it('hands over the same bytes that were sent, without a copy', async () => {
  const [near, far] = createMemoryPair(['memory:here', 'memory:there']);
  const frame = Uint8Array.of(1, 2, 3);
  near.send(frame);
  expect(await far.receive()).toBe(frame);
  expect([near.remote, far.remote]).toEqual(['memory:there', 'memory:here']);
});

it('a listener accepts in the order of connecting, and closes open links', async () => {
  const listener = createMemoryListener('coordinator');
  const first = await listener.connect('worker-1');
  const second = await listener.connect('worker-2');
  const accepted = [await listener.accept(), await listener.accept()];
  expect(accepted.map(({ remote }) => remote)).toEqual(['memory:worker-1', 'memory:worker-2']);
  expect(first.remote).toBe('memory:coordinator');
  const waiting = expect(listener.accept()).rejects.toMatchObject({ code: 'closed' });
  await listener.close('bye');
  await waiting;
  expect(await second.closed).toEqual({ kind: 'clean', reason: 'bye' });
  await expect(listener.connect()).rejects.toMatchObject({ code: 'unreachable' });
});
