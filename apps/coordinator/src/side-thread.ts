/** The thread behind side-jobs.ts. It does the run's jobs one after another, and requests of people beside them. */
import os from 'node:os';
import { performance } from 'node:perf_hooks';
import { setImmediate as yieldTurn } from 'node:timers/promises';
import { parentPort, workerData } from 'node:worker_threads';
import { openEngine } from '@troupe/engines/node';
import { createRandom, evaluateLoss, sample, type Engine } from '@troupe/model';
import { gradientFlow } from '@troupe/model/reference';
import type { SideData, SideJob, SideReply, SideRequest } from './side-jobs.js';

/** Lanes of the validation part that are computed side by side, and characters that warm up the state of each. */
const LANES = 32;
const WARMUP_CHARS = 256;
/** Characters sampled before they are passed on and other jobs get a turn. */
const PLAY_CHARS = 8;

const { model, validation, window, reproducible } = workerData as SideData;
const port = parentPort!;

try {
  // On Linux this is the priority of the thread alone: training goes first.
  os.setPriority(10);
} catch {
  // If the host refuses, the thread runs at equal priority.
}
const engine = await openEngine(
  'auto',
  model,
  { maxStreams: LANES, maxWindow: window },
  { among: ['native', 'wasm'], nowMs: () => performance.now(), reproducible },
);
/** Evaluates with a pause after each call, so that requests of people get a turn. */
const yielding: Engine = {
  ...bound(engine),
  async evaluate(batch) {
    const result = await engine.evaluate(batch);
    await yieldTurn();
    return result;
  },
};
/** A second engine, because the first may be in the middle of a validation. */
let playEngine: Promise<Engine> | undefined;
const cancelled = new Set<number>();

function bound(engine: Engine): Engine {
  return {
    info: engine.info,
    limits: engine.limits,
    setParameters: (parameters) => engine.setParameters(parameters),
    gradient: (batch) => engine.gradient(batch),
    evaluate: (batch) => engine.evaluate(batch),
    step: (tokens, states) => engine.step(tokens, states),
    dispose: () => engine.dispose(),
  };
}

async function perform(request: SideJob): Promise<SideReply> {
  const { id, parameters } = request;
  switch (request.kind) {
    case 'evaluate': {
      engine.setParameters(parameters);
      const options = { window, lanes: LANES, warmup: WARMUP_CHARS };
      const { lossPerChar, tokens } = await evaluateLoss(yielding, model, validation, options);
      return { id, kind: 'evaluated', lossPerChar, tokens };
    }
    case 'sample': {
      engine.setParameters(parameters);
      const ids: number[] = [];
      const options = { ...request, topK: 0, random: createRandom(request.seed) };
      for await (const drawn of sample(engine, model, options)) ids.push(drawn);
      return { id, kind: 'sampled', ids: Uint16Array.from(ids) };
    }
    case 'play':
      await play(request);
      return { id, kind: 'sampled', ids: new Uint16Array(0) };
    case 'flow':
      return { id, kind: 'flowed', layers: await flow(request) };
    default:
      return request satisfies never;
  }
}

async function openPlayEngine(): Promise<Engine> {
  try {
    return await openEngine(engine.info.name as 'native' | 'wasm', model, { maxStreams: 1, maxWindow: 1 }, { reproducible });
  } catch (error) {
    // The next request tries again.
    playEngine = undefined;
    throw error;
  }
}

async function play(request: SideJob & { kind: 'play' }): Promise<void> {
  playEngine ??= openPlayEngine();
  const player = await playEngine;
  player.setParameters(request.parameters);
  let steps = 0;
  /** Reading the prime has pauses too, so that other jobs get a turn. */
  const yieldingPlayer: Engine = {
    ...bound(player),
    async step(tokens, states) {
      if (++steps % PLAY_CHARS === 0) await yieldTurn();
      return player.step(tokens, states);
    },
  };
  let ids: number[] = [];
  const passOn = (): void => {
    port.postMessage({ id: request.id, kind: 'drawn', ids: Uint16Array.from(ids) } satisfies SideReply);
    ids = [];
  };
  for await (const drawn of sample(yieldingPlayer, model, { ...request, random: createRandom(request.seed) })) {
    ids.push(drawn);
    if (ids.length < PLAY_CHARS) continue;
    passOn();
    await yieldTurn();
    if (cancelled.has(request.id)) return;
  }
  if (ids.length > 0) passOn();
}

/** Computes one stream at a time, because each takes a while. */
async function flow({ parameters, batch }: SideJob & { kind: 'flow' }): Promise<number[][]> {
  const exact = Float64Array.from(parameters);
  const { streams, window: T, tokens, states } = batch;
  const size = states.length / streams;
  const mean = Array.from({ length: model.layers }, () => new Array<number>(T).fill(0));
  for (let b = 0; b < streams; b++) {
    const one = {
      streams: 1,
      window: T,
      tokens: tokens.subarray(b * (T + 1), (b + 1) * (T + 1)),
      states: states.subarray(b * size, (b + 1) * size),
    };
    gradientFlow(model, exact, one).forEach((layer, k) => layer.forEach((value, t) => (mean[k][t] += value / streams)));
    await yieldTurn();
  }
  return mean;
}

async function carryOut(request: SideJob): Promise<void> {
  try {
    port.postMessage(await perform(request));
  } catch (error) {
    port.postMessage({ id: request.id, kind: 'failed', message: (error as Error).message } satisfies SideReply);
  }
  cancelled.delete(request.id);
}

let runJobs = Promise.resolve();
let personJobs = Promise.resolve();
port.on('message', (request: SideRequest) => {
  switch (request.kind) {
    case 'cancel':
      cancelled.add(request.id);
      return;
    case 'evaluate':
    case 'sample':
      runJobs = runJobs.then(() => carryOut(request));
      return;
    default:
      personJobs = personJobs.then(() => carryOut(request));
  }
});
