import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { localHost } from '../../src/launch/hosts.js';
import { createTurns } from '../../src/launch/launch.js';
import { defaultLogFolder, logFileName, SlotLogs } from '../../src/launch/logs.js';
import { afterEnding, reconnectMs, threadsFor, workerArguments, type Ending } from '../../src/launch/restarts.js';
import { lockSlot } from '../../src/launch/slot-lock.js';

const ending = (more: Partial<Ending>): Ending => ({
  code: 1,
  wasKilled: false,
  hasJoined: true,
  ranMs: 1_000,
  failures: 0,
  ...more,
});
const [slot] = localHost(1, { engine: 'auto', threads: undefined }).slots;

describe('a worker that has ended', () => {
  it('is done with exit code 0', () => {
    expect(afterEnding(ending({ code: 0 }), 0)).toMatchObject({ next: 'done' });
  });

  it('starts again after pauses that double up to half a minute', () => {
    const pauses = [0, 1, 2, 3, 20].map((failures) => afterEnding(ending({ failures }), 0.999_999).retryInMs);
    expect(pauses).toEqual([500, 1_000, 2_000, 4_000, 30_000]);
    expect(afterEnding(ending({}), 0).retryInMs).toBe(250);
  });

  it('has short pauses again after a minute of health', () => {
    expect(afterEnding(ending({ failures: 9, ranMs: 60_000 }), 0)).toMatchObject({ next: 'restarts', failures: 1 });
  });

  it('is given up if the same flags would fail again', () => {
    expect(afterEnding(ending({ code: 2 }), 0)).toMatchObject({ next: 'failed' });
  });

  it('is given up if the coordinator has refused it for good, although it has joined before', () => {
    expect(afterEnding(ending({ code: 4 }), 0)).toMatchObject({ next: 'failed' });
  });

  it('is given up after five failures without ever joining; one that has joined never is', () => {
    expect(afterEnding(ending({ hasJoined: false, failures: 3 }), 0)).toMatchObject({ next: 'restarts' });
    expect(afterEnding(ending({ hasJoined: false, failures: 4 }), 0)).toMatchObject({ next: 'failed' });
    expect(afterEnding(ending({ failures: 400 }), 0)).toMatchObject({ next: 'restarts' });
  });

  it('is given up when it is killed five times in a row, for the sake of the machine', () => {
    expect(afterEnding(ending({ code: 137, wasKilled: true, failures: 3 }), 0)).toMatchObject({ next: 'restarts' });
    const last = afterEnding(ending({ code: 137, wasKilled: true, failures: 4 }), 0);
    expect(last).toMatchObject({ next: 'failed', why: expect.stringContaining('memory') });
  });
});

it('a host is connected to again after pauses of up to a minute', () => {
  expect([1, 2, 3, 50].map((failures) => reconnectMs(failures, 0.999_999))).toEqual([1_000, 2_000, 4_000, 60_000]);
});

describe('the threads of a worker', () => {
  it.each([
    [{}, 8, 8],
    [{ sharedBy: 3 }, 8, 2],
    [{ sharedBy: 16 }, 8, 1],
    [{ threads: 5 }, 2, 5],
    [{ engine: 'webgpu' as const }, 8, 1],
    [{ engine: 'tfjs' as const }, 8, 1],
    [{}, 1_000, 256],
  ])('of %j on %i cores are %i', (more, cores, threads) => {
    expect(threadsFor({ ...slot, ...more }, cores)).toBe(threads);
  });

  it('reach it with its name and its engine', () => {
    const args = workerArguments({ ...slot, gpu: false }, 'ws://lab:7070/control', 4);
    expect(args).toEqual(['ws://lab:7070/control', '--name=local/1', '--engine=auto', '--threads=4', '--no-gpu', '--json']);
  });

  it('come with the port on which it listens', () => {
    const listen = { at: 'lab-01:7081', tls: { cert: 'a.pem', key: 'a.key' } };
    const args = workerArguments({ ...slot, listen }, 'wss://lab:7070/control', 4);
    expect(args.slice(4)).toEqual(['--listen=lab-01:7081', '--tls-cert=a.pem', '--tls-key=a.key', '--json']);
    expect(workerArguments({ ...slot, listen: { at: '7080', tls: undefined } }, 'ws://lab/control', 4)).toContain(
      '--listen=7080',
    );
  });
});

describe('logs', () => {
  const folders: string[] = [];
  afterEach(() => folders.splice(0).forEach((folder) => rmSync(folder, { recursive: true, force: true })));
  const scratch = (): string => {
    folders.push(mkdtempSync(path.join(os.tmpdir(), 'troupe-logs-')));
    return folders.at(-1)!;
  };

  it('lie beside the checkpoints of the one run whose coordinator runs here', () => {
    const runs = scratch();
    for (const name of ['001', '002', '003']) mkdirSync(path.join(runs, name));
    expect(defaultLogFolder(runs)).toBe(path.join(runs, 'hosts'));
    writeFileSync(path.join(runs, '002', 'run.lock'), '');
    expect(defaultLogFolder(runs)).toBe(path.join(runs, '002', 'hosts'));
    writeFileSync(path.join(runs, '003', 'run.lock'), '');
    expect(defaultLogFolder(runs)).toBe(path.join(runs, 'hosts'));
    expect(defaultLogFolder(path.join(runs, 'missing'))).toBe(path.join(runs, 'missing', 'hosts'));
  });

  it.each([
    ['lab-01/2', 'lab-01-2.jsonl'],
    ['[fe80::1]:22/1', 'fe80-1-22-1.jsonl'],
    ['../../x/1', 'x-1.jsonl'],
  ])('of %s are in %s', (name, file) => {
    expect(logFileName(name)).toBe(file);
  });

  it('have every event, and one lease a minute', async () => {
    const folder = scratch();
    let ms = 0;
    const logs = new SlotLogs(
      folder,
      () => new Date(ms),
      (error) => expect.unreachable(error.message),
    );
    for (; ms <= 120_000; ms += 1_000) logs.write('a/1', { kind: 'computed', round: ms / 1_000 });
    logs.write('a/1', { kind: 'parked' });
    await logs.close();
    const lines = readFileSync(path.join(folder, 'a-1.jsonl'), 'utf8').trim().split('\n');
    expect(lines.map((line) => (JSON.parse(line) as { kind: string }).kind)).toEqual([
      'computed',
      'computed',
      'computed',
      'parked',
    ]);
  });

  it('that cannot be written are reported once', async () => {
    const folder = scratch();
    mkdirSync(path.join(folder, 'a-1.jsonl'));
    const errors: Error[] = [];
    const logs = new SlotLogs(
      folder,
      () => new Date(0),
      (error) => errors.push(error),
    );
    logs.write('a/1', { kind: 'parked' });
    await new Promise((resolve) => setTimeout(resolve, 100));
    logs.write('a/1', { kind: 'parked' });
    expect(errors).toHaveLength(1);
    await logs.close();
  });
});

describe('turns', () => {
  it('are given to a limited number of hosts at a time, and end with the launch', async () => {
    const turn = createTurns(2);
    const stop = new AbortController();
    const [first] = [await turn(stop.signal), await turn(stop.signal)];
    let [third, fourth] = ['waits', 'waits'];
    const one = turn(stop.signal).then(() => (third = 'has it'));
    const two = turn(stop.signal).catch(() => (fourth = 'gave up'));
    await new Promise((resolve) => setImmediate(resolve));
    expect(third).toBe('waits');
    first();
    first();
    await one;
    expect([third, fourth]).toEqual(['has it', 'waits']);
    stop.abort();
    await two;
    expect(fourth).toBe('gave up');
  });
});

describe('the lock of a slot', () => {
  const key = `ws://lock-test-${process.pid}:1/control`;
  const { signal } = new AbortController();
  const claim = (launch: string, onTakenOver = (): void => expect.unreachable('taken over')) =>
    lockSlot(key, 'a/1', { launch, by: `launch ${launch}`, onTakenOver }, signal);

  it('is refused to another launch, by the name of its holder, until it is free', async () => {
    const lock = await claim('one');
    expect('release' in lock).toBe(true);
    expect(await claim('two')).toEqual({ heldBy: 'launch one' });
    if ('release' in lock) lock.release();
    const next = await claim('two');
    expect('release' in next).toBe(true);
    if ('release' in next) next.release();
  });

  it('goes from a lost link to a later one of the same launch, once its workers are gone', async () => {
    let left = false;
    const lock = await claim('one', () => {
      setTimeout(() => {
        left = true;
        if ('release' in lock) lock.release();
      }, 200);
    });
    const next = await claim('one');
    expect(left).toBe(true);
    if ('release' in next) next.release();
  });
});
