import { setTimeout as delay } from 'node:timers/promises';
import v8 from 'node:v8';
import type { EngineChoice } from '@troupe/engines';
import { openEngine } from '@troupe/engines/node';
import { v8Flags } from '@troupe/model/wasm';
import { connectWebSocket } from '@troupe/transport/websocket';
import type { WorkerLog, WorkerPorts } from '@troupe/worker';

export interface NodePortsOptions {
  readonly engine: EngineChoice;
  /** Threads of their own in which engines for the processor compute; this one is left to the sockets. */
  readonly threads: number;
  /** False: GPUs are left to others. */
  readonly gpu: boolean;
  log(entry: WorkerLog): void;
}

export function createNodePorts({ engine, threads, gpu, log }: NodePortsOptions): WorkerPorts {
  // Must be set before the first module is compiled, and threads take them over; v8Flags names only what this version of Node knows.
  for (const flag of v8Flags({ node: process.versions.node, arch: process.arch })) v8.setFlagsFromString(flag);
  return {
    connect: (address, signal) => connectWebSocket(address, { signal }),
    createEngine: (config, limits, { not }) =>
      // Whatever was asked for, once its device is lost anything else is better than nothing.
      openEngine(not.length > 0 ? 'auto' : engine, config, limits, {
        threads,
        gpu,
        not,
        nowMs: () => performance.now(),
        log: (text) => log({ kind: 'engine', text }),
      }),
    nowMs: () => performance.now(),
    sleep: async (ms, signal) => {
      await delay(ms, undefined, { signal });
    },
    random: Math.random,
    log,
  };
}
