/** The script that an engine thread runs; see thread.ts. */
import { parentPort, workerData } from 'node:worker_threads';
import { serveEngine } from '@troupe/model/threads';
import { createCpuEngine } from './cpu.js';
import type { ThreadData } from './thread.js';

const { engine, measured, variant: given } = workerData as ThreadData;
const port = parentPort!;

serveEngine(
  { post: (reply) => port.postMessage(reply), onOrder: (handler) => void port.on('message', handler) },
  (config, limits, variant = given) => {
    const choice = variant !== undefined ? { variant } : measured ? { now: () => performance.now() } : {};
    return createCpuEngine(engine, config, limits, choice);
  },
);
