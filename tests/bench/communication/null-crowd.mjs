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
import { createChannel, PROTOCOL_VERSION, receiveWithin } from '@troupe/protocol';
import { connectWebSocket } from '@troupe/transport/websocket';
import { runWorker } from '@troupe/worker';
import { nullEngine } from './null-engine.mjs';

const [address, idle, active, sleepMs, probeMs] = process.argv.slice(2);
const PROBE_EVERY_MS = 50;
const WAIT_MS = 30_000;
/** Links that are opened at a time: a listening socket has a short queue. */
const AT_ONCE = 50;
const stop = new globalThis.AbortController();
let lost = 0;
/** @type {Set<{ close: (reason: string) => void }>} */
const idlers = new Set();

/** @param {string} name */
async function joinIdle(name) {
  const link = await connectWebSocket(address, { signal: stop.signal });
  const channel = createChannel(link, { accepts: ['welcome', 'queued', 'parked', 'stop'], bodyBytes: () => 0 });
  channel.send({
    type: 'hello',
    versions: [PROTOCOL_VERSION],
    token: process.env.TROUPE_TOKEN ?? '',
    name,
    kind: 'node',
    credited: false,
    team: '',
  });
  await receiveWithin(channel, { deadline: globalThis.AbortSignal.timeout(WAIT_MS), what: 'a welcome' });
  return channel;
}

/** @param {string} name */
async function idleWorker(name) {
  const channel = await joinIdle(name);
  idlers.add(channel);
  void channel.closed.then(() => {
    if (!stop.signal.aborted) lost++;
  });
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
        createEngine: (config, limits) => Promise.resolve(nullEngine(config, limits, () => Number(sleepMs))),
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
  for (const channel of idlers) channel.close('the benchmark has ended');
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
