import { execFile } from 'node:child_process';
import fs from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createToken, createTokenJudge, MAX_TOKENS, NO_ACCESS, revokeTokens, type TokenEntry } from '../src/access.js';
import {
  changeAccess,
  MAX_FILE_BYTES,
  MAX_LABEL_LENGTH,
  parseAccess,
  printAccess,
  readAccess,
  readAccessText,
  stampOf,
} from '../src/file.js';
import { MAX_LINKS } from '../src/token.js';
import { chanceAt, DAY_MS } from './fixture.js';

const WORKER = { scope: 'worker', label: 'room 3', lifetimeMs: DAY_MS, maxLinks: 4 } as const;
const create = (file: string) => changeAccess(file, (before) => createToken(before, WORKER, chanceAt()));
const unusable = (why: RegExp) =>
  expect.objectContaining({ code: 'bad_access_file', message: expect.stringMatching(why), remedy: expect.stringMatching(/./) });

let folder = '';
let file = '';
beforeEach(async () => {
  folder = await fs.mkdtemp(path.join(os.tmpdir(), 'troupe-access-'));
  file = path.join(folder, 'runs', 'access.json');
});
afterEach(() => fs.rm(folder, { recursive: true, force: true }));

describe('the access file', () => {
  it('is made with its folder by the first change, and its tokens are recognised from what it holds', async () => {
    const { token, state } = await create(file);
    expect(await readAccess(file)).toEqual(state);
    expect(createTokenJudge(await readAccess(file)).recognise(token)).toMatchObject({ scope: 'worker', maxLinks: 4 });
  });

  it('holds neither a token nor its signature', async () => {
    const { token } = await create(file);
    const text = await fs.readFile(file, 'utf8');
    for (const part of token.split('.').slice(1)) expect(text).not.toContain(part);
  });

  it.skipIf(process.platform === 'win32')('can be read by its owner alone, whatever the umask', async () => {
    const before = process.umask(0);
    try {
      await create(file);
      await create(file);
    } finally {
      process.umask(before);
    }
    expect((await fs.stat(file)).mode & 0o777).toBe(0o600);
  });

  it.skipIf(process.platform === 'win32')(
    'is known to be exposed if others can read it, or replace it in its folder',
    async () => {
      const exposure = async (at = file) => (await readAccessText(at)).exposure;
      await create(file);
      expect(await exposure()).toBeUndefined();
      await fs.chmod(file, 0o640);
      expect(await exposure()).toEqual({ what: 'file', path: file });
      await fs.chmod(file, 0o600);
      for (const mode of [0o770, 0o707]) {
        await fs.chmod(path.dirname(file), mode);
        expect(await exposure()).toEqual({ what: 'folder', path: path.dirname(file) });
      }
      const link = path.join(folder, 'link.json');
      await fs.symlink(file, link);
      expect(await exposure(link)).toEqual({ what: 'folder', path: await fs.realpath(path.dirname(file)) });
      await fs.chmod(path.dirname(file), 0o1777);
      expect(await exposure()).toBeUndefined();
    },
  );

  it('has a stamp that differs when it has changed, and none while that cannot be told', async () => {
    await create(file);
    const later = () => Date.now() + 60_000;
    const stamp = await stampOf(file, later());
    expect(stamp).toBeDefined();
    expect(await stampOf(file, later())).toBe(stamp);
    await create(file);
    expect(await stampOf(file, later())).not.toBe(stamp);
    expect(await stampOf(file, Date.now())).toBeUndefined();
    expect(await stampOf(`${file}.gone`, later())).toBeUndefined();
  });

  it.skipIf(process.platform === 'win32')(
    'can still be read by its group if that could read it, and by nobody else',
    async () => {
      await create(file);
      await fs.chmod(file, 0o644);
      await create(file);
      expect((await fs.stat(file)).mode & 0o777).toBe(0o640);
    },
  );

  it.skipIf(process.getuid?.() !== 0)('keeps its owner when root changes it [needs root]', async () => {
    await create(file);
    await fs.chown(file, 1234, 1235);
    await create(file);
    expect(await fs.stat(file)).toMatchObject({ uid: 1234, gid: 1235 });
    expect((await readAccess(file)).tokens).toHaveLength(2);
  });

  it.skipIf(process.getuid?.() !== 0)('is left to its owner by others, with a command for it [needs root]', async () => {
    await create(file);
    // The caller may read the file, and write to its folder.
    for (const one of [folder, path.dirname(file)]) await fs.chmod(one, 0o777);
    await fs.chmod(file, 0o644);
    const text = await fs.readFile(file, 'utf8');
    const script = `
      const { changeAccess } = await import(${JSON.stringify(new URL('../dist/index.js', import.meta.url).href)});
      await changeAccess(${JSON.stringify(file)}, (state) => ({ state })).catch((error) => console.log(JSON.stringify(error)));`;
    const run = promisify(execFile)(process.execPath, ['--input-type=module', '-e', script], { uid: 1234, gid: 1235 });
    expect(JSON.parse((await run).stdout)).toMatchObject({
      code: 'cannot_write',
      remedy: "Run the same command as its owner: write sudo -u '#0' before it.",
    });
    expect(await fs.readFile(file, 'utf8')).toBe(text);
    expect(await fs.readdir(path.dirname(file))).toEqual(['access.json']);
  });

  it('leaves no other files', async () => {
    await create(file);
    expect(await fs.readdir(path.dirname(file))).toEqual(['access.json']);
  });

  it('loses no change of several at the same time', async () => {
    const made = await Promise.all(Array.from({ length: 12 }, () => create(file)));
    const { tokens } = await readAccess(file);
    expect(tokens.map(({ id }) => id).sort()).toEqual(made.map(({ entry }) => entry.id).sort());
  });

  it('stays as it is when a change fails, and takes the next one', async () => {
    await create(file);
    const text = await fs.readFile(file, 'utf8');
    await expect(changeAccess(file, (state) => ({ state: revokeTokens(state, ['ffffffffff'], 0) }))).rejects.toThrow(/no token/);
    expect(await fs.readFile(file, 'utf8')).toBe(text);
    await create(file);
    expect((await readAccess(file)).tokens).toHaveLength(2);
  });

  it('that is a link stays one', async () => {
    const real = path.join(folder, 'real.json');
    await create(real);
    await fs.mkdir(path.dirname(file));
    await fs.symlink(real, file);
    await create(file);
    expect((await fs.lstat(file)).isSymbolicLink()).toBe(true);
    expect((await readAccess(real)).tokens).toHaveLength(2);
  });

  it('that is a link to nothing yet is made where the link leads', async () => {
    const [real, between] = [path.join(folder, 'real.json'), path.join(folder, 'between.json')];
    await fs.mkdir(path.dirname(file));
    await fs.symlink('../between.json', file);
    await fs.symlink(real, between);
    await create(file);
    for (const link of [file, between]) expect((await fs.lstat(link)).isSymbolicLink()).toBe(true);
    expect((await readAccess(real)).tokens).toHaveLength(1);
    expect(await fs.readdir(folder)).toHaveLength(3);
  });

  it('that is a link to itself cannot be written', async () => {
    await fs.mkdir(path.dirname(file));
    await fs.symlink(file, file);
    await expect(create(file)).rejects.toThrow(expect.objectContaining({ code: 'cannot_write' }));
  });

  it('that is missing has neither keys nor tokens', async () => {
    expect(await readAccess(file)).toEqual(NO_ACCESS);
  });

  it('that another command seems to change is left alone, with a remedy', { timeout: 20_000 }, async () => {
    await create(file);
    await fs.writeFile(`${file}.lock`, '');
    await expect(create(file)).rejects.toThrow(
      expect.objectContaining({ code: 'cannot_write', remedy: expect.stringContaining(`rm -- ${file}.lock`) }),
    );
    expect((await readAccess(file)).tokens).toHaveLength(1);
  });

  it('in a folder that is a file cannot be written', async () => {
    const within = path.join(folder, 'file', 'access.json');
    await fs.writeFile(path.join(folder, 'file'), '');
    await expect(create(within)).rejects.toThrow(expect.objectContaining({ code: 'cannot_write' }));
  });

  it('that is a folder cannot be read', async () => {
    await fs.mkdir(file, { recursive: true });
    await expect(readAccess(file)).rejects.toThrow(unusable(/cannot be read: EISDIR/));
  });

  it('that is huge is not read', async () => {
    await fs.mkdir(path.dirname(file));
    await fs.writeFile(file, ' '.repeat(MAX_FILE_BYTES + 1));
    await expect(readAccess(file)).rejects.toThrow(unusable(/more than 8388608 bytes/));
  });

  it('that would be too large to be read again is not written', async () => {
    await create(file);
    const huge = { ...WORKER, label: 'x'.repeat(MAX_FILE_BYTES) };
    await expect(changeAccess(file, (before) => createToken(before, huge, chanceAt()))).rejects.toThrow(
      expect.objectContaining({ code: 'too_many_tokens' }),
    );
    expect((await readAccess(file)).tokens).toHaveLength(1);
  });

  it('can be read with as many tokens as there may be, and the longest labels', async () => {
    const { state } = createToken(
      NO_ACCESS,
      { ...WORKER, maxLinks: MAX_LINKS, label: '\u0001'.repeat(MAX_LABEL_LENGTH) },
      chanceAt(),
    );
    const token: TokenEntry = { ...state.tokens[0], expiresAtMs: Number.MAX_SAFE_INTEGER, revokedAtMs: Number.MAX_SAFE_INTEGER };
    const full = { ...state, tokens: Array<TokenEntry>(MAX_TOKENS).fill({ ...token, scope: 'volunteer' }) };
    await changeAccess(file, () => ({ state: full }));
    expect((await readAccess(file)).tokens).toHaveLength(MAX_TOKENS);
  });
});

describe('the content of an access file', () => {
  const { state } = createToken(NO_ACCESS, WORKER, chanceAt());
  const good = JSON.parse(printAccess(state));
  const [key] = good.keys;
  const [token] = good.tokens;

  it('is read as it was written', () => {
    expect(parseAccess(printAccess(state), 'f')).toEqual(state);
    expect(parseAccess(printAccess(NO_ACCESS), 'f')).toEqual(NO_ACCESS);
  });

  it.each([
    ['nothing', '', /not JSON/],
    ['half of it', printAccess(state).slice(0, 100), /not JSON/],
    ['null', 'null', /not as expected/],
    ['a list', '[]', /not as expected/],
    ['no version', JSON.stringify({ ...good, version: undefined }), /version is not as expected/],
    ['an older version', JSON.stringify({ ...good, version: 0 }), /version is not as expected/],
    ['a newer version', JSON.stringify({ version: 2, rings: [] }), /is of version 2, and this release reads version 1/],
    ['an unknown field', JSON.stringify({ ...good, more: 1 }), /more is not as expected/],
    ['a short secret', JSON.stringify({ ...good, keys: [{ ...key, secret: 'abc' }] }), /keys.0.secret/],
    ['two signing keys', JSON.stringify({ ...good, keys: [key, key] }), /keys is not as expected/],
    [
      'too many keys',
      JSON.stringify({ ...good, keys: Array(9).fill({ ...key, state: 'verifying' }) }),
      /keys is not as expected/,
    ],
    ['an unknown scope', JSON.stringify({ ...good, tokens: [{ ...token, scope: 'root' }] }), /tokens.0.scope/],
    ['an id that is a path', JSON.stringify({ ...good, tokens: [{ ...token, id: '../../etc' }] }), /tokens.0.id/],
    ['an expiry that is no number', JSON.stringify({ ...good, tokens: [{ ...token, expiresAtMs: 'never' }] }), /expiresAtMs/],
  ])('is refused if it is %s, and the error repeats nothing of it', (_, text, why) => {
    expect(() => parseAccess(text, 'runs/access.json')).toThrow(unusable(why));
    try {
      parseAccess(text, 'runs/access.json');
    } catch (error) {
      expect(`${(error as Error).message}`).not.toContain(key.secret);
    }
  });
});
