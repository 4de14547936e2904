import fs from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createToken, createTokenJudge, NO_ACCESS, revokeTokens } from '../src/access.js';
import { changeAccess, parseAccess, printAccess, readAccess, readAccessText } from '../src/file.js';
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
    expect((await readAccessText(file)).isExposed).toBe(false);
    await fs.chmod(file, 0o640);
    expect((await readAccessText(file)).isExposed).toBe(true);
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
    await fs.writeFile(file, ' '.repeat(5 * 1024 ** 2));
    await expect(readAccess(file)).rejects.toThrow(unusable(/more than 4194304 bytes/));
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
