// Runs many workers in one process, each with its own links, replica and engine: node many-workers.mjs ws://HOST:PORT/control TOKEN COUNT.
// It stops when the run is over or its standard input ends.
import { setMaxListeners } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import { createStarCollective } from '@troupe/collective/star';
import { openEngine } from '@troupe/engines/node';
import { connectWebSocket } from '@troupe/transport/websocket';
import { runWorker } from '@troupe/worker';

/** Pause between two workers: a coordinator accepts only a limited number of links that have not said hello. */
const APART_MS = 20;

const [address, token, count] = process.argv.slice(2);
const stop = new globalThis.AbortController();
setMaxListeners(0, stop.signal);
process.stdin.on('end', () => stop.abort(new Error('the benchmark has ended'))).resume();

/** @param {string} to @param {AbortSignal} signal */
const connect = (to, signal) => connectWebSocket(to, { signal });

/** @type {import('@troupe/worker').WorkerPorts} */
const ports = {
  connect,
  collective: createStarCollective({ connect }),
  createEngine: (config, limits, { not, reproducible }) =>
    // Without a clock the engine skips its trials; hundreds of them at once would be meaningless.
    openEngine('wasm', config, limits, { threads: 0, gpu: false, not, reproducible }),
  nowMs: () => performance.now(),
  sleep: async (ms, signal) => {
    await delay(ms, undefined, { signal });
  },
  random: Math.random,
  log: (entry) => {
    if (entry.kind === 'lost') process.stderr.write(`${entry.reason}\n`);
  },
};

/** @type {ReturnType<typeof runWorker>[]} */
const workers = [];
for (let i = 1; i <= Number(count) && !stop.signal.aborted; i++) {
  const name = `worker-${String(i).padStart(3, '0')}`;
  workers.push(runWorker({ address, token, name, kind: i % 3 === 0 ? 'browser' : 'node', ports, signal: stop.signal }));
  await delay(APART_MS);
}
await Promise.all(workers);
process.stdin.destroy();
