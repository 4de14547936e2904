/**
 * TensorFlow.js at its best: the loop over time and its backward pass written by hand with its operations, which is Troupe's tfjs
 * engine. Computes the gradient only. The argument is the backend: "wasm" or "cpu".
 */
import { createTfjsEngine } from '@troupe/model/tfjs';
import { problemOf } from './problem.mjs';
import { serve } from './serve.mjs';
import { startTfjs } from './tfjs-backend.mjs';

const backend = process.argv[2];

/** @param {import('./serve.mjs').Order} order */
async function prepare(order) {
  const tf = await startTfjs(backend);
  const { model, limits, parameters, batch } = problemOf(order);
  const engine = await createTfjsEngine(model, limits, tf);
  engine.setParameters(parameters);
  return {
    detail: `tfjs ${tf.version.tfjs}, backend ${tf.getBackend()}, loop by hand`,
    step: async () => {
      const { lossSum, tokens } = await engine.gradient(batch);
      return lossSum / tokens;
    },
  };
}

await serve(prepare);
