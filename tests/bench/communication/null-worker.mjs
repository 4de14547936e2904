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
import { createLayout, stateSize } from '@troupe/model';
import { connectWebSocket } from '@troupe/transport/websocket';
import { runWorker } from '@troupe/worker';

const [address, name, msPerStream, host] = process.argv.slice(2);
/** As a real worker listens. The linter looks for its sources where they are built. */
const PEER = new URL('../../../apps/worker/dist/peer.js', import.meta.url).href;

/** Values of the size that gradients have, so that clipping and rounding do their usual work. */
function preparedGradient(/** @type {number} */ length) {
  return new Float32Array(length).map((_, i) => ((i * 2_654_435_761) % 2 ** 32) / 2 ** 32 - 0.5);
}

/**
 * @param {import('@troupe/model').ModelConfig} config
 * @param {import('@troupe/model').EngineLimits} limits
 * @returns {import('@troupe/model').Engine}
 */
function nullEngine(config, limits) {
  const gradient = preparedGradient(createLayout(config).size);
  const endStates = new Float32Array(limits.maxStreams * stateSize(config));
  const answer = async (/** @type {import('@troupe/model').Batch} */ { streams, window }) => {
    await delay(streams * Number(msPerStream));
    const tokens = streams * window;
    const lossSum = tokens * Math.log(config.vocabulary);
    return { gradient, lossSum, tokens, endStates: endStates.subarray(0, streams * stateSize(config)) };
  };
  return {
    info: { name: 'wasm', variant: 'null', device: 'none' },
    limits,
    setParameters() {},
    gradient: answer,
    evaluate: answer,
    step: () => Promise.reject(new Error('a null engine samples nothing')),
    dispose() {},
  };
}

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
      createEngine: (config, limits) => Promise.resolve(nullEngine(config, limits)),
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
