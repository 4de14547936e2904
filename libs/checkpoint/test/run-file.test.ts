import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { readRunFile, writeRunFile } from '../src/node/index.js';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'troupe-run-file-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

describe('the flags beside the checkpoints', () => {
  const flags = new Map([
    ['--corpus', '/a b/c.txt'],
    ['--tensorboard', 'true'],
  ]);

  it('come back as they were written', async () => {
    await writeRunFile(folder, flags);
    expect(await readdir(folder)).toEqual(['run.json']);
    expect(await readRunFile(folder)).toEqual(flags);
  });

  it('are none where there is no file', async () => expect(await readRunFile(folder)).toEqual(new Map()));

  it.each(['{', 'null', '{"format":2,"flags":{}}', '{"format":1}', '{"format":1,"flags":{"--keep":3}}'])(
    'cannot be read from %s',
    async (text) => {
      await writeFile(join(folder, 'run.json'), text);
      await expect(readRunFile(folder)).rejects.toMatchObject({
        code: 'cannot_read',
        remedy: expect.stringMatching(/./) as string,
      });
    },
  );
});
