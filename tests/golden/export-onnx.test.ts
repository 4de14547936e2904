import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { InferenceSession, Tensor } from 'onnxruntime-web';
import { afterAll, describe, expect, it } from 'vitest';
import { onnxFolder } from '@troupe/export';
import type { Checkpoint } from '@troupe/checkpoint';
import { checkpointOf, difference, expectedLogits, IDS, MODELS, named, STREAMS, WINDOW, writeFolder } from './exported.js';

// There its script finds the runtime, as it does in a project of one's own.
const modules = fileURLToPath(new URL('../../node_modules', import.meta.url));
const scratch = fs.mkdtempSync(path.join(modules, '.onnx-'));
afterAll(() => fs.rmSync(scratch, { recursive: true, force: true }));

/** Logits [B, T, V], computed in two parts, so that the state is passed on too. */
async function logitsOf({ model }: Checkpoint, file: string): Promise<Float32Array> {
  const session = await InferenceSession.create(fs.readFileSync(file));
  const { layers, hidden, vocabulary: V } = model;
  const states = session.inputNames.filter((name) => name !== 'ids');
  const zeros = () => new Tensor('float32', new Float32Array(layers * STREAMS * hidden), [layers, STREAMS, hidden]);
  let state: Record<string, Tensor> = Object.fromEntries(states.map((name) => [name, zeros()]));
  const logits = new Float32Array(STREAMS * WINDOW * V);
  const parts = [IDS.map((ids) => ids.slice(0, 5)), IDS.map((ids) => ids.slice(5))];
  let done = 0;
  for (const part of parts) {
    const T = part[0].length;
    const ids = new Tensor('int64', BigInt64Array.from(part.flat(), BigInt), [STREAMS, T]);
    const result = await session.run({ ids, ...state });
    expect(result.logits.dims).toEqual([STREAMS, T, V]);
    const data = result.logits.data as Float32Array;
    for (let b = 0; b < STREAMS; b++) logits.set(data.subarray(b * T * V, (b + 1) * T * V), (b * WINDOW + done) * V);
    state = Object.fromEntries(states.map((name) => [name, result[`${name}_next`]]));
    done += T;
  }
  await session.release();
  return logits;
}

describe('a folder for ONNX', () => {
  it.each(MODELS.map((model) => [named(model), model] as const))('computes the same logits: %s', async (name, model) => {
    const checkpoint = checkpointOf(model);
    const folder = writeFolder(path.join(scratch, name), onnxFolder(checkpoint));
    const logits = await logitsOf(checkpoint, path.join(folder, 'model.onnx'));
    expect(difference(logits, await expectedLogits(checkpoint))).toBeLessThan(1e-5);
  });

  it('writes text with its script, the same for the same seed', { timeout: 120_000 }, () => {
    const folder = writeFolder(path.join(scratch, 'sample'), onnxFolder(checkpointOf(MODELS[0])));
    const sample = (...flags: string[]) =>
      spawnSync(process.execPath, [path.join(folder, 'sample.mjs'), '--length', '40', ...flags], { encoding: 'utf8' });
    const first = sample('--prime', 'abc');
    expect([...first.stdout]).toHaveLength('abc'.length + 40 + '\n'.length);
    expect(sample('--prime', 'abc').stdout).toBe(first.stdout);
    expect(sample('--prime', 'abc', '--seed', '2').stdout).not.toBe(first.stdout);
    expect(sample('--prime', 'Z').stderr).toContain('does not know the characters "Z"');
  });
});
