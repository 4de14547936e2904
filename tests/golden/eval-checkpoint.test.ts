import { execFileSync, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';
import { createLayout, evaluateLoss, initialParameters, type ModelConfig } from '@troupe/model';
import { createReferenceEngine } from '@troupe/model/reference';

/** The PyTorch side is optional: it is found on Debian with python3-torch, or wherever TROUPE_PYTHON points. */
const python = process.env['TROUPE_PYTHON'] ?? '/usr/bin/python3';
const hasTorch = spawnSync(python, ['-c', 'import torch']).status === 0;
const script = fileURLToPath(new URL('eval_checkpoint.py', import.meta.url));
const scratch = fs.mkdtempSync(path.join(os.tmpdir(), 'troupe-golden-'));
afterAll(() => fs.rmSync(scratch, { recursive: true, force: true }));

const text = 'Rough winds do shake the darling buds of May,\r\nAnd summer’s lease hath all too short a date 𝄞\n'.repeat(40);
const characters = Array.from(text);
const vocabulary = [...new Set(characters)].sort();
const config: ModelConfig = { cell: 'lstm', layers: 2, hidden: 16, vocabulary: vocabulary.length };
const layout = createLayout(config);
const parameters = initialParameters(config, layout, 1).map((value) => value * 4);

/** A checkpoint's tensors and metadata, as far as the script reads them. */
function writeCheckpoint(file: string): void {
  const header: Record<string, unknown> = {
    __metadata__: { format: 'pt', troupe: JSON.stringify({ vocabulary, model: config }) },
  };
  for (const { name, shape, offset, size } of layout.tensors) {
    header[name] = { dtype: 'F32', shape, data_offsets: [4 * offset, 4 * (offset + size)] };
  }
  let end = 4 * layout.size;
  for (let k = 0; k < config.layers; k++) {
    header[`lstm.bias_hh_l${k}`] = { dtype: 'F32', shape: [4 * config.hidden], data_offsets: [end, (end += 16 * config.hidden)] };
  }
  const json = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  const body = Buffer.alloc(end);
  body.set(new Uint8Array(parameters.buffer));
  fs.writeFileSync(file, Buffer.concat([length, json, body]));
}

describe.skipIf(!hasTorch)('eval_checkpoint.py (needs PyTorch)', () => {
  it("gives evaluateLoss's figure for the last tenth of the text, counted in code points", async () => {
    const [checkpoint, corpus] = [path.join(scratch, 'c.safetensors'), path.join(scratch, 'c.txt')];
    writeCheckpoint(checkpoint);
    fs.writeFileSync(corpus, text);
    const stdout = execFileSync(python, [script, checkpoint, corpus, '--json'], { encoding: 'utf8' });
    const fromPyTorch = JSON.parse(stdout) as { lossPerChar: number; tokens: number };

    const ids = Uint16Array.from(characters, (character) => vocabulary.indexOf(character));
    const engine = createReferenceEngine(config, { maxStreams: 1, maxWindow: 64 });
    engine.setParameters(parameters);
    const part = ids.subarray(Math.floor(0.9 * ids.length));
    const { lossPerChar, tokens } = await evaluateLoss(engine, config, part, { window: 64, lanes: 1, warmup: 0 });
    expect(fromPyTorch.tokens).toBe(tokens);
    expect(Math.abs(fromPyTorch.lossPerChar - lossPerChar)).toBeLessThan(1e-6);
  });
});
