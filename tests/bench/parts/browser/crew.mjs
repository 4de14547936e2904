// Many workers in one process, each with links, a replica and an engine of its own: node crew.mjs ws://HOST:PORT/control TOKEN COUNT.
// Works until the run is over, or its standard input ends.
import { setMaxListeners } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import { openEngine } from '@troupe/engines/node';
import { connectWebSocket } from '@troupe/transport/websocket';
import { runWorker } from '@troupe/worker';

/** Between one and the next: a coordinator keeps few links of one address that have not said hello. */
const APART_MS = 20;

const [address, token, count] = process.argv.slice(2);
const stop = new globalThis.AbortController();
setMaxListeners(0, stop.signal);
process.stdin.on('end', () => stop.abort(new Error('nobody needs the crew any more'))).resume();

/** @type {import('@troupe/worker').WorkerPorts} */
const ports = {
  connect: (to, signal) => connectWebSocket(to, { signal }),
  createEngine: (config, limits, { not, reproducible }) =>
    // Without a clock nothing is measured: hundreds of trials at once would tell nothing.
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

/** @type {Promise<void>[]} */
const workers = [];
for (let i = 1; i <= Number(count) && !stop.signal.aborted; i++) {
  const name = `crew-${String(i).padStart(3, '0')}`;
  workers.push(runWorker({ address, token, name, kind: i % 3 === 0 ? 'browser' : 'node', ports, signal: stop.signal }));
  await delay(APART_MS);
}
await Promise.all(workers);
process.stdin.destroy();
