/** Troupe's webgpu engine. A step sets the parameters, as after every round, and computes the gradient. */
import { gpu } from './gpu.mjs';
import { createWebgpuEngine, requestDevice } from '@troupe/model/webgpu';
import { problemOf } from './problem.mjs';
import { serve } from './serve.mjs';

/** @param {import('./serve.mjs').Order} order */
async function prepare(order) {
  const { model, limits, parameters, batch } = problemOf(order);
  const { device, info } = await requestDevice(gpu);
  const engine = await createWebgpuEngine(model, limits, device, { adapterInfo: info });
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
