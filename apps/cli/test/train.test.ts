import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import type { RunEvent } from '@troupe/run';
import { isAlive, pidsIn, standIns, troupe, until } from './fixtures/shell.js';

const folder = mkdtempSync(path.join(os.tmpdir(), 'troupe-cli-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const LONG = { TEST_ROUNDS: '100000' };

describe('troupe train', () => {
  it('shows what it trains, samples, and next steps for the checkpoint', async () => {
    const { stdout, stderr, exitCode } = troupe(['train', '--workers', '2'], { env: { TEST_WORKERS: '2' } });
    expect(await exitCode).toBe(0);
    expect(stderr.text).toBe('');
    expect(stdout.text).toContain('Training a character LSTM on sonnets');
    expect(stdout.text).toContain('206.0k parameters');
    expect(stdout.text).toMatch(/dashboard +http:\/\/127\.0\.0\.1:\d+/);
    expect(stdout.text).toMatch(/join with +TROUPE_TOKEN=made-up-token npm run troupe -- worker ws:\/\/127\.0\.0\.1:\d+/);
    expect(stdout.text).toMatch(/── sample at round 2 ─+\n {2}Shall I compare.*thee\n {2}to a summer\n─+\n/);
    expect(stdout.text).toContain('Finished 5 rounds');
    expect(stdout.text).toContain('validation    best 1.610 nats/char, after round 2; last 1.710');
    expect(stdout.text).toMatch(/training +2\.00 [▁-█]+ 0\.67 nats\/char/);
    expect(stdout.text).toMatch(/best model +runs\/001\/best\.safetensors\n/);
    expect(stdout.text.match(/round-00000005\.safetensors/g)).toHaveLength(1);
    expect(stdout.text).not.toContain('The pages stay open');
    expect(stdout.text).toMatch(/troupe sample --checkpoint runs\/001\/best\.safetensors\n/);
    expect(stdout.text).toMatch(/troupe eval --checkpoint runs\/001\/best\.safetensors\n/);
    expect(stdout.text).toMatch(/troupe train --resume --out runs\/001 --rounds 10\n/);
  });

  it('stays open in a terminal when the run is finished, says so, and ends with 0 on Ctrl-C', async () => {
    const { stdout, signals, exitCode } = troupe(['train', '--workers', '1'], { columns: 80, env: { NO_COLOR: '1' } });
    await until(() => stdout.text.includes('The pages stay open'), 'the end of the run');
    expect(stdout.text).toContain('Finished 5 rounds');
    expect(stdout.text).toMatch(/dashboard +http:\/\/127\.0\.0\.1:1\/#admin=a\n/);
    expect(stdout.text).toContain('--linger');
    signals.emit('SIGINT');
    expect(await exitCode).toBe(0);
    expect(stdout.text).not.toContain('saving');
    expect(pidsIn(stdout.text).filter(isAlive)).toEqual([]);
  });

  it.each([
    ['--exit-when-done in a terminal', ['--exit-when-done'], { columns: 80 }],
    ['--json in a terminal', ['--json'], { columns: 80 }],
    ['no terminal', [], {}],
  ])('ends with the run: %s', async (_, flags, options) => {
    const { exitCode } = troupe(['train', '--workers', '1', ...flags], options);
    expect(await exitCode).toBe(0);
  });

  it('stays open without a terminal if it is told to', async () => {
    const { stdout, signals, exitCode } = troupe(['train', '--workers', '1', '--keep-serving', '--json']);
    await until(() => stdout.text.includes('"serving"'), 'the end of the run');
    expect(stdout.text).not.toContain('--linger');
    signals.emit('SIGTERM');
    expect(await exitCode).toBe(0);
  });

  it('does not offer a loopback address to other machines', async () => {
    const { stdout, exitCode } = troupe(['train', '--workers', '1'], { env: { TEST_COORDINATOR: 'loopback' } });
    expect(await exitCode).toBe(0);
    expect(stdout.text).not.toContain('join with');
    expect(stdout.text).toMatch(/others +only this machine can join; start with --host 0\.0\.0\.0/);
  });

  it('leaves no child running', async () => {
    const { stdout, exitCode } = troupe(['train', '--workers', '2'], { env: { TEST_WORKERS: '2' } });
    await exitCode;
    const pids = pidsIn(stdout.text);
    expect(pids).toHaveLength(3);
    expect(pids.filter(isAlive)).toEqual([]);
  });

  it('passes the run flags to the coordinator as typed, and the token only in the environment', async () => {
    const argv = ['train', '--workers', '1', '--hidden', '5', '--resume', '--token', 'secret', '--out=a b'];
    const { stdout, exitCode } = troupe(argv);
    expect(await exitCode).toBe(0);
    expect(stdout.text).toMatch(/argv --hidden=5 --out=a b --resume --any-port --local-workers --json\n/);
    expect(stdout.text).toContain('TROUPE_TOKEN=secret npm run troupe -- worker');
  });

  it('passes the engine and its threads to the workers', async () => {
    const { stdout, exitCode } = troupe(['train', '--workers', '1', '--engine', 'wasm', '--threads', '2']);
    expect(await exitCode).toBe(0);
    expect(stdout.text).toMatch(/worker pid \d+ argv --engine=wasm --threads=2\n/);
  });

  it('lets only the first worker choose a GPU', async () => {
    const { stdout, exitCode } = troupe(['train', '--workers', '2'], { env: { TEST_WORKERS: '2' } });
    expect(await exitCode).toBe(0);
    expect(stdout.text.match(/argv --engine=auto --threads=1( --no-gpu)?\n/g)?.sort()).toEqual(
      ['argv --engine=auto --threads=1\n', 'argv --engine=auto --threads=1 --no-gpu\n'].sort(),
    );
  });

  it('starts one worker with a thread per core, and says so', async () => {
    const { stdout, exitCode } = troupe(['train']);
    expect(await exitCode).toBe(0);
    expect(pidsIn(stdout.text)).toHaveLength(2);
    expect(stdout.text).toMatch(/worker pid \d+ argv --engine=auto --threads=2\n/);
    expect(stdout.text).toMatch(/workers +1 worker with 2 threads on this machine \(one thread per core, faster than/);
  });

  it('starts a worker per core in a reproducible run, whose workers have one thread', async () => {
    const env = { TEST_WORKERS: '2', TEST_LEASE_STREAMS: '4' };
    const { stdout, exitCode } = troupe(['train'], { env });
    expect(await exitCode).toBe(0);
    expect(stdout.text).toMatch(/workers +2 workers on this machine \(workers of a reproducible run have one thread each\)/);
    expect(stdout.text.match(/argv --engine=auto --threads=1/g)).toHaveLength(2);
  });

  it('starts one worker for a GPU engine, and as many as fill the cores with --threads', async () => {
    const onGpu = troupe(['train', '--engine', 'webgpu']);
    expect(await onGpu.exitCode).toBe(0);
    expect(pidsIn(onGpu.stdout.text)).toHaveLength(2);
    const wide = troupe(['train', '--threads', '256']);
    expect(await wide.exitCode).toBe(0);
    expect(pidsIn(wide.stdout.text)).toHaveLength(2);
  });

  it('uses a given port', async () => {
    const { stdout, exitCode } = troupe(['train', '--workers', '1', '--port', '7171']);
    await exitCode;
    expect(stdout.text).toMatch(/argv --.* --port=7171 --any-port --local-workers --json\n/);
  });

  it('prints lines without control sequences on a terminal that knows none', async () => {
    const options = { env: { TEST_ROUNDS: '40', TERM: 'dumb' }, columns: 80 };
    const { stdout, exitCode } = troupe(['train', '--workers', '1', '--exit-when-done'], options);
    await exitCode;
    expect(stdout.text).toContain('Finished 40 rounds');
    // eslint-disable-next-line no-control-regex -- what is looked for is the escape sequence itself
    expect(stdout.text).not.toMatch(/\r|\x1b/);
  });

  it('redraws one line in place on a terminal, within its width', async () => {
    const options = { env: { TEST_ROUNDS: '40', NO_COLOR: '1' }, columns: 80 };
    const { stdout, exitCode } = troupe(['train', '--workers', '1', '--exit-when-done'], options);
    await exitCode;
    // eslint-disable-next-line no-control-regex -- what is looked for is the escape sequence itself
    const drawn = [...stdout.text.matchAll(/\r(\[[^\r\n]*?\] {2}\d+\/40.*?)\x1b\[K/g)].map(([, line]) => line);
    expect(drawn.length).toBeGreaterThan(1);
    expect(drawn.some((line) => line.includes('val 1.71') && line.includes('ETA'))).toBe(true);
    for (const line of drawn) expect(line.length).toBeLessThan(80);
  });

  it('lets no text from other machines control the terminal', async () => {
    const { stdout, exitCode } = troupe(['train', '--workers', '1', '--exit-when-done'], { env: { NO_COLOR: '1' }, columns: 80 });
    await exitCode;
    expect(stdout.text).not.toContain('\x1b[2J');
  });

  it('with --json writes only the events', async () => {
    const { stdout, stderr, exitCode } = troupe(['train', '--workers', '1', '--json']);
    expect(await exitCode).toBe(0);
    const events = stdout.text
      .trimEnd()
      .split('\n')
      .map((line) => (JSON.parse(line) as RunEvent).event);
    expect(events.filter((event) => event === 'round')).toHaveLength(5);
    expect(events.at(-1)).toBe('finished');
    expect(stderr.text).toBe('');
  });

  it('with --quiet writes only the end', async () => {
    const { stdout, exitCode } = troupe(['train', '--workers', '1', '--quiet']);
    expect(await exitCode).toBe(0);
    expect(stdout.text).toMatch(/^\nFinished 5 rounds/);
  });
});

describe('a worker that fails', () => {
  it('is restarted, and its output is shown', async () => {
    const env = { TEST_WORKER: 'dies once', TEST_MARKER: path.join(folder, 'marker') };
    const { stdout, exitCode } = troupe(['train', '--workers', '1'], { env });
    expect(await exitCode).toBe(0);
    expect(stdout.text).toContain('local-1: the engine caught fire');
    expect(stdout.text).toContain('worker local-1 ended (exit code 1); it is restarted');
    expect(stdout.text).toContain('Finished 5 rounds');
  });

  it('ends and saves the run if it fails too often and no other worker is left', async () => {
    const { stdout, stderr, exitCode } = troupe(['train', '--workers', '1'], { env: { TEST_WORKER: 'dies' } });
    expect(await exitCode).toBe(1);
    expect(stdout.text.match(/the engine caught fire/g)).toHaveLength(6);
    expect(stdout.text).toContain('failed too often and is not restarted');
    expect(stderr.text).toContain('No worker is left');
    expect(stderr.text).toContain('Continue from the last checkpoint: troupe train --resume --out runs/001');
  });

  it('names no checkpoint to continue from when none was saved', async () => {
    const env = { TEST_WORKER: 'dies', TEST_COORDINATOR: 'saves nothing' };
    const { stderr, exitCode } = troupe(['train', '--workers', '1'], { env });
    expect(await exitCode).toBe(1);
    expect(stderr.text).toContain('No checkpoint was saved yet: start the run again with the same command.');
    expect(stderr.text).not.toContain('--resume');
  });
});

describe('Ctrl-C', () => {
  it('saves, exits with 0, and says how to continue', async () => {
    const { stdout, signals, exitCode } = troupe(['train', '--workers', '1'], { env: LONG });
    await until(() => stdout.text.includes('sample at round'), 'a sample');
    signals.emit('SIGINT');
    expect(await exitCode).toBe(0);
    expect(stdout.text).toContain('saving; press Ctrl-C again to quit at once');
    expect(stdout.text).toMatch(/Stopped and saved at round \d+ of 100000/);
    expect(stdout.text).toMatch(/continue +troupe train --resume --out runs\/001\n/);
    expect(pidsIn(stdout.text).filter(isAlive)).toEqual([]);
  });

  it('kills a coordinator that does not stop when typed again', async () => {
    let now = 0;
    const options = { env: { ...LONG, TEST_COORDINATOR: 'hangs' }, shell: { now: () => now } };
    const { stdout, stderr, signals, exitCode } = troupe(['train', '--workers', '1'], options);
    await until(() => stdout.text.includes('sample at round'), 'a sample');
    signals.emit('SIGINT');
    now = 1000;
    signals.emit('SIGINT');
    expect(await exitCode).toBe(1);
    expect(stderr.text).toContain('ended at once, without saving');
    const pids = pidsIn(stdout.text);
    expect(pids).toHaveLength(2);
    await until(() => !pids.some(isAlive), 'the end of the children');
  });
});

describe('memory', () => {
  const machine = (gib: number) => ({ shell: { memory: () => ({ totalBytes: gib * 2 ** 30, freeBytes: gib * 2 ** 30 }) } });

  it('that is short is told before the run starts, with the workers that fit', async () => {
    const { stdout, exitCode } = troupe(['train', '--workers', '3'], { env: { TEST_WORKERS: '3' }, ...machine(0.5) });
    expect(await exitCode).toBe(0);
    expect(stdout.text).toMatch(/This run needs about 0\.\d GiB of memory for a coordinator and 3 workers/);
    expect(stdout.text).toMatch(/With --workers [12] it fits\./);
    expect(stdout.text.indexOf('This run needs')).toBeLessThan(stdout.text.indexOf('worker pid'));
  });

  it('that cannot hold the run refuses it', async () => {
    const { stderr, stdout, exitCode } = troupe(['train', '--workers', '2'], machine(0.001));
    expect(await exitCode).toBe(1);
    expect(stderr.text).toMatch(/needs about 0\.\d GiB of memory[^]*fewer --workers/);
    expect(stdout.text).not.toContain('worker pid');
  });

  it('is named when a worker is killed, which is not restarted for ever', async () => {
    const { stdout, stderr, exitCode } = troupe(['train', '--workers', '1'], { env: { TEST_WORKER: 'is killed' } });
    expect(await exitCode).toBe(1);
    expect(stdout.text.match(/\(signal SIGKILL\), most likely because the memory/g)).toHaveLength(3);
    expect(stderr.text).toMatch(/No worker is left[^]*a smaller --batch/);
  });
});

it('does not start a worker again that the coordinator refuses for good', async () => {
  const { stdout, stderr, exitCode } = troupe(['train', '--workers', '1'], { env: { TEST_WORKER: 'is refused' } });
  expect(await exitCode).toBe(1);
  expect(stdout.text.match(/The token is wrong/g)).toHaveLength(1);
  expect(stdout.text).toContain('worker local-1 ended (exit code 4); it would fail again and is not restarted');
  expect(stderr.text).toContain('No worker is left');
});

describe('troubles', () => {
  it('shows the error of the coordinator about wrong flags and exits with 2', async () => {
    const { stderr, exitCode } = troupe(['train', '--hidden', '0'], { env: { TEST_COORDINATOR: 'refuses flags' } });
    expect(await exitCode).toBe(2);
    expect(stderr.text).toBe('error: --hidden 0 is too small.\nGive 1 or more.\n');
  });

  it('ends with the exit code of a run that has diverged, which no service manager should repeat', async () => {
    const { stderr, exitCode } = troupe(['train'], { env: { TEST_COORDINATOR: 'diverges' } });
    expect(await exitCode).toBe(3);
    expect(stderr.text).toContain('the run has diverged');
  });

  it('shows the last output of a coordinator that crashed', async () => {
    const { stderr, exitCode } = troupe(['train'], { env: { TEST_COORDINATOR: 'crashes' } });
    expect(await exitCode).toBe(1);
    expect(stderr.text).toContain('The coordinator ended unexpectedly (exit code 7).\n  the floor is gone\n');
    expect(stderr.text).not.toMatch(/^ +at /m);
  });

  it('gives a remedy if the apps are not compiled', async () => {
    const coordinator = path.join(folder, 'absent.js');
    expect(existsSync(coordinator)).toBe(false);
    const { stdout, stderr, exitCode } = troupe(['train', '--json'], { shell: { apps: { ...standIns, coordinator } } });
    expect(await exitCode).toBe(1);
    expect(stderr.text).toMatch(/^error: .*absent\.js is missing\.\nRun "npm run build"/);
    const events = stdout.text
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as RunEvent);
    expect(events.at(-1)).toMatchObject({ event: 'error', code: 'not_built' });
  });

  it('shows a stack trace with TROUPE_DEBUG=1', async () => {
    const { stderr, exitCode } = troupe(['train'], { env: { TEST_COORDINATOR: 'crashes', TROUPE_DEBUG: '1' } });
    expect(await exitCode).toBe(1);
    expect(stderr.text).toMatch(/CliError: .*\n[^]*^ +at /m);
  });
});
