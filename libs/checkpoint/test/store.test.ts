import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, readdir, rm, stat, symlink, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { asModel, checkpointBlocks, weightsOnly, type Checkpoint } from '../src/index.js';
import {
  checkpointRounds,
  latestCheckpoint,
  leaveBehindAfter,
  pruneCheckpoints,
  readCheckpoint,
  sha256,
  sweepTemporary,
  writeCheckpoint,
} from '../src/node/index.js';
import { writeWhole } from '../src/node/files.js';
import { bits, usableCheckpoint } from './example.js';

/** More than the highest process number of any system. */
const NOBODY = 1_000_000_000;

let base: string;
let folder: string;

beforeEach(async () => {
  base = await mkdtemp(join(tmpdir(), 'troupe-checkpoint-'));
  folder = join(base, 'runs', '001');
});
afterEach(() => rm(base, { recursive: true, force: true }));

const write = (round: number, best = false) => writeCheckpoint(folder, usableCheckpoint({ round }), { best });
const files = async () => (await readdir(folder)).sort();

describe('writeCheckpoint', () => {
  it('creates the folder, names the file by its round, and can read it back', async () => {
    const written = await write(1200);
    expect(written).toMatchObject({ path: join(folder, 'round-00001200.safetensors'), bytes: (await stat(written.path)).size });
    expect(await files()).toEqual(['round-00001200.safetensors']);
    expect(bits((await readCheckpoint(written.path)).checkpoint)).toEqual(bits(usableCheckpoint()));
  });

  it('writes the blocks of a checkpoint one after the other', async () => {
    const blocks = checkpointBlocks(usableCheckpoint({ round: 100 }), sha256);
    const { path, bytes } = await write(100);
    expect(Buffer.concat(blocks).equals(await readFile(path))).toBe(true);
    expect(bytes).toBe(Buffer.concat(blocks).length);
  });

  it('keeps the best checkpoint under its own name until a better one is written', async () => {
    expect((await write(100, true)).bestPath).toBe(join(folder, 'best.safetensors'));
    await write(200);
    expect((await readCheckpoint(join(folder, 'best.safetensors'))).checkpoint.round).toBe(100);
    await write(300, true);
    await write(300, true);
    expect((await readCheckpoint(join(folder, 'best.safetensors'))).checkpoint.round).toBe(300);
    expect(await files()).toEqual([
      'best.safetensors',
      'round-00000100.safetensors',
      'round-00000200.safetensors',
      'round-00000300.safetensors',
    ]);
  });

  it('keeps the average as the best model beside the file of the round, which the run continues', async () => {
    const plain = usableCheckpoint({ round: 100 });
    const checkpoint = { ...plain, twin: plain.parameters.toReversed() };
    const { path, bestPath } = await writeCheckpoint(folder, asModel(checkpoint, 'average'), { best: true });
    expect((await readCheckpoint(bestPath!)).checkpoint).toMatchObject({ averaged: true, parameters: checkpoint.twin });
    expect(bits((await readCheckpoint(path)).checkpoint)).toEqual(bits(checkpoint));
    expect(bits((await latestCheckpoint(folder))!.checkpoint)).toEqual(bits(checkpoint));
    await write(200, true);
    expect(bits((await readCheckpoint(path)).checkpoint)).toEqual(bits(checkpoint));
    expect((await readCheckpoint(bestPath!)).checkpoint.averaged).toBeUndefined();
  });

  it('leaves the temporary file of a process that lives, and removes that of a killed one', async () => {
    await write(100);
    const [living, killed] = [process.ppid, NOBODY].map((pid) => `.round-00000200.safetensors.tmp-${pid}`);
    for (const name of [living, killed]) await writeFile(join(folder, name), 'half a checkpoint');
    expect((await latestCheckpoint(folder))?.checkpoint.round).toBe(100);
    await write(300);
    await sweepTemporary(folder);
    expect(await files()).toEqual([living, 'round-00000100.safetensors', 'round-00000300.safetensors']);
  });

  it('never reads a temporary file cut at any length as a checkpoint, and removes it at the next start', async () => {
    const whole = await readFile((await write(200)).path);
    for (let twentieth = 0; twentieth <= 20; twentieth++) {
      const torn = whole.subarray(0, Math.round((whole.length * twentieth) / 20));
      await write(100);
      await rm(join(folder, 'round-00000200.safetensors'), { force: true });
      await writeFile(join(folder, `.round-00000200.safetensors.tmp-${NOBODY + twentieth}`), torn);
      expect(await latestCheckpoint(folder)).toMatchObject({ checkpoint: { round: 100 }, warnings: [], damaged: [] });
      await sweepTemporary(folder);
      expect(await files()).toEqual(['round-00000100.safetensors']);
    }
  });

  it('skips a checkpoint cut at any length, as by an interrupted copy, with a warning', async () => {
    const { path } = await write(200);
    const whole = await readFile(path);
    await write(100);
    for (let twentieth = 0; twentieth < 20; twentieth++) {
      await writeFile(path, whole.subarray(0, Math.round((whole.length * twentieth) / 20)));
      const latest = await latestCheckpoint(folder);
      expect(latest).toMatchObject({ checkpoint: { round: 100 }, damaged: [path] });
      expect(latest?.warnings).toHaveLength(1);
    }
  });

  it('reports a path that leads through a file', async () => {
    await writeFile(join(base, 'runs'), '');
    await expect(write(1)).rejects.toMatchObject({ code: 'cannot_write', remedy: expect.stringContaining('--out') });
  });

  it.skipIf(!existsSync('/dev/full'))('reports a full disk, leaves no temporary file, and keeps the previous file', async () => {
    await mkdir(folder, { recursive: true });
    await writeFile(join(folder, 'x'), 'before');
    // Every write to /dev/full fails as on a full disk.
    await symlink('/dev/full', join(folder, `.x.tmp-${process.pid}`));
    await expect(writeWhole(folder, 'x', Buffer.from('after'))).rejects.toMatchObject({
      code: 'cannot_write',
      remedy: expect.stringContaining('disk is full'),
    });
    expect(await files()).toEqual(['x']);
    expect(await readFile(join(folder, 'x'), 'utf8')).toBe('before');
  });
});

describe('latestCheckpoint', () => {
  it('finds the highest round by number, not by name', async () => {
    await write(100_000_000);
    await write(99_999_999);
    const latest = await latestCheckpoint(folder);
    expect(latest).toMatchObject({ checkpoint: { round: 100_000_000 }, warnings: [] });
  });

  it('skips a damaged newest checkpoint with a warning and takes the one before it', async () => {
    await write(100);
    const { path, bytes } = await write(200);
    await truncate(path, bytes - 10);
    const latest = await latestCheckpoint(folder);
    expect(latest?.checkpoint.round).toBe(100);
    expect(latest?.warnings).toMatchObject([{ code: 'truncated', message: expect.stringContaining(path) }]);
  });

  /** [cursors] of streams that have read 7 characters since their states were zero, and of such that have read all of a pass. */
  const [EARLY, LATE] = [
    [7, 107, 207, 307],
    [0, 100, 200, 300],
  ];
  const first = (values: Float32Array, value: number): Float32Array => values.map((own, i) => (i === 5 ? value : own));
  const usable = usableCheckpoint();
  const [moment, ...others] = usable.optimizer.slots;
  const UNUSABLE: Readonly<Record<string, Partial<Checkpoint>>> = {
    'a weight is NaN': { parameters: first(usable.parameters, NaN) },
    'an average of weights is infinite': { twin: first(usable.parameters, -Infinity) },
    'a moment of the optimizer is infinite': {
      optimizer: { ...usable.optimizer, slots: [{ ...moment, values: first(moment.values, Infinity) }, ...others] },
    },
    'a state is NaN': { streamStates: first(usable.streamStates, NaN) },
    'a state is near the largest float': { streamStates: first(usable.streamStates, 3e38) },
    'a state grew by more than one a character': { streamStates: first(usable.streamStates, -7.5), cursors: EARLY },
    'a state grew by more than a pass': { streamStates: first(usable.streamStates, 101), cursors: LATE },
  };

  it.each(Object.keys(UNUSABLE))('skips a whole file from which no run can continue: %s', async (what) => {
    await write(100);
    const { path } = await writeCheckpoint(folder, usableCheckpoint({ round: 200, ...UNUSABLE[what] }));
    const latest = await latestCheckpoint(folder);
    expect(latest).toMatchObject({ checkpoint: { round: 100 }, damaged: [path], warnings: [{ code: 'unusable' }] });
    expect(latest?.warnings[0].message).toContain(path);
    expect((await readCheckpoint(path)).checkpoint.round).toBe(200);
  });

  it('takes states as large as the cell reaches', async () => {
    for (const [value, cursors] of [
      [6.9, EARLY],
      [99, LATE],
    ] as const) {
      await writeCheckpoint(folder, usableCheckpoint({ round: 200, cursors, streamStates: first(usable.streamStates, value) }));
      expect(await latestCheckpoint(folder)).toMatchObject({ checkpoint: { round: 200 }, warnings: [] });
    }
  });

  it('falls back to the best checkpoint if all others are damaged', async () => {
    await write(100, true);
    const { path } = await write(200);
    await writeFile(join(folder, 'round-00000100.safetensors'), 'x');
    await writeFile(path, 'x');
    // If best.safetensors is a link to the same file, writing in place has damaged it too.
    await rm(join(folder, 'best.safetensors'));
    await expect(latestCheckpoint(folder)).rejects.toMatchObject({ code: 'truncated', message: expect.stringContaining(path) });
    await write(300, true);
    await rm(join(folder, 'round-00000300.safetensors'));
    expect(await latestCheckpoint(folder)).toMatchObject({ checkpoint: { round: 300 }, warnings: [{}, {}] });
  });

  it('does not fall back to an older checkpoint if a newer Troupe wrote the newest one', async () => {
    await write(100);
    const { path } = await write(200);
    const text = (await readFile(path)).toString('latin1').replace(/\\"formatVersion\\":\d/, '\\"formatVersion\\":9');
    await writeFile(path, Buffer.from(text.replace(/,"sha256":"[0-9a-f]{64}"\}/, `}${' '.repeat(76)}`), 'latin1'));
    await expect(latestCheckpoint(folder)).rejects.toMatchObject({ code: 'unsupported_version' });
  });

  it('refuses a file with weights only, and says how to start from it', async () => {
    const { path } = await writeCheckpoint(folder, weightsOnly(usableCheckpoint()));
    await expect(latestCheckpoint(folder)).rejects.toMatchObject({
      code: 'weights_only',
      message: expect.stringContaining(path) as string,
      remedy: expect.stringContaining(`--init ${path}`) as string,
    });
    expect((await readCheckpoint(path)).checkpoint.weightsOnly).toBe(true);
  });

  it('is undefined if there is none', async () => {
    expect(await latestCheckpoint(folder)).toBeUndefined();
    await mkdir(folder, { recursive: true });
    await writeFile(join(folder, 'notes.txt'), '');
    expect(await latestCheckpoint(folder)).toBeUndefined();
  });
});

describe('readCheckpoint', () => {
  it("reads a folder's latest checkpoint, or its best on request", async () => {
    await write(100, true);
    await write(200);
    expect((await readCheckpoint(folder)).checkpoint.round).toBe(200);
    expect((await readCheckpoint(folder, { prefer: 'best' })).checkpoint.round).toBe(100);
    await rm(join(folder, 'best.safetensors'));
    expect((await readCheckpoint(folder, { prefer: 'best' })).checkpoint.round).toBe(200);
  });

  it('names a missing file or folder', async () => {
    await expect(readCheckpoint(join(folder, 'x'))).rejects.toMatchObject({ code: 'not_found' });
    await mkdir(folder, { recursive: true });
    await expect(readCheckpoint(folder)).rejects.toMatchObject({ code: 'not_found', message: expect.stringContaining(folder) });
  });

  it('puts the path of the file before the error', async () => {
    const path = join(base, 'poem.txt');
    await writeFile(path, 'Rough winds do shake the darling buds of May');
    await expect(readCheckpoint(path)).rejects.toMatchObject({
      code: 'not_a_checkpoint',
      message: expect.stringContaining(`${path}: `),
    });
  });
});

describe('pruneCheckpoints', () => {
  it('keeps the newest, the best, and other files', async () => {
    await write(100, true);
    for (const round of [200, 300, 400]) await write(round);
    await writeFile(join(folder, 'notes.txt'), '');
    const removed = await pruneCheckpoints(folder, 2);
    expect(removed).toEqual([join(folder, 'round-00000200.safetensors'), join(folder, 'round-00000100.safetensors')]);
    expect(await files()).toEqual(['best.safetensors', 'notes.txt', 'round-00000300.safetensors', 'round-00000400.safetensors']);
    expect((await readCheckpoint(join(folder, 'best.safetensors'))).checkpoint.round).toBe(100);
  });

  it('spares the file that it is told to', async () => {
    for (const round of [100, 200, 300]) await write(round);
    await pruneCheckpoints(folder, 1, join(folder, 'round-00000100.safetensors'));
    expect(await files()).toEqual(['round-00000100.safetensors', 'round-00000300.safetensors']);
  });

  it('never removes the last checkpoint', async () => {
    await write(100);
    expect(await pruneCheckpoints(folder, 0)).toEqual([]);
  });
});

describe('leaveBehindAfter', () => {
  const leave = (round: number) => leaveBehindAfter(folder, round, 'left', ['history.jsonl', 'absent.json']);

  it('moves later checkpoints, the best one too, to a folder from which the run can be continued, with copies of other files', async () => {
    for (const round of [100, 200]) await write(round);
    await write(300, true);
    await writeFile(join(folder, 'history.jsonl'), 'lines');
    expect(await checkpointRounds(folder)).toEqual([300, 200, 100]);
    const left = await leave(100);
    expect(await files()).toEqual(['history.jsonl', 'left', 'round-00000100.safetensors']);
    expect((await readdir(left)).sort()).toEqual([
      'best.safetensors',
      'history.jsonl',
      'round-00000200.safetensors',
      'round-00000300.safetensors',
    ]);
    expect((await latestCheckpoint(left))?.checkpoint.round).toBe(300);
  });

  it('keeps a best model of before where it is, and overwrites nothing that was left behind earlier', async () => {
    await write(100, true);
    for (let time = 0; time < 2; time++) {
      await write(200);
      await leave(100);
    }
    expect(await files()).toEqual(['best.safetensors', 'left', 'left-2', 'round-00000100.safetensors']);
    for (const name of ['left', 'left-2']) expect(await readdir(join(folder, name))).toEqual(['round-00000200.safetensors']);
  });

  it('moves nothing when no checkpoint would be left', async () => {
    await write(200, true);
    await expect(leave(100)).rejects.toMatchObject({ code: 'not_found' });
    expect(await files()).toEqual(['best.safetensors', 'round-00000200.safetensors']);
  });
});
