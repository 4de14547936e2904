import fs from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { createTokenJudge, readAccess } from '@troupe/access';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { troupe } from './fixtures/shell.js';

let folder = '';
let file = '';
beforeEach(async () => {
  folder = await fs.mkdtemp(path.join(os.tmpdir(), 'troupe-token-'));
  file = path.join(folder, 'access.json');
});
afterEach(() => fs.rm(folder, { recursive: true, force: true }));

/** Runs `troupe token ARGS` with the access file of the test. */
async function token(...args: string[]) {
  const session = troupe(['token', ...args, '--access-file', file]);
  const code = await session.exitCode;
  const { stdout, stderr } = session;
  return { code, stdout: stdout.text, stderr: stderr.text };
}
const json = async (...args: string[]) => JSON.parse((await token(...args, '--json')).stdout);
const known = async (text: string) => {
  const judge = createTokenJudge(await readAccess(file));
  const found = judge.recognise(text.trim());
  return found && { ...found, validity: judge.validity(found, Date.now()) };
};

describe('troupe token create', () => {
  it('prints the token alone on standard output, and what it is for beside it', async () => {
    const { code, stdout, stderr } = await token('create', '--scope', 'worker', '--max-links', '4', '--label', 'room 3');
    expect(code).toBe(0);
    expect(stdout).toMatch(/^troupe_v1\.[\w.-]+\n$/);
    const made = (await known(stdout))!;
    expect(made).toMatchObject({ scope: 'worker', maxLinks: 4, validity: 'valid' });
    expect(stderr).toContain(`Token ${made.id}: worker, 4 links at a time, valid until 20`);
    expect(stderr).toContain(file);
    expect(stderr).not.toContain(stdout.trim());
  });

  it('makes one that expires in a week unless it is told otherwise', async () => {
    const made = [await json('create', '--scope', 'viewer'), await json('create', '--scope', 'viewer', '--expires', '90m')];
    const minutes = made.map(({ expiresAt }) => Math.round((Date.parse(expiresAt) - Date.now()) / 60_000));
    expect(minutes).toEqual([7 * 24 * 60, 90]);
  });

  it('says how each scope is used', async () => {
    const said = async (scope: string): Promise<string> => (await token('create', '--scope', scope)).stderr;
    expect(await said('worker')).toContain('TROUPE_TOKEN=TOKEN troupe worker ws://HOST:7070');
    expect(await said('volunteer')).toContain('/join/#token=TOKEN');
    expect(await said('viewer')).toContain('7070/#token=TOKEN');
    expect(await said('admin')).toContain('7070/#admin=TOKEN');
  });
});

describe('troupe token list', () => {
  it('shows what there is, and no token', async () => {
    expect((await token('list')).stdout).toBe(`There are no tokens in ${file}.\n`);
    const made = [await json('create', '--scope', 'worker', '--label', 'room 3'), await json('create', '--scope', 'viewer')];
    await token('revoke', made[1].id);
    const { stdout } = await token('list');
    expect(stdout.split('\n').map((line) => line.split(/ {2,}/))).toEqual([
      ['ID', 'SCOPE', 'STATE', 'EXPIRES', 'LINKS', 'LABEL'],
      [made[0].id, 'worker', 'valid', expect.stringMatching(/^20\d\d-\d\d-\d\d \d\d:\d\d$/), 'any', 'room 3'],
      [made[1].id, 'viewer', 'revoked', expect.anything(), 'any'],
      [''],
    ]);
    const listed = await json('list');
    expect(listed.tokens).toMatchObject([
      { id: made[0].id, scope: 'worker', label: 'room 3', state: 'valid', expiresAt: made[0].expiresAt },
      { id: made[1].id, state: 'revoked', revokedAt: expect.stringMatching(/^20/) },
    ]);
    for (const { token: text } of made) {
      for (const part of text.split('.').slice(1)) expect(stdout + JSON.stringify(listed)).not.toContain(part);
    }
  });
});

describe('troupe token revoke', () => {
  it('revokes several at once', async () => {
    const made = [await json('create', '--scope', 'worker'), await json('create', '--scope', 'admin')];
    const { code, stdout } = await token('revoke', ...made.map(({ id }) => id));
    expect({ code, stdout }).toMatchObject({ code: 0, stdout: expect.stringMatching(/^Revoked .*links of them within seconds/) });
    for (const { token: text } of made) expect(await known(text)).toMatchObject({ validity: 'revoked' });
  });

  it('fails for an id that does not exist, and says how to see those that do', async () => {
    expect(await token('revoke', 'ffffffffff')).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/no token has the id ffffffffff\.\n.*troupe token list/) as string,
    });
  });
});

describe('troupe token rotate', () => {
  it('changes the key, and keeps earlier tokens unless it is told to revoke them', async () => {
    const first = await json('create', '--scope', 'worker');
    const { keyId } = await json('rotate');
    const second = await json('create', '--scope', 'worker');
    expect(await known(first.token)).toMatchObject({ validity: 'valid' });
    expect(await known(second.token)).toMatchObject({ validity: 'valid', keyId });
    expect((await token('rotate', '--revoke-old')).stdout).toContain('All earlier tokens are revoked.');
    for (const { token: text } of [first, second]) expect(await known(text)).toMatchObject({ validity: 'revoked' });
  });
});

it('a broken access file is an error with a remedy, and stays as it is', async () => {
  await fs.writeFile(file, '{"version":1,');
  for (const args of [['list'], ['create', '--scope', 'worker'], ['rotate'], ['revoke', 'ffffffffff']]) {
    expect(await token(...args)).toMatchObject({
      code: 1,
      stdout: '',
      stderr: expect.stringMatching(/is not JSON\.\n.*rm -- /) as string,
    });
  }
  expect(await fs.readFile(file, 'utf8')).toBe('{"version":1,');
});
