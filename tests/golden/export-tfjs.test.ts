import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import * as tf from '@tensorflow/tfjs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Checkpoint } from '@troupe/checkpoint';
import { tfjsFolder } from '@troupe/export';
import { stateSize } from '@troupe/model';
import { checkpointOf, difference, expectedLogits, IDS, MODELS, named, STREAMS, WINDOW, writeFolder } from './exported.js';

// There its script finds TensorFlow.js, as it does in a project of one's own.
const modules = fileURLToPath(new URL('../../node_modules', import.meta.url));
const scratch = fs.mkdtempSync(path.join(modules, '.tfjs-'));
afterAll(() => fs.rmSync(scratch, { recursive: true, force: true }));
beforeAll(() => tf.setBackend('cpu'));

/** As a browser loads it, from files instead of addresses. */
async function load(folder: string): Promise<tf.GraphModel> {
  const { modelTopology, weightsManifest, signature } = JSON.parse(fs.readFileSync(path.join(folder, 'model.json'), 'utf8'));
  const bytes = fs.readFileSync(path.join(folder, 'weights.bin'));
  const weightData = new Uint8Array(bytes).buffer;
  return tf.loadGraphModel(tf.io.fromMemory({ modelTopology, signature, weightSpecs: weightsManifest[0].weights, weightData }));
}

/** Logits [B, T, V], step by step. */
async function logitsOf({ model }: Checkpoint, folder: string): Promise<Float32Array> {
  const graph = await load(folder);
  const { vocabulary: V } = model;
  const logits = new Float32Array(STREAMS * WINDOW * V);
  let state: tf.Tensor = tf.zeros([STREAMS, stateSize(model)]);
  for (let t = 0; t < WINDOW; t++) {
    const ids = tf.tensor1d(
      IDS.map((each) => each[t]),
      'int32',
    );
    const [step, next] = graph.execute({ ids, state }, ['logits', 'next_state']) as tf.Tensor[];
    expect(step.shape).toEqual([STREAMS, V]);
    const values = step.dataSync();
    for (let b = 0; b < STREAMS; b++) logits.set(values.subarray(b * V, (b + 1) * V), (b * WINDOW + t) * V);
    state = next;
  }
  graph.dispose();
  return logits;
}

describe('a folder for TensorFlow.js', () => {
  it.each(MODELS.map((model) => [named(model), model] as const))('computes the same logits: %s', async (name, model) => {
    const checkpoint = checkpointOf(model);
    const folder = writeFolder(path.join(scratch, name), tfjsFolder(checkpoint));
    expect(difference(await logitsOf(checkpoint, folder), await expectedLogits(checkpoint))).toBeLessThan(1e-5);
  });

  it('writes text with its script, the same for the same seed', { timeout: 240_000 }, () => {
    const folder = writeFolder(path.join(scratch, 'sample'), tfjsFolder(checkpointOf(MODELS[0])));
    const sample = (...flags: string[]) =>
      spawnSync(process.execPath, [path.join(folder, 'sample.mjs'), '--length', '40', ...flags], { encoding: 'utf8' });
    const first = sample('--prime', 'abc');
    const written = first.stdout.slice(first.stdout.lastIndexOf('abc'));
    expect([...written]).toHaveLength('abc'.length + 40 + '\n'.length);
    expect(sample('--prime', 'abc').stdout).toBe(first.stdout);
  });
});
