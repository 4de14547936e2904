import fs from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { changeAccess, createToken, parseAccess, readAccessText, revokeTokens, rotateKeys } from '@troupe/access';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { openAccessFile } from '../../src/access/access-watch.js';
import { createSignedTokens, type SignedTokens } from '../../src/access/signed-tokens.js';
import { capTable, createCaps } from '../../src/server/caps.js';
import type { Note } from '../../src/server/notes.js';
import { scratch } from '../running.js';

// As they are, and counted.
vi.mock('@troupe/access', async (original) => {
  const real = await original<Record<'parseAccess' | 'readAccessText', (...args: unknown[]) => unknown>>();
  return { ...real, parseAccess: vi.fn(real.parseAccess), readAccessText: vi.fn(real.readAccessText) };
});

let folder = '';
let file = '';
let tokens: SignedTokens;
let notes: Note[];
let over: AbortController;

beforeEach(async () => {
  folder = await scratch();
  file = path.join(folder, 'access.json');
  tokens = createSignedTokens({
    caps: createCaps(capTable(1)),
    now: Date.now,
    nowMs: () => performance.now(),
    program: 'troupe',
  });
  [notes, over] = [[], new AbortController()];
});
afterEach(async () => {
  over.abort(new Error('the test is over'));
  await fs.rm(folder, { recursive: true, force: true });
});

const open = (isNamed = false) =>
  openAccessFile({
    file,
    isNamed,
    program: 'troupe',
    tokens,
    signal: over.signal,
    onNote: (note) => notes.push(note),
    everyMs: 20,
  });
const random = (bytes: number) => crypto.getRandomValues(new Uint8Array(bytes));
const make = async (lifetimeMs = 60_000) => {
  const request = { scope: 'worker', label: '', lifetimeMs } as const;
  return changeAccess(file, (before) => createToken(before, request, { nowMs: Date.now(), random }));
};
const verdict = (token: string): string => {
  try {
    return tokens.check(token).scope;
  } catch (error) {
    return (error as { code: string }).code;
  }
};
const until = (token: string, wanted: string) => expect.poll(() => verdict(token), { timeout: 10_000 }).toBe(wanted);
const texts = () => notes.map(({ text }) => text).join('\n');

describe('the access file of a coordinator', () => {
  it('is read at the start', async () => {
    const { token } = await make();
    await open();
    expect(verdict(token)).toBe('worker');
    expect(notes).toEqual([]);
  });

  it('may be missing, and is read when it appears', async () => {
    await open();
    await delay(60);
    expect(notes).toEqual([]);
    const { token } = await make();
    await until(token, 'worker');
    expect(texts()).toBe('the access file has changed (tokens: 1, valid: 1)');
  });

  it('that is missing although somebody has named it is mentioned', async () => {
    await open(true);
    expect(notes).toEqual([
      {
        level: 'info',
        text: `the access file ${file} does not exist yet`,
        remedy: `The first token makes it: troupe token create --scope worker --access-file ${file}`,
      },
    ]);
  });

  it('is read again when a token is revoked, and its links end', async () => {
    const { token, entry } = await make();
    await open();
    const hold = tokens.hold(tokens.check(token));
    await changeAccess(file, (before) => ({ state: revokeTokens(before, [entry.id], Date.now()) }));
    await until(token, 'token_revoked');
    expect(hold.ended.reason).toMatchObject({ code: 'token_revoked' });
  });

  it('is read again when the key changes: earlier tokens stay valid, or are revoked', async () => {
    const first = await make();
    await open();
    await changeAccess(file, (before) => ({ state: rotateKeys(before, false, { nowMs: Date.now(), random }) }));
    const second = await make();
    await until(second.token, 'worker');
    expect(verdict(first.token)).toBe('worker');
    await changeAccess(file, (before) => ({ state: rotateKeys(before, true, { nowMs: Date.now(), random }) }));
    await until(second.token, 'token_revoked');
    expect(verdict(first.token)).toBe('token_revoked');
  });

  it('ends the links of a token that expires, although the file does not change', async () => {
    const { token } = await make(1);
    await open();
    const hold = tokens.hold(tokens.check(token));
    await expect.poll(() => hold.ended.aborted, { timeout: 10_000 }).toBe(true);
    expect(hold.ended.reason).toMatchObject({ code: 'token_expired' });
  });

  it('that is broken later leaves what was valid, says so once, and is used again when it is mended', async () => {
    const { token, entry } = await make();
    await open();
    const good = await fs.readFile(file, 'utf8');
    await fs.writeFile(file, good.slice(0, 50));
    await expect.poll(texts, { timeout: 10_000 }).toMatch(/not JSON; the tokens and revocations from before stay/);
    await delay(100);
    expect(notes).toHaveLength(1);
    expect(notes[0]).toMatchObject({ level: 'warn', remedy: expect.stringMatching(/./) });
    expect(verdict(token)).toBe('worker');
    await fs.writeFile(file, good);
    await changeAccess(file, (before) => ({ state: revokeTokens(before, [entry.id], Date.now()) }));
    await until(token, 'token_revoked');
  });

  it('that is of a later release leaves what was valid', async () => {
    const { token } = await make();
    await open();
    await fs.writeFile(file, '{"version":2}');
    await expect.poll(texts, { timeout: 10_000 }).toMatch(/of version 2/);
    expect(verdict(token)).toBe('worker');
  });

  it('that is removed leaves what was valid, and says so', async () => {
    const { token } = await make();
    await open();
    await fs.rm(file);
    await expect.poll(texts, { timeout: 10_000 }).toMatch(/access file .* is gone/);
    expect(verdict(token)).toBe('worker');
  });

  it('that is broken at the start ends it: revocations would be forgotten', async () => {
    await fs.writeFile(file, 'nonsense');
    await expect(open()).rejects.toMatchObject({ name: 'SettingsError', code: 'bad_access_file', remedy: /rm -- / });
  });

  it('is parsed only if it has changed', async () => {
    const { token } = await make();
    await open();
    vi.mocked(parseAccess).mockClear();
    vi.mocked(readAccessText).mockClear();
    // It is so new that only its text can tell.
    await expect.poll(() => vi.mocked(readAccessText).mock.calls.length, { timeout: 10_000 }).toBeGreaterThan(3);
    expect(parseAccess).not.toHaveBeenCalled();
    expect(verdict(token)).toBe('worker');
  });

  it('is not even read unless it has changed since a while ago', async () => {
    const { entry, token } = await make();
    const now = Date.now.bind(Date);
    const clock = vi.spyOn(Date, 'now').mockImplementation(() => now() + 30_000);
    try {
      await open();
      vi.mocked(readAccessText).mockClear();
      await delay(200);
      expect(readAccessText).not.toHaveBeenCalled();
      await changeAccess(file, (before) => ({ state: revokeTokens(before, [entry.id], now()) }));
      await until(token, 'token_revoked');
    } finally {
      clock.mockRestore();
    }
  });

  it('that is broken is reported although it is read only once', async () => {
    await make();
    const now = Date.now.bind(Date);
    const clock = vi.spyOn(Date, 'now').mockImplementation(() => now() + 30_000);
    try {
      await open();
      await fs.writeFile(file, 'nonsense');
      await expect.poll(texts, { timeout: 10_000 }).toMatch(/not JSON/);
    } finally {
      clock.mockRestore();
    }
  });

  it.skipIf(process.platform === 'win32')('that others can read later is warned of, once', async () => {
    const { token } = await make();
    await open();
    await fs.chmod(file, 0o644);
    await expect.poll(texts, { timeout: 10_000 }).toMatch(/other users/);
    await delay(100);
    expect(notes).toHaveLength(1);
    expect(verdict(token)).toBe('worker');
  });

  it.skipIf(process.platform === 'win32')('in a folder where others can replace it is used, with a warning', async () => {
    const { token } = await make();
    await fs.chmod(folder, 0o777);
    await open();
    expect(verdict(token)).toBe('worker');
    expect(notes).toEqual([
      { level: 'warn', text: expect.stringMatching(/another access file/), remedy: `Type: chmod go-w ${folder}` },
    ]);
  });

  it.skipIf(process.platform === 'win32')('that others can read is used, with a warning', async () => {
    const { token } = await make();
    await fs.chmod(file, 0o644);
    await open();
    expect(verdict(token)).toBe('worker');
    expect(notes).toEqual([{ level: 'warn', text: expect.stringMatching(/other users/), remedy: `Type: chmod 600 ${file}` }]);
  });
});
