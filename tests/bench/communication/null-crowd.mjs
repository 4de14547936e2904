/**
 * Many workers in one process. Active ones are real workers whose engine sleeps; idle ones have joined and wait. A little later it begins to probe:
 * it opens one more link after the other, and measures the time from its hello to the welcome. Arguments: the coordinator's address, how many idle and how many
 * active workers, ms of sleep for a lease, and ms for which it probes (0: not at all). It prints {"joined": true} when all have joined, and in
 * the end {"lost": N, "probesMs": [...]}; the token is in TROUPE_TOKEN.
 */
import { setMaxListeners } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import { createStarCollective } from '@troupe/collective/star';
import { loadWasm } from '@troupe/engines/node';
import { createLayout, stateSize } from '@troupe/model';
import { createChannel, PROTOCOL_VERSION, receiveWithin } from '@troupe/protocol';
import { connectWebSocket } from '@troupe/transport/websocket';
import { runWorker } from '@troupe/worker';

const [address, idle, active, sleepMs, probeMs] = process.argv.slice(2);
const PROBE_EVERY_MS = 50;
const WAIT_MS = 30_000;
/** Links that are opened at a time: a listening socket has a short queue. */
const AT_ONCE = 50;
const stop = new globalThis.AbortController();
let lost = 0;

/** @param {string} name */
async function joinIdle(name) {
  const link = await connectWebSocket(address, { signal: stop.signal });
  const channel = createChannel(link, { accepts: ['welcome', 'queued', 'parked', 'stop'], bodyBytes: () => 0 });
  channel.send({ type: 'hello', versions: [PROTOCOL_VERSION], token: process.env.TROUPE_TOKEN ?? '', name, kind: 'node' });
  await receiveWithin(channel, { deadline: AbortSignal.timeout(WAIT_MS), what: 'a welcome' });
  return channel;
}

/** @param {string} name */
async function idleWorker(name) {
  const channel = await joinIdle(name);
  void channel.closed.then(() => {
    if (!stop.signal.aborted) lost++;
  });
}

/** @param {import('@troupe/model').ModelConfig} config @param {import('@troupe/model').EngineLimits} limits @returns {import('@troupe/model').Engine} */
function nullEngine(config, limits) {
  const gradient = new Float32Array(createLayout(config).size).fill(1e-6);
  const endStates = new Float32Array(limits.maxStreams * stateSize(config));
  const answer = async (/** @type {import('@troupe/model').Batch} */ { streams, window }) => {
    await delay(Number(sleepMs));
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

const connect = (/** @type {string} */ where, /** @type {AbortSignal} */ signal) => connectWebSocket(where, { signal });

/** Resolves when it is ready. @param {string} name @returns {Promise<void>} */
function activeWorker(name) {
  return new Promise((resolve) => {
    const done = runWorker({
      address,
      name,
      token: process.env.TROUPE_TOKEN ?? '',
      kind: 'node',
      ports: {
        connect,
        collective: createStarCollective({ connect }),
        createEngine: (config, limits) => Promise.resolve(nullEngine(config, limits)),
        nowMs: () => performance.now(),
        sleep: async (ms, signal) => void (await delay(ms, undefined, { signal })),
        random: Math.random,
        log({ kind }) {
          if (kind === 'ready') resolve();
          if (kind === 'lost') lost++;
        },
      },
      signal: stop.signal,
    });
    done.catch(() => (lost += stop.signal.aborted ? 0 : 1));
  });
}

/** @param {number} count @param {(k: number) => Promise<void>} join */
async function joinAll(count, join) {
  for (let from = 0; from < count; from += AT_ONCE)
    await Promise.all(Array.from({ length: Math.min(AT_ONCE, count - from) }, (_, i) => join(from + i)));
}

/** @returns {Promise<number[]>} ms */
async function probe() {
  const probesMs = [];
  const endMs = performance.now() + Number(probeMs);
  while (performance.now() < endMs) {
    const startMs = performance.now();
    const channel = await joinIdle('probe');
    probesMs.push(performance.now() - startMs);
    channel.send({ type: 'bye', reason: 'it only measures' });
    channel.close('it only measures');
    await delay(PROBE_EVERY_MS);
  }
  return probesMs;
}

setMaxListeners(0);
process.once('SIGTERM', () => {
  stop.abort(new Error('the benchmark has ended'));
  process.exitCode = 0;
  setTimeout(() => process.exit(), 2_000).unref();
});
await loadWasm();
await joinAll(Number(idle), (k) => idleWorker(`idle-${k}`));
await joinAll(Number(active), (k) => activeWorker(`active-${process.pid}-${k}`));
console.log(JSON.stringify({ joined: true }));
if (Number(probeMs) > 0) {
  const probesMs = await probe();
  console.log(JSON.stringify({ lost, probesMs }));
} else {
  process.on('SIGUSR1', () => console.log(JSON.stringify({ lost, probesMs: [] })));
}
