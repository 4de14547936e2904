import { setTimeout as delay } from 'node:timers/promises';
import v8 from 'node:v8';
import { createWasmEngine, v8Flags } from '@troupe/model/wasm';
import { connectWebSocket } from '@troupe/transport/websocket';
import type { WorkerLog, WorkerPorts } from '@troupe/worker';

export function createNodePorts(log: (entry: WorkerLog) => void): WorkerPorts {
  // Must be set before the first module is compiled; v8Flags names only what this version of Node knows.
  for (const flag of v8Flags({ node: process.versions.node, arch: process.arch })) v8.setFlagsFromString(flag);
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
