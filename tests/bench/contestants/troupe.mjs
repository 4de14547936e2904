/** Troupe's wasm engine. With the argument "optimize" a step also applies the mean gradient with Adam, as a worker does. */
import { performance } from 'node:perf_hooks';
import v8 from 'node:v8';
import { createLayout, createRandom, initialParameters, stateSize } from '@troupe/model';
import { createWasmEngine, v8Flags } from '@troupe/model/wasm';
import { createReplica } from '@troupe/optim';
import { serve } from './serve.mjs';

const LEARNING_RATE = 0.002;
const ADAM = /** @type {const} */ ({ kind: 'adam', beta1: 0.9, beta2: 0.99, epsilon: 1e-8, weightDecay: 0 });

/** @param {import('./serve.mjs').Order} order */
async function prepare({ layers, hidden, streams, window, vocabulary }) {
  for (const flag of v8Flags({ node: process.versions.node, arch: process.arch })) v8.setFlagsFromString(flag);
  const model = /** @type {const} */ ({ cell: 'lstm', layers, hidden, vocabulary });
  const layout = createLayout(model);
  const engine = await createWasmEngine(model, { maxStreams: streams, maxWindow: window }, { now: () => performance.now() });
  const replica = createReplica({ size: layout.size, optimizer: ADAM });
  replica.setParameters(initialParameters(model, layout, 1));
  engine.setParameters(replica.parameters);
  const random = createRandom(1);
  const batch = {
    streams,
    window,
    tokens: Uint16Array.from({ length: streams * (window + 1) }, () => random.uint32() % vocabulary),
    states: new Float32Array(streams * stateSize(model)),
  };
  const mean = new Float32Array(layout.size);

  async function compute() {
    return await engine.gradient(batch);
  }

  async function computeAndApply() {
    const result = await engine.gradient(batch);
    const { gradient, tokens } = result;
    for (let i = 0; i < mean.length; i++) mean[i] = gradient[i] / tokens;
    replica.step(mean, LEARNING_RATE);
    engine.setParameters(replica.parameters);
    return result;
  }

  const run = process.argv.includes('optimize') ? computeAndApply : compute;
  return {
    detail: `${engine.info.name} ${engine.info.variant}`,
    step: async () => {
      const { lossSum, tokens } = await run();
      return lossSum / tokens;
    },
  };
}

await serve(prepare);
