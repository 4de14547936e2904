/**
 * A volunteer in a process of its own, which may lie. Arguments: the coordinator's address, its name, the name of a lie, and how many honest gradients
 * come before the first lie. It prints {"lies": true} with its first lie, and ends when it is sent away. The token is in TROUPE_TOKEN.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { createStarCollective } from '@troupe/collective/star';
import { openEngine } from '@troupe/engines/node';
import { connectWebSocket } from '@troupe/transport/websocket';
import { runWorker } from '@troupe/worker';
import { LIES } from './lies.mjs';

const [address, name, lie, after] = process.argv.slice(2);
const connect = (/** @type {string} */ where, /** @type {AbortSignal} */ signal) => connectWebSocket(where, { signal });
const tell = LIES[lie];
let computed = 0;

/** @param {import('@troupe/model').Engine} engine @returns {import('@troupe/model').Engine} */
function lying(engine) {
  return {
    info: engine.info,
    limits: engine.limits,
    setParameters: (parameters) => engine.setParameters(parameters),
    // Without progress: what has left cannot be changed any more.
    gradient: async (batch) => {
      if (computed++ < Number(after)) return engine.gradient(batch);
      if (computed === Number(after) + 1) console.log(JSON.stringify({ lies: true }));
      return tell(engine, batch);
    },
    evaluate: (batch) => engine.evaluate(batch),
    step: (tokens, states) => engine.step(tokens, states),
    dispose: () => engine.dispose(),
  };
}

await runWorker({
  address,
  name,
  token: process.env.TROUPE_TOKEN ?? '',
  kind: 'browser',
  ports: {
    connect,
    collective: createStarCollective({ connect }),
    createEngine: async (config, limits) => lying(await openEngine('wasm', config, limits)),
    nowMs: () => performance.now(),
    sleep: async (ms, signal) => void (await delay(ms, undefined, { signal })),
    random: Math.random,
    log: () => undefined,
  },
  signal: new globalThis.AbortController().signal,
}).catch((/** @type {Error} */ error) => {
  console.log(JSON.stringify({ sentAway: error.message }));
});
