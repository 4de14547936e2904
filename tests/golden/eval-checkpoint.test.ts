import { execFileSync, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { decodeCheckpoint, encodeCheckpoint } from '@troupe/checkpoint';
import { sha256 } from '@troupe/checkpoint/node';
import { CELLS, createLayout, evaluateLoss, initialParameters, stateSize, type ModelConfig } from '@troupe/model';
import { createReferenceEngine } from '@troupe/model/reference';

/** PyTorch is optional: Debian's python3-torch, or the Python that TROUPE_PYTHON names. */
const python = process.env['TROUPE_PYTHON'] ?? '/usr/bin/python3';
const hasTorch = spawnSync(python, ['-c', 'import torch']).status === 0;
const script = fileURLToPath(new URL('eval_checkpoint.py', import.meta.url));
if (!hasTorch) console.warn(`SKIPPED: ${python} has no PyTorch, so these tests do not compare with a second implementation`);
const scratch = fs.mkdtempSync(path.join(os.tmpdir(), 'troupe-golden-'));
afterAll(() => fs.rmSync(scratch, { recursive: true, force: true }));

const text = 'Rough winds do shake the darling buds of May,\r\nAnd summer’s lease hath all too short a date 𝄞\n'.repeat(40);
const characters = Array.from(text);
const vocabulary = [...new Set(characters)].sort();
const base = { layers: 2, hidden: 16, vocabulary: vocabulary.length };
const MODELS: readonly ModelConfig[] = CELLS.flatMap((cell) => [
  { ...base, cell },
  { ...base, cell, embedding: 10, dropout: 0.5, dropoutOutput: 0.5 },
  { ...base, cell, embedding: 16, tied: true },
  { ...base, cell, layerNorm: true },
]);
const named = ({ cell, embedding = 0, tied = false, layerNorm = false }: ModelConfig): string =>
  `${cell}${embedding > 0 ? `, embedding ${embedding}` : ''}${tied ? ', tied' : ''}${layerNorm ? ', layer norm' : ''}`;

/** Larger than initial parameters, so that every gate matters. */
const parametersOf = (config: ModelConfig): Float32Array =>
  initialParameters(config, createLayout(config), 1).map((value) => value * (config.cell === 'rnn-relu' ? 1.5 : 4));

/** A checkpoint like those of runs. */
function checkpointOf(model: ModelConfig): Uint8Array {
  const checkpoint = {
    runId: 'run',
    round: 0,
    model,
    config: {},
    vocabulary,
    corpus: { name: 'c', sha256: 'ab'.repeat(32), characters: characters.length, trainFraction: 0.9 },
    parameters: parametersOf(model),
    parametersDigest: '0123456789abcdef',
    optimizer: { slots: [], scalars: [] },
    streamStates: new Float32Array(stateSize(model)),
    cursors: [0],
    rng: {},
    history: {},
    savedAt: '2026-01-02T03:04:05.678Z',
  };
  return encodeCheckpoint(checkpoint, sha256);
}

/**
 * The file with nonzero bias_hh tensors, which runs write as zeros and PyTorch trains; without a
 * checksum, as other tools write it.
 */
function withTrainedBiases(file: Uint8Array): Uint8Array {
  const view = new DataView(file.buffer, file.byteOffset);
  const start = 8 + Number(view.getBigUint64(0, true));
  const { __metadata__: metadata, ...tensors } = JSON.parse(Buffer.from(file.subarray(8, start)).toString()) as Header;
  for (const [name, { data_offsets: span }] of Object.entries(tensors)) {
    if (!name.includes('.bias_hh_') || name.startsWith('optimizer.')) continue;
    for (let at = start + span[0]; at < start + span[1]; at += 4) view.setFloat32(at, Math.sin(at) / 2, true);
  }
  const { sha256: _, ...unsealed } = metadata;
  const json = Buffer.from(JSON.stringify({ __metadata__: unsealed, ...tensors }));
  file.fill(0x20, 8, start);
  file.set(json, 8);
  return file;
}

type Header = Record<string, { data_offsets: [number, number] }> & { __metadata__: Record<string, string> };

interface Figure {
  readonly lossPerChar: number;
  readonly tokens: number;
}

describe.skipIf(!hasTorch)('eval_checkpoint.py (needs PyTorch)', () => {
  const corpus = path.join(scratch, 'c.txt');
  const files = MODELS.flatMap((model) => [checkpointOf(model), withTrainedBiases(checkpointOf(model))]);
  const figures: Figure[] = [];
  beforeAll(() => {
    fs.writeFileSync(corpus, text);
    const paths = files.map((_, i) => path.join(scratch, `${i}.safetensors`));
    files.forEach((file, i) => fs.writeFileSync(paths[i], file));
    // One process for all files: loading PyTorch takes longer than computing.
    const stdout = execFileSync(python, [script, ...paths, corpus, '--json'], { encoding: 'utf8' });
    for (const line of stdout.trim().split('\n')) figures.push(JSON.parse(line) as Figure);
  });

  async function expectOurs(figure: Figure, file: Uint8Array): Promise<void> {
    const { model, parameters } = decodeCheckpoint(file, sha256);
    const ids = Uint16Array.from(characters, (character) => vocabulary.indexOf(character));
    const engine = createReferenceEngine(model, { maxStreams: 1, maxWindow: 64 });
    engine.setParameters(parameters);
    const part = ids.subarray(Math.floor(0.9 * ids.length));
    const { lossPerChar, tokens } = await evaluateLoss(engine, model, part, { window: 64, lanes: 1, warmup: 0 });
    expect(figure.tokens).toBe(tokens);
    expect(Math.abs(figure.lossPerChar / lossPerChar - 1)).toBeLessThan(1e-6);
  }

  it.each(MODELS.map((model, i) => [named(model), i] as const))(
    'computes the same loss as evaluateLoss for the last tenth of the text, in code points: %s',
    (_, i) => expectOurs(figures[2 * i], files[2 * i]),
  );

  it.each(MODELS.map((model, i) => [named(model), i] as const))(
    'computes the same loss as evaluateLoss when PyTorch has trained the second biases: %s',
    async (_, i) => {
      await expectOurs(figures[2 * i + 1], files[2 * i + 1]);
      expect(Math.abs(figures[2 * i + 1].lossPerChar - figures[2 * i].lossPerChar)).toBeGreaterThan(1e-3);
    },
  );
});
