import * as tf from '@tensorflow/tfjs';
import { globals } from 'webgpu';
import { afterAll, describe, expect, it } from 'vitest';
import { createReferenceEngine } from '../src/reference/index.js';
import { createTfjsEngine } from '../src/tfjs/index.js';
import { problem, relativeError } from './engine-conformance.js';
import { openTestGpu } from './webgpu-adapter.js';

const found = await openTestGpu();
const missing = typeof found === 'string' ? `SKIPPED, ${found}: ` : '';

/**
 * Only a few models: the code path is that of every device, for which tfjs.test.ts runs the whole
 * conformance suite, and a software adapter needs seconds for each model.
 */
describe.skipIf(missing !== '')(`${missing}the tfjs engine on the webgpu backend`, { timeout: 120_000 }, () => {
  afterAll(() => tf.removeBackend('webgpu'));

  const models = [
    {
      cell: 'lstm',
      layers: 2,
      hidden: 12,
      vocabulary: 9,
      embedding: 5,
      dropout: 0.3,
      dropoutOutput: 0.4,
      layerNorm: true,
      streams: 3,
      window: 4,
    },
    { cell: 'gru', layers: 1, hidden: 7, vocabulary: 9, streams: 2, window: 3 },
    { cell: 'gru-reset-after', layers: 1, hidden: 7, vocabulary: 9, embedding: 7, tied: true, streams: 2, window: 3 },
  ] as const;
  it.each(models)('agrees with the reference engine on $cell', async (model) => {
    await selectWebgpu();
    const { config, parameters, batch } = problem(model, 2);
    const limits = { maxStreams: batch.streams, maxWindow: batch.window };
    const engine = await createTfjsEngine(config, limits, tf);
    expect(engine.info).toMatchObject({ name: 'tfjs', variant: 'webgpu' });
    const reference = createReferenceEngine(config, limits);
    for (const each of [engine, reference]) each.setParameters(parameters);
    const expected = await reference.gradient(batch);
    const { gradient, lossSum, endStates } = await engine.gradient(batch);
    engine.dispose();
    expect(Math.abs(lossSum / expected.lossSum - 1)).toBeLessThan(1e-6);
    expect(relativeError(gradient, expected.gradient)).toBeLessThan(1e-5);
    expect(relativeError(endStates, expected.endStates)).toBeLessThan(1e-6);
  });
});

async function selectWebgpu(): Promise<void> {
  if (tf.getBackend() === 'webgpu') return;
  Object.assign(globalThis, globals);
  Object.defineProperty(globalThis, 'navigator', { value: found, configurable: true });
  await import('@tensorflow/tfjs-backend-webgpu');
  await tf.setBackend('webgpu');
}
