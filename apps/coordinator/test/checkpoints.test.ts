import fs from 'node:fs/promises';
import path from 'node:path';
import { takeCheckpoint } from '@troupe/conductor';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createCheckpointWriter, type ResumedFrom } from '../src/checkpoints.js';
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

function writer(keep: number, check = run.folder.check, resumed?: ResumedFrom) {
  return createCheckpointWriter({ ...run.folder, check }, keep, resumed, {
    onSaved: () => undefined,
    onFailed: ({ message }) => failures.push(message),
  });
}

const at = (round: number) => takeCheckpoint(run.training, round, '');
const above = (round: number) => takeCheckpoint(run.training, round, '', 3);
const fileAt = (round: number) => path.join(out, `round-${String(round).padStart(8, '0')}.safetensors`);
const rounds = async () =>
  (await fs.readdir(out)).flatMap((name) => (/^round-0*(\d+)\./.exec(name) ?? []).slice(1).map(Number)).sort((a, b) => a - b);

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

describe('while the loss is above the limit', () => {
  it('checkpoints that are saved by hand never remove the last good one', async () => {
    const writing = writer(1);
    for (const checkpoint of [at(2), above(4), above(5)]) await writing.save(checkpoint, false);
    expect(await rounds()).toEqual([2, 5]);
    await writing.save(at(9), false);
    expect(await rounds()).toEqual([9]);
  });

  it('a resumed run removes nothing until it has a good checkpoint, if it has resumed from one that is not', async () => {
    for (const checkpoint of [at(2), above(4)]) await writer(2).save(checkpoint, false);
    const writing = writer(1, run.folder.check, { path: fileAt(4), isAboveLimit: true });
    // It is stopped before its first round says that the loss is still above the limit.
    await writing.save(at(4), false);
    await writing.save(above(6), false);
    expect(await rounds()).toEqual([2, 4, 6]);
    await writing.save(at(8), false);
    expect(await rounds()).toEqual([8]);
  });

  it('a resumed run keeps the good checkpoint from which it has resumed', async () => {
    for (const checkpoint of [at(1), at(2)]) await writer(2).save(checkpoint, false);
    await writer(1, run.folder.check, { path: fileAt(2), isAboveLimit: false }).save(above(4), false);
    expect(await rounds()).toEqual([2, 4]);
  });

  it('a best model of an earlier round does not stand in for the last good checkpoint', async () => {
    const writing = writer(1);
    for (const checkpoint of [at(3), above(4)]) await writing.save(checkpoint, false);
    await writing.save(at(2), true);
    expect(await rounds()).toEqual([3, 4]);
  });
});
