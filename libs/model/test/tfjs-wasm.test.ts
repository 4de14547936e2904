import { createRequire } from 'node:module';
import path from 'node:path';
import * as tf from '@tensorflow/tfjs';
import { setWasmPaths } from '@tensorflow/tfjs-backend-wasm';
import { expect, it } from 'vitest';
import { createTfjsEngine } from '../src/tfjs/index.js';
import { engineConformance, problem } from './engine-conformance.js';

const require = createRequire(import.meta.url);
setWasmPaths(`${path.dirname(require.resolve('@tensorflow/tfjs-backend-wasm'))}/`);
await tf.setBackend('wasm');

engineConformance('tfjs wasm', (config, limits) => createTfjsEngine(config, limits, tf), {
  loss: 1e-6,
  gradient: 1e-5,
  states: 1e-6,
  logits: 1e-6,
});

it('keeps only the parameters as tensors between calls, and none after dispose', async () => {
  const before = tf.memory().numTensors;
  const { config, parameters, batch } = problem({ layers: 2, hidden: 6, vocabulary: 8, dropout: 0.4, streams: 3, window: 4 }, 3);
  const engine = await createTfjsEngine(config, { maxStreams: 3, maxWindow: 4 }, tf);
  const counts: number[] = [];
  for (let round = 0; round < 3; round++) {
    engine.setParameters(parameters);
    await engine.gradient(batch);
    await engine.evaluate(batch);
    counts.push(tf.memory().numTensors);
  }
  expect(new Set(counts)).toEqual(new Set([counts[0]]));
  engine.dispose();
  expect(tf.memory().numTensors).toBe(before);
});
