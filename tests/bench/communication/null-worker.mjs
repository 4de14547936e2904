/**
 * A worker whose engine computes nothing: it sleeps a little for each stream, so that streams are dealt evenly, and returns a prepared
 * gradient. What else a round takes is communication. Arguments: the coordinator's address, a name, ms of
 * sleep for a stream, and the address at which it listens for others, if it sums for them; the token is in TROUPE_TOKEN. "joins" stands for none, and "alone"
 * for none either: the worker then takes its snapshot from the coordinator only.
 */
import { createHash } from 'node:crypto';
import { setMaxListeners } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import { createStarCollective } from '@troupe/collective/star';
import { loadWasm } from '@troupe/engines/node';
import { connectWebSocket } from '@troupe/transport/websocket';
import { runWorker } from '@troupe/worker';
import { nullEngine } from './null-engine.mjs';

const [address, name, msPerStream, host] = process.argv.slice(2);
/** As a real worker listens. The linter looks for its sources where they are built. */
const PEER = new URL('../../../apps/worker/dist/peer.js', import.meta.url).href;

/** @param {string} where @returns {Promise<import('@troupe/collective/star').StarPeer>} */
async function listen(where) {
  const { openPeer } = await import(PEER);
  const log = (/** @type {{ text: string }} */ { text }) => console.error(text);
  return openPeer({ listen: { host: where, port: 0, tls: undefined }, log, signal: stop.signal });
}

// As a real worker does.
setMaxListeners(0);
const stop = new globalThis.AbortController();
process.once('SIGTERM', () => stop.abort(new Error('the benchmark has ended')));
const connect = (/** @type {string} */ where, /** @type {AbortSignal} */ signal) => connectWebSocket(where, { signal });
// Sets V8's flags, as in a real worker.
await loadWasm();
const peer = host === undefined || host === 'alone' || host === 'joins' ? undefined : await listen(host);
const sha256 = async (/** @type {Uint8Array} */ bytes) => createHash('sha256').update(bytes).digest();
try {
  await runWorker({
    address,
    name,
    token: process.env.TROUPE_TOKEN ?? '',
    kind: 'node',
    ports: {
      connect,
      collective: createStarCollective({ connect, ...(peer && { peer }) }),
      createEngine: (config, limits) => Promise.resolve(nullEngine(config, limits, (streams) => streams * Number(msPerStream))),
      nowMs: () => performance.now(),
      sleep: async (ms, signal) => void (await delay(ms, undefined, { signal })),
      random: Math.random,
      ...(host !== 'alone' && { sha256 }),
      log() {},
    },
    signal: stop.signal,
  });
} catch (error) {
  if (!stop.signal.aborted) throw error;
}
