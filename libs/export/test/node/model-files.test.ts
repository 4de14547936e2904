import { gunzipSync } from 'node:zlib';
import type { Checkpoint } from '@troupe/checkpoint';
import { decodeCheckpoint } from '@troupe/checkpoint';
import { sha256 } from '@troupe/checkpoint/node';
import { unpackTar } from 'modern-tar';
import { describe, expect, it } from 'vitest';
import { decodeWebModel, MODEL_FORMS, type Player } from '../../src/index.js';
import { modelFile, modelFiles, readPlayer } from '../../src/node/index.js';
import { exampleModel, MODEL } from '../example.js';

const checkpoint: Checkpoint = {
  ...exampleModel(),
  runId: 'r1',
  config: { seed: 3 },
  parametersDigest: '0123456789abcdef',
  optimizer: { slots: [], scalars: [] },
  streamStates: new Float32Array(48),
  cursors: [0],
  rng: null,
  history: null,
};

const PLAYER: Player = {
  html: `<meta content="default-src 'none'"><link rel="stylesheet" href="player.css" /><script id="model" type="application/json"></script><script id="weights" type="text/plain"></script><script id="licenses" type="text/plain"></script><script type="module" src="player.js"></script>`,
  script: 'play()',
  style: 'a{}',
  licenses: 'MIT',
};
const player = () => Promise.resolve(PLAYER);

const part = (page: string, id: string): string => new RegExp(`<script id="${id}"[^>]*>([^<]*)</script>`).exec(page)![1];

describe('a model as one file', () => {
  it.each(MODEL_FORMS)('has a name that says what it is: %s', async (form) => {
    const { name, bytes } = await modelFile(form, checkpoint, player);
    expect(name).toMatch(/^(model|weights)(-\w+)?-round-1200\.(html|tar\.gz|safetensors)$/);
    expect(bytes.length).toBeGreaterThan(100);
  });

  it.each(['pytorch', 'onnx', 'tfjs'] as const)('%s is the folder of the command', async (form) => {
    const { bytes } = await modelFile(form, checkpoint, player);
    const entries = await unpackTar(gunzipSync(bytes));
    const files = await modelFiles(form, checkpoint, { precision: 'float16', player });
    const inFolder = Object.fromEntries(entries.map(({ header, data }) => [header.name, Buffer.from(data!)]));
    const expected = Object.fromEntries(
      files.map(({ name, bytes: part }) => [
        `model-${form}/${name}`,
        Buffer.concat(part instanceof Uint8Array ? [part] : [...part]),
      ]),
    );
    expect(inFolder).toEqual(expected);
  });

  it('weights is a checkpoint without what only a run needs', async () => {
    const { bytes } = await modelFile('weights', checkpoint, player);
    expect(decodeCheckpoint(bytes, sha256)).toMatchObject({ weightsOnly: true, round: 1200, parameters: checkpoint.parameters });
  });

  it('web has float16 weights, or float32 ones if a weight is too large for that', async () => {
    const pageOf = async (model: Checkpoint) => Buffer.from((await modelFile('web', model, player)).bytes).toString();
    const page = await pageOf(checkpoint);
    expect(decodeWebModel(part(page, 'model'), part(page, 'weights'))).toMatchObject({ precision: 'float16', model: MODEL });
    const parameters = checkpoint.parameters.slice();
    parameters[0] = 1e6;
    const exact = await pageOf({ ...checkpoint, parameters });
    expect(decodeWebModel(part(exact, 'model'), part(exact, 'weights'))).toMatchObject({ precision: 'float32', parameters });
  });

  it('web is not made of weights that are no numbers', async () => {
    const parameters = checkpoint.parameters.slice();
    parameters[0] = Number.NaN;
    await expect(modelFile('web', { ...checkpoint, parameters }, player)).rejects.toMatchObject({ code: 'out_of_range' });
  });
});

it('a page that is not built is told, with the remedy', async () => {
  await expect(readPlayer('/nowhere', 'Build it.')).rejects.toMatchObject({ code: 'not_built', remedy: 'Build it.' });
});
