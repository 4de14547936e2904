/** Troupe's webgpu engine: takes the parameters, as after every round, and gives the gradient. */
import { gpu } from './gpu.mjs';
import { createLayout, createRandom, initialParameters, stateSize } from '@troupe/model';
import { createWebgpuEngine, requestDevice } from '@troupe/model/webgpu';
import { serve } from './serve.mjs';

/** @param {import('./serve.mjs').Order} order */
async function prepare({ layers, hidden, streams, window, vocabulary }) {
  const model = /** @type {const} */ ({ cell: 'lstm', layers, hidden, vocabulary });
  const { device, info } = await requestDevice(gpu);
  const engine = await createWebgpuEngine(model, { maxStreams: streams, maxWindow: window }, device, { adapterInfo: info });
  const parameters = initialParameters(model, createLayout(model), 1);
  const random = createRandom(1);
  const batch = {
    streams,
    window,
    tokens: Uint16Array.from({ length: streams * (window + 1) }, () => random.uint32() % vocabulary),
    states: new Float32Array(streams * stateSize(model)),
  };
  return {
    detail: `${engine.info.name} ${engine.info.variant} on ${engine.info.device}`,
    step: async () => {
      engine.setParameters(parameters);
      const { lossSum, tokens } = await engine.gradient(batch);
      return lossSum / tokens;
    },
  };
}

await serve(prepare);
