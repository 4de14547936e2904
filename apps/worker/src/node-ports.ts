import { setTimeout as delay } from 'node:timers/promises';
import { createStarCollective } from '@troupe/collective/star';
import type { EngineChoice } from '@troupe/engines';
import { loadWasm, openEngine } from '@troupe/engines/node';
import type { Connection } from '@troupe/transport';
import { connectWebSocket } from '@troupe/transport/websocket';
import type { WorkerLog, WorkerPorts } from '@troupe/worker';

export interface NodePortsOptions {
  readonly engine: EngineChoice;
  /**
   * Number of threads in which engines for the processor compute; the main thread serves the
   * sockets.
   */
  readonly threads: number;
  /** False: no GPU is used. */
  readonly gpu: boolean;
  log(entry: WorkerLog): void;
}

const connect = (address: string, signal: AbortSignal): Promise<Connection> =>
  connectWebSocket(address, { signal, env: process.env });

export async function createNodePorts({ engine, threads, gpu, log }: NodePortsOptions): Promise<WorkerPorts> {
  // Sets V8's flags before a replica compiles the first module.
  await loadWasm();
  return {
    connect,
    collective: createStarCollective({ connect }),
    createEngine: (config, limits, { not, reproducible }) =>
      // After a loss any engine is better than none, except in a reproducible run, which allows
      // only one.
      openEngine(not.length > 0 && !reproducible ? 'auto' : engine, config, limits, {
        threads,
        gpu,
        not,
        reproducible,
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
