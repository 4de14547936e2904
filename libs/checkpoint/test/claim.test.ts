import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, readFile, readdir, rm, utimes, writeFile } from 'node:fs/promises';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { claimFolder, isLiving, LOCK, type FolderClaim, type Holder } from '../src/node/index.js';
import { birthOf, GONE, numberSpace, UNKNOWN } from '../src/node/process-birth.js';

let base: string;
let folder: string;
let claims: FolderClaim[];
const children: ChildProcess[] = [];

beforeEach(async () => {
  claims = [];
  base = await mkdtemp(join(tmpdir(), 'troupe-claim-'));
  folder = join(base, '001');
});
afterEach(async () => {
  for (const claim of claims) await claim.release();
  for (const child of children.splice(0)) child.kill('SIGKILL');
  await rm(base, { recursive: true, force: true });
});

async function claim(): Promise<FolderClaim> {
  const made = await claimFolder(folder, () => undefined);
  claims.push(made);
  return made;
}

/** A process that lives until it is killed. */
function living(): ChildProcess & { readonly pid: number } {
  const child = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)'], { stdio: 'ignore' });
  children.push(child);
  return child as ChildProcess & { pid: number };
}

async function lockOf(holder: { readonly [K in keyof Holder]?: Holder[K] | undefined }, silentMs = 0): Promise<void> {
  const space = await numberSpace();
  const whole = {
    id: 'other',
    pid: process.ppid,
    host: hostname(),
    space,
    birth: '',
    since: '2026-01-31T12:00:00.000Z',
    ...holder,
  };
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, LOCK), JSON.stringify(whole));
  const then = new Date(Date.now() - silentMs);
  await utimes(join(folder, LOCK), then, then);
}

describe('a claim on a folder', () => {
  it('creates the folder and leaves nothing in it after its release', async () => {
    const held = await claim();
    expect(held.takenFrom).toBeUndefined();
    expect(await readdir(folder)).toEqual([LOCK]);
    await held.check();
    await held.release();
    expect(await readdir(folder)).toEqual([]);
  });

  it('refuses a second one, names the holder, and says how to go on', async () => {
    await claim();
    await expect(claim()).rejects.toMatchObject({
      code: 'in_use',
      message: expect.stringContaining(`process ${process.pid} on ${hostname()}`),
      remedy: expect.stringMatching(new RegExp(`kill ${process.pid} .*--out`)),
    });
  });

  it('is refused while another process of this machine lives', async () => {
    const { pid } = living();
    await lockOf({ pid, birth: await birthOf(pid) }, 3_600_000);
    await expect(claim()).rejects.toMatchObject({ code: 'in_use' });
  });

  it('takes over from a process that was killed, and says from which', async () => {
    const child = living();
    await lockOf({ pid: child.pid, birth: await birthOf(child.pid) });
    const gone = once(child, 'exit');
    child.kill('SIGKILL');
    await gone;
    expect((await claim()).takenFrom).toMatchObject({ id: 'other', pid: child.pid });
    await expect(claim()).rejects.toMatchObject({ code: 'in_use' });
  });

  it.skipIf(process.platform !== 'linux')('takes over from a process whose number another one has now', async () => {
    await lockOf({ pid: process.ppid, birth: 'before the machine was restarted' });
    expect((await claim()).takenFrom?.birth).toBe('before the machine was restarted');
  });

  it.each([
    ['another machine or container', { space: 'elsewhere', pid: 1_000_000_000 }],
    ['a process whose birth the system does not tell', { pid: process.ppid, birth: UNKNOWN }],
  ])('waits for a sign of life from %s before it takes over, and names no process to kill', async (_, holder) => {
    await lockOf(holder, 30_000);
    const refusal = { code: 'in_use', remedy: expect.stringMatching(/^Stop it first\. .* 60 s/) };
    await expect(claim()).rejects.toMatchObject(refusal);
    await lockOf(holder, 90_000);
    expect((await claim()).takenFrom).toMatchObject(holder);
  });

  it('passes over leftovers that are no files', async () => {
    await mkdir(join(folder, '.x.tmp-1000000000'), { recursive: true });
    await claim();
    expect(await readdir(folder)).toContain('.x.tmp-1000000000');
  });

  it('notices that another process has taken the folder over, and leaves it the lock', async () => {
    const held = await claim();
    await lockOf({});
    await expect(held.check()).rejects.toMatchObject({ code: 'in_use' });
    await held.release();
    expect(JSON.parse(await readFile(join(folder, LOCK), 'utf8'))).toMatchObject({ id: 'other' });
  });

  it('is renewed when somebody removed the lock by hand', async () => {
    const held = await claim();
    await rm(join(folder, LOCK));
    await Promise.all([held.check(), held.check(), held.check()]);
    await expect(claim()).rejects.toMatchObject({ code: 'in_use' });
  });

  it('goes to one of many that ask at once', async () => {
    await lockOf({ pid: 1_000_000_000 });
    const results = await Promise.allSettled(Array.from({ length: 8 }, claim));
    expect(results.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
  });

  it('reports a folder that cannot be made', async () => {
    await writeFile(folder, '');
    await expect(claim()).rejects.toMatchObject({ code: 'cannot_write' });
  });
});

describe('isLiving', () => {
  const holder: Holder = { id: 'a', pid: 7, host: 'h', space: 'here', birth: 'b', since: '' };
  it.each([
    ['its process lives', holder, 'b', true],
    ['there is no such process', holder, GONE, false],
    ['another process has its number', holder, 'c', false],
    ['the system does not tell when the process began', holder, UNKNOWN, undefined],
    ['the holder did not know when it began', { ...holder, birth: UNKNOWN }, 'b', undefined],
    ['it cannot be understood', undefined, 'b', undefined],
    ['the process numbers are those of another machine', { ...holder, space: 'there' }, 'b', undefined],
  ])('the holder of a lock when %s', (_, of, birth, living) => {
    expect(isLiving(of, 'here', birth)).toBe(living);
  });
});
