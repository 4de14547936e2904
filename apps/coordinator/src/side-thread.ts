/** The thread behind side-jobs.ts: one engine for the processor, one job at a time. */
import os from 'node:os';
import { performance } from 'node:perf_hooks';
import { parentPort, workerData } from 'node:worker_threads';
import { openEngine } from '@troupe/engines/node';
import { createRandom, evaluateLoss, sample, type Engine } from '@troupe/model';
import type { SideData, SideReply, SideRequest } from './side-jobs.js';

/** Lanes of the validation part computed side by side, and characters each reads first so that its state is warm. */
const LANES = 32;
const WARMUP_CHARS = 256;

const { model, validation, window } = workerData as SideData;
const port = parentPort!;

try {
  // On Linux this is the thread's own: training goes first.
  os.setPriority(10);
} catch {
  // A host that refuses runs it at equal priority.
}
const engine = await openEngine(
  'auto',
  model,
  { maxStreams: LANES, maxWindow: window },
  { among: ['native', 'wasm'], nowMs: () => performance.now() },
);

async function perform(request: SideRequest): Promise<SideReply> {
  engine.setParameters(request.parameters);
  const { id } = request;
  if (request.kind === 'evaluate') {
    const { lossPerChar, tokens } = await evaluateLoss(engine, model, validation, { window, lanes: LANES, warmup: WARMUP_CHARS });
    return { id, kind: 'evaluated', lossPerChar, tokens };
  }
  return { id, kind: 'sampled', ids: await draw(engine, request) };
}

async function draw(source: Engine, request: SideRequest & { kind: 'sample' }): Promise<Uint16Array> {
  const { prime, length, temperature, seed } = request;
  const ids: number[] = [];
  for await (const id of sample(source, model, { prime, length, temperature, topK: 0, random: createRandom(seed) })) ids.push(id);
  return Uint16Array.from(ids);
}

let queue = Promise.resolve();
port.on('message', (request: SideRequest) => {
  queue = queue.then(async () => {
    try {
      port.postMessage(await perform(request));
    } catch (error) {
      port.postMessage({ id: request.id, kind: 'failed', message: (error as Error).message } satisfies SideReply);
    }
  });
});
