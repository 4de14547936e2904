/** Which text a run has, wherever the file lies and however it is spelled. */
import fs from 'node:fs/promises';
import path from 'node:path';
import { gzipSync } from 'node:zlib';
import { encodeCheckpoint, type Checkpoint } from '@troupe/checkpoint';
import { sha256, writeCheckpoint } from '@troupe/checkpoint/node';
import { takeCheckpoint } from '@troupe/conductor';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { prepare, type Preparation } from '../src/preparation.js';
import { parseSettings } from '../src/settings.js';
import { scratch } from './running.js';

const TEXT = 'Shall I compare thee to a summer’s day?\n'.repeat(200);
const SMALL = ['--hidden=8', '--batch=4', '--window=8', '--reproducible'];
let cwd: string;
let out: string;
beforeEach(async () => {
  cwd = await scratch();
  out = path.join(cwd, 'run');
});
afterEach(() => fs.rm(cwd, { recursive: true, force: true }));

async function write(name: string, content: string | Uint8Array): Promise<string> {
  const file = path.join(cwd, name);
  await fs.mkdir(path.dirname(file), { recursive: true });
  await fs.writeFile(file, content);
  return file;
}

async function prepared(...flags: string[]): Promise<Preparation> {
  const settings = parseSettings([`--out=${out}`, ...flags], {});
  const made = await prepare(settings, {}, AbortSignal.timeout(10_000), () => undefined);
  await made.folder.release();
  return made;
}

const firstCheckpoint = async (corpus: string): Promise<Checkpoint> =>
  takeCheckpoint((await prepared(`--corpus=${corpus}`, ...SMALL)).training, 3, '');

describe('a reproducible run', () => {
  it('writes the same bytes however the path of its text is spelled, and no path among them', async () => {
    const file = await write('texts/text.txt', TEXT);
    const bytes = encodeCheckpoint(await firstCheckpoint(file), sha256);
    const copies = [
      path.relative(process.cwd(), file),
      `${path.dirname(file)}/./../texts/text.txt`,
      await write('elsewhere/text.txt', `\ufeff${TEXT.replaceAll('\n', '\r\n')}`),
      await write('packed/text.txt.gz', gzipSync(TEXT)),
    ];
    for (const copy of copies) expect(sha256(encodeCheckpoint(await firstCheckpoint(copy), sha256))).toBe(sha256(bytes));
    expect(Buffer.from(bytes).includes('text.txt')).toBe(true);
    expect(Buffer.from(bytes).includes(path.basename(cwd))).toBe(false);
  });

  it('of an older release continues with the path that its checkpoint holds', async () => {
    const file = await write('text.txt', TEXT);
    const checkpoint = await firstCheckpoint(file);
    const { corpus } = checkpoint;
    await writeCheckpoint(out, { ...checkpoint, corpus: { ...corpus, name: file } });
    expect((await prepared('--resume')).training.corpus).toEqual({ ...corpus, name: file });
  });
});

describe('a resume whose text has moved', () => {
  it('says which text it needs and with which flag, and accepts it from there', async () => {
    const checkpoint = await firstCheckpoint(await write('text.txt', TEXT));
    await writeCheckpoint(out, checkpoint);
    await fs.rename(path.join(cwd, 'text.txt'), path.join(cwd, 'moved.txt'));
    await expect(prepared('--resume')).rejects.toMatchObject({
      name: 'SettingsError',
      message: expect.stringContaining('is not at text.txt'),
      remedy: expect.stringContaining('--corpus PATH'),
    });
    const resumed = await prepared('--resume', `--corpus=${path.join(cwd, 'moved.txt')}`);
    expect(resumed.training.corpus.name).toBe('text.txt');
  });
});

describe('a folder of texts', () => {
  it('is stored by its absolute path, and what is left out is noted', async () => {
    await write('book/a.txt', TEXT);
    const image = await write('book/b.png', Buffer.from('\x89PNG\r\n', 'latin1'));
    const { flags, notes, training } = await prepared(
      `--corpus=${path.relative(process.cwd(), path.join(cwd, 'book'))},sonnets`,
      ...SMALL,
    );
    expect(flags.afterwards.get('--corpus')).toBe(`${path.join(cwd, 'book')},sonnets`);
    expect(notes).toEqual([{ level: 'warn', text: expect.stringMatching(/b\.png is a PNG image.*left out/) as string }]);
    expect(notes[0].text).toContain(path.relative(process.cwd(), image));
    expect(training.corpus.name).toBe('book+sonnets');
  });
});
