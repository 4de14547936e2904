/**
 * TensorFlow.js at its best: the loop over time and its backward pass written by hand with its operations, as Troupe's tfjs engine has
 * them. Gradient only. The argument is the backend: "wasm" or "cpu".
 */
import { createLayout, createRandom, initialParameters, stateSize } from '@troupe/model';
import { createTfjsEngine } from '@troupe/model/tfjs';
import { serve } from './serve.mjs';
import { startTfjs } from './tfjs-backend.mjs';

const backend = process.argv[2];

/** @param {import('./serve.mjs').Order} order */
async function prepare({ layers, hidden, streams, window, vocabulary }) {
  const tf = await startTfjs(backend);
  const model = /** @type {const} */ ({ cell: 'lstm', layers, hidden, vocabulary });
  const engine = await createTfjsEngine(model, { maxStreams: streams, maxWindow: window }, tf);
  engine.setParameters(initialParameters(model, createLayout(model), 1));
  const random = createRandom(1);
  const batch = {
    streams,
    window,
    tokens: Uint16Array.from({ length: streams * (window + 1) }, () => random.uint32() % vocabulary),
    states: new Float32Array(streams * stateSize(model)),
  };
  return {
    detail: `tfjs ${tf.version.tfjs}, backend ${tf.getBackend()}, loop by hand`,
    step: async () => {
      const { lossSum, tokens } = await engine.gradient(batch);
      return lossSum / tokens;
    },
  };
}

await serve(prepare);
