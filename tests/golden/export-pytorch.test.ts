import { execFileSync, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { pytorchFolder } from '@troupe/export';
import { checkpointOf, difference, expectedLogits, IDS, MODELS, named, weightsOf, writeFolder } from './exported.js';

/** PyTorch is optional: Debian's python3-torch, or the Python that TROUPE_PYTHON names. */
const python = process.env['TROUPE_PYTHON'] ?? '/usr/bin/python3';
const hasTorch = spawnSync(python, ['-c', 'import torch']).status === 0;
if (!hasTorch) console.warn(`SKIPPED: ${python} has no PyTorch, so exported models are not opened in it`);
const script = fileURLToPath(new URL('export_logits.py', import.meta.url));
const scratch = fs.mkdtempSync(path.join(os.tmpdir(), 'troupe-pytorch-'));
afterAll(() => fs.rmSync(scratch, { recursive: true, force: true }));

const checkpoints = MODELS.map(checkpointOf);
const folders = checkpoints.map((checkpoint, i) =>
  writeFolder(path.join(scratch, `${i}`), pytorchFolder(checkpoint, weightsOf(checkpoint))),
);

describe.skipIf(!hasTorch)('a folder for PyTorch (needs PyTorch)', () => {
  const logits: number[][] = [];
  beforeAll(() => {
    // One process for all: loading PyTorch takes longer than computing.
    const options = { encoding: 'utf8', input: JSON.stringify(IDS), maxBuffer: 2 ** 26 } as const;
    const stdout = execFileSync(python, [script, ...folders], options);
    for (const line of stdout.trim().split('\n')) logits.push((JSON.parse(line) as number[][][]).flat(2));
  }, 240_000);

  it.each(MODELS.map((model, i) => [named(model), i] as const))('computes the same logits: %s', async (_, i) => {
    expect(difference(logits[i], await expectedLogits(checkpoints[i]))).toBeLessThan(1e-5);
  });

  const sample = (...flags: string[]) =>
    spawnSync(python, [path.join(folders[0], 'sample.py'), '--length', '40', ...flags], { encoding: 'utf8' });

  it('writes text, the same for the same seed', { timeout: 240_000 }, () => {
    const first = sample('--prime', 'abc', '--top-k', '5');
    expect(first.stderr).toBe('');
    expect([...first.stdout]).toHaveLength('abc'.length + 40 + '\n'.length);
    expect(first.stdout.startsWith('abc')).toBe(true);
    expect(sample('--prime', 'abc', '--top-k', '5').stdout).toBe(first.stdout);
    expect(sample('--prime', 'Z').stderr).toContain("does not know the characters ['Z']");
  });
});
