import { TransportError } from '@troupe/transport';
import { expect, it } from 'vitest';
import { runWorker, type WorkerPorts } from '../src/index.js';

it('ends at an address that is none, instead of trying it for ever', async () => {
  const wrong = new TransportError('invalid_address', 'HTTP_PROXY does not name a proxy', 'Unset it.');
  const ports = { connect: () => Promise.reject(wrong), nowMs: () => 0, log: () => undefined } as unknown as WorkerPorts;
  const { signal } = new AbortController();
  const working = runWorker({ address: 'memory://x', token: 't', name: 'w', kind: 'node', ports, signal });
  await expect(working).rejects.toBe(wrong);
});

it('starts its backoff again after a session that lasted for more than a minute', async () => {
  let nowMs = 0;
  let sessions = 0;
  const stop = new AbortController();
  const waits: number[] = [];
  const ports = {
    async connect() {
      // The fourth lasts for two minutes.
      if (++sessions === 4) nowMs += 120_000;
      throw new TransportError('lost', 'cable pulled', 'Reconnect.');
    },
    nowMs: () => nowMs,
    random: () => 1,
    log: () => undefined,
    async sleep(ms: number) {
      waits.push(ms);
      if (waits.length === 5) stop.abort(new Error('enough'));
    },
  } as unknown as WorkerPorts;
  await runWorker({ address: 'memory://x', token: 't', name: 'w', kind: 'node', ports, signal: stop.signal });
  const [first, second, third, fourth] = waits;
  expect(second).toBeGreaterThan(first);
  expect(third).toBeGreaterThan(second);
  expect(fourth).toBe(first);
});
