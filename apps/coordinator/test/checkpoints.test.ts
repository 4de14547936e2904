import fs from 'node:fs/promises';
import path from 'node:path';
import { takeCheckpoint } from '@troupe/conductor';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { createCheckpointWriter } from '../src/checkpoints.js';
import { prepare, type Preparation } from '../src/preparation.js';
import { parseSettings } from '../src/settings.js';
import { scratch } from './running.js';

let out: string;
let run: Preparation;
let failures: string[];
beforeEach(async () => {
  out = await scratch();
  const settings = parseSettings(['--hidden=8', '--batch=4', '--window=8', `--out=${out}`], {});
  run = await prepare(settings, {}, AbortSignal.timeout(10_000), () => undefined);
  failures = [];
});
afterEach(async () => {
  await run.folder.release();
  await fs.rm(out, { recursive: true, force: true });
});

function writer(keep: number, check = run.folder.check) {
  return createCheckpointWriter({ ...run.folder, check }, keep, undefined, {
    onSaved: () => undefined,
    onFailed: ({ message }) => failures.push(message),
  });
}

const at = (round: number) => takeCheckpoint(run.training, round, '');

it('counts a checkpoint as written when an old one cannot be removed, and says so', async () => {
  // A folder in the place of an old checkpoint cannot be removed as a file can.
  await fs.mkdir(path.join(out, 'round-00000001.safetensors'));
  const file = path.join(out, 'round-00000002.safetensors');
  expect(await writer(1).save(at(2), false)).toBe(file);
  await fs.access(file);
  expect(failures).toEqual([expect.stringMatching(/^old checkpoints are not removed/)]);
});

it('writes nothing into a folder that another process has taken over', async () => {
  const taken = () => Promise.reject(new Error('the folder is in use'));
  expect(await writer(1, taken).save(at(2), false)).toBeUndefined();
  expect((await fs.readdir(out)).filter((name) => name.endsWith('.safetensors'))).toEqual([]);
  expect(failures).toEqual(['training continues without this checkpoint: the folder is in use']);
});
