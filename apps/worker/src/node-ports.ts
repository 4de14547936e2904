import { setTimeout as delay } from 'node:timers/promises';
import v8 from 'node:v8';
import { createWasmEngine, V8_FLAGS } from '@troupe/model/wasm';
import { connectWebSocket } from '@troupe/transport/websocket';
import type { WorkerLog, WorkerPorts } from '@troupe/worker';

export function createNodePorts(log: (entry: WorkerLog) => void): WorkerPorts {
  // Must be set before the first module is compiled; hosts that do not know a flag ignore it.
  for (const flag of V8_FLAGS) v8.setFlagsFromString(flag);
  return {
    connect: (address, signal) => connectWebSocket(address, { signal }),
    createEngine: (config, limits) => createWasmEngine(config, limits, { now: () => performance.now() }),
    nowMs: () => performance.now(),
    sleep: async (ms, signal) => {
      await delay(ms, undefined, { signal });
    },
    random: Math.random,
    log,
  };
}
