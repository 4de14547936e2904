/** The command `export`, which runs in this process, on a small model. */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { writeCheckpoint } from '@troupe/checkpoint/node';
import { createLayout, initialParameters, type ModelConfig } from '@troupe/model';
import { troupe } from './fixtures/shell.js';

const folder = mkdtempSync(path.join(os.tmpdir(), 'troupe-export-'));
const model: ModelConfig = { cell: 'lstm', layers: 1, hidden: 12, vocabulary: 5 };
const run = path.join(folder, 'run');
const inFolder = (name: string) => path.join(folder, name);
let checkpoint = '';

beforeAll(async () => {
  const size = createLayout(model).size;
  const slot = (name: string) => ({ name, values: new Float32Array(size).fill(0.5) });
  const written = await writeCheckpoint(
    run,
    {
      runId: 'r1',
      round: 7,
      model,
      config: { seed: 3 },
      vocabulary: ['\n', 'a', 'b', 'c', 'd'],
      corpus: { name: 'letters', sha256: 'ab'.repeat(32), characters: 1000, trainFraction: 0.9 },
      // Larger than initial weights: nearly equal chances would hide how a weight is rounded.
      parameters: initialParameters(model, createLayout(model), 3).map((weight) => weight * 20),
      parametersDigest: '0123456789abcdef',
      optimizer: { slots: [slot('first_moment'), slot('second_moment')], scalars: [{ name: 'steps', value: 7 }] },
      streamStates: new Float32Array(24),
      cursors: [0],
      rng: null,
      history: null,
    },
    { best: true },
  );
  checkpoint = written.bestPath!;
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

async function outputOf(...argv: string[]) {
  const session = troupe(argv);
  return { code: await session.exitCode, stdout: session.stdout.text, stderr: session.stderr.text };
}

describe('troupe export', () => {
  it('writes a page from the best checkpoint of a run, and says where and how large', async () => {
    const out = inFolder('new/page.html');
    const { code, stdout } = await outputOf('export', '--web', run, '--out', out, '--json');
    expect(code).toBe(0);
    const { size } = statSync(out);
    expect(JSON.parse(stdout)).toEqual({ path: out, files: [out], bytes: size, checkpoint, round: 7 });
    expect(readFileSync(out, 'utf8')).toMatch(/^<!doctype html>/);
  });

  it('halves the weights unless they are to keep all digits', async () => {
    const sizes = ['float16', 'float32'].map(async (precision) => {
      const out = inFolder(`${precision}.html`);
      await outputOf('export', '--web', '--checkpoint', run, '--precision', precision, '--out', out);
      return statSync(out).size;
    });
    const [half, whole] = await Promise.all(sizes);
    expect(whole - half).toBeCloseTo((createLayout(model).size * 2 * 4) / 3, -2);
  });

  it('replaces nothing unless it is told to, and never the checkpoint', async () => {
    const out = inFolder('mine.html');
    writeFileSync(out, 'mine');
    const refused = await outputOf('export', '--web', run, '--out', out);
    expect(refused).toMatchObject({ code: 2, stderr: expect.stringContaining('--force') as string });
    expect(readFileSync(out, 'utf8')).toBe('mine');
    expect(await outputOf('export', '--web', run, '--out', out, '--force')).toMatchObject({ code: 0 });
    expect(readFileSync(out, 'utf8')).not.toBe('mine');
    const before = readFileSync(checkpoint);
    expect(await outputOf('export', '--web', run, '--out', checkpoint, '--force')).toMatchObject({ code: 2 });
    expect(readFileSync(checkpoint)).toEqual(before);
    mkdirSync(inFolder('folder'));
    expect(await outputOf('export', '--web', run, '--out', inFolder('folder'))).toMatchObject({ code: 2 });
    expect(readdirSync(inFolder('folder'))).toEqual([]);
  });

  it('asks for one form', async () => {
    expect(await outputOf('export', run)).toMatchObject({ code: 2, stderr: expect.stringContaining('--web') as string });
  });
});

describe('troupe export --pytorch', () => {
  it('writes a folder, whose weights sample reads', async () => {
    const out = inFolder('pytorch');
    const { code, stdout } = await outputOf('export', '--pytorch', run, '--out', out);
    expect(code).toBe(0);
    expect(stdout).toContain(`python3 ${out}/sample.py`);
    expect(readdirSync(out).sort()).toEqual(['README.md', 'model.py', 'sample.py', 'vocabulary.json', 'weights.safetensors']);
    expect(JSON.parse(readFileSync(path.join(out, 'vocabulary.json'), 'utf8'))).toEqual(['\n', 'a', 'b', 'c', 'd']);
    const sample = (file: string) => outputOf('sample', '--checkpoint', file, '--length', '50');
    expect(await sample(path.join(out, 'weights.safetensors'))).toEqual(await sample(checkpoint));
    expect(await outputOf('export', '--pytorch', run, '--out', out)).toMatchObject({ code: 2 });
    expect(await outputOf('export', '--pytorch', run, '--out', out, '--force')).toMatchObject({ code: 0 });
  });
});

describe.each([
  ['onnx', ['README.md', 'model.onnx', 'sample.mjs', 'vocabulary.json']],
  ['tfjs', ['README.md', 'model.json', 'sample.mjs', 'vocabulary.json', 'weights.bin']],
])('troupe export --%s', (form, files) => {
  it('writes a folder', async () => {
    const out = inFolder(form);
    const { code, stdout } = await outputOf('export', `--${form}`, run, '--out', out);
    expect(code).toBe(0);
    expect(stdout).toContain(`node ${out}/sample.mjs`);
    expect(readdirSync(out).sort()).toEqual(files);
  });
});

describe('troupe export --weights-only', () => {
  const out = inFolder('weights.safetensors');
  beforeAll(async () => {
    expect(await outputOf('export', '--weights-only', run, '--out', out)).toMatchObject({ code: 0 });
  });

  it('writes a file without the moments of Adam', () => {
    const size = createLayout(model).size;
    expect(statSync(checkpoint).size).toBeGreaterThan(3 * 4 * size);
    expect(statSync(out).size).toBeLessThan(4 * size + 2500);
  });

  it('writes a file that sample reads like the checkpoint', async () => {
    const sample = (file: string) => outputOf('sample', '--checkpoint', file, '--length', '200');
    expect(await sample(out)).toEqual(await sample(checkpoint));
  });

  it('writes a file that eval reads like the checkpoint', async () => {
    const letters = inFolder('letters.txt');
    writeFileSync(letters, 'abcd\n'.repeat(200));
    const loss = async (file: string) => {
      const { stdout } = await outputOf('eval', '--checkpoint', file, '--corpus', letters, '--json');
      return (JSON.parse(stdout) as { lossPerChar: number }).lossPerChar;
    };
    expect(await loss(out)).toBe(await loss(checkpoint));
  });

  it('writes a file from which a page can be made', async () => {
    const pages = [out, checkpoint].map(async (file, i) => {
      await outputOf('export', '--web', file, '--out', inFolder(`again-${i}.html`));
      return readFileSync(inFolder(`again-${i}.html`), 'utf8');
    });
    const [again, first] = await Promise.all(pages);
    expect(again).toBe(first);
  });
});

describe('troupe sample', () => {
  it('rounds the weights when asked, which changes the text sooner or later', async () => {
    const sample = async (...flags: string[]) =>
      (await outputOf('sample', '--checkpoint', run, '--length', '20000', '--temperature', '1', ...flags)).stdout;
    const text = await sample();
    expect(await sample('--precision', 'float32')).toBe(text);
    expect(await sample('--precision', 'float16')).not.toBe(text);
  });
});
