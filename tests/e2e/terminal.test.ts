/** Terminals that are paused or closed, outputs that nobody reads, and a full disk behind an output. */
import { spawn } from 'node:child_process';
import fs from 'node:fs/promises';
import net, { type AddressInfo } from 'node:net';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, describe, expect, it } from 'vitest';
import { appOf, childrenOf, end, hasTerminals, root, scratch, signal, SMALL, start, type Running } from './troupe.js';

const TOKEN = 'a-token-of-this-test';
const isLinux = process.platform === 'linux';
if (!hasTerminals || !isLinux) it.skip('terminals: SKIPPED, they need Linux and python3', () => undefined);

const closers: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

async function folder(): Promise<string> {
  const cwd = await scratch();
  closers.push(() => fs.rm(cwd, { recursive: true, force: true }));
  return cwd;
}

async function freePort(): Promise<number> {
  const server = net.createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** The rounds done, by the API. @throws if the coordinator does not answer within 2 s */
async function roundOf(port: number): Promise<number> {
  const headers = { authorization: `Bearer ${TOKEN}` };
  const answer = await fetch(`http://127.0.0.1:${port}/api/run`, { headers, signal: AbortSignal.timeout(2_000) });
  return ((await answer.json()) as { round: number }).round;
}

async function roundAbove(port: number, round: number): Promise<number> {
  const deadline = Date.now() + 30_000;
  for (;;) {
    const now = await roundOf(port).catch(() => -1);
    if (now > round) return now;
    if (Date.now() > deadline) throw new Error(`round ${now} is not above ${round}`);
    await sleep(50);
  }
}

/** Much output in each round, so that the buffer of a paused terminal is soon full. */
const CHATTY = [...SMALL, '--eval-every', '1', '--sample-every', '1', '--checkpoint-every', '1', '--rounds', '1000000'];

function launch(cwd: string, args: readonly string[], isTerminal = true): Running {
  const running = start(args, { cwd, env: { TROUPE_TOKEN: TOKEN, TERM: 'xterm' }, terminal: isTerminal });
  closers.push(() => end(running));
  return running;
}

/** Ends a command in a terminal, and what it has started. */
async function endAll(pid: number): Promise<void> {
  for (const child of await childrenOf(pid)) await endAll(child.pid);
  signal(pid, 'SIGKILL');
}

describe.skipIf(!hasTerminals || !isLinux)('a paused terminal', () => {
  it.each(['train', 'coordinator'] as const)('delays neither the rounds nor the answers of %s', async (command) => {
    const [cwd, port] = [await folder(), await freePort()];
    const own = command === 'train' ? ['--workers', '1'] : [];
    const running = launch(cwd, [command, ...CHATTY, '--port', String(port), ...own]);
    closers.push(() => endAll(running.child.pid!));
    const inTerminals = command === 'train' ? [running] : [running, await launchWorker(cwd, port)];
    await roundAbove(port, 2);
    for (const { child } of inTerminals) child.kill('SIGUSR1');
    // The kernel keeps 64 KiB for a paused terminal, so the rounds must print more than that.
    const paused = await roundOf(port);
    for (const rounds of [100, 200, 300]) await roundAbove(port, paused + rounds);
    const round = await roundOf(port);
    running.child.kill('SIGUSR2');
    // Checkpoints may be skipped while one is written, so a later round does as well.
    const shown = (): number => Math.max(...[...running.text().matchAll(/round-(\d+)\./g)].map(([, saved]) => Number(saved)));
    await expect.poll(shown, { timeout: 20_000 }).toBeGreaterThanOrEqual(round);
  });

  async function launchWorker(cwd: string, port: number): Promise<Running> {
    await roundAbove(port, -1);
    const worker = launch(cwd, ['worker', `ws://127.0.0.1:${port}`, '--json', '--engine', 'wasm']);
    closers.push(() => endAll(worker.child.pid!));
    return worker;
  }

  it('does not hold up a command that is asked to stop', async () => {
    const [cwd, port] = [await folder(), await freePort()];
    const running = launch(cwd, ['coordinator', ...CHATTY, '--port', String(port), '--json']);
    closers.push(() => endAll(running.child.pid!));
    const worker = launch(cwd, ['worker', `ws://127.0.0.1:${port}`, '--engine', 'wasm'], false);
    await roundAbove(port, 2);
    running.child.kill('SIGUSR1');
    await roundAbove(port, (await roundOf(port)) + 40);
    running.child.kill('SIGINT');
    expect((await running.exited).code).toBe(0);
    expect((await worker.exited).code).toBe(0);
  });
});

it.skipIf(!isLinux)('a pipe that nobody reads delays neither rounds nor answers', async () => {
  const [cwd, port] = [await folder(), await freePort()];
  const command = [
    path.join(root, 'apps/cli/bin/troupe.mjs'),
    'train',
    ...CHATTY,
    '--workers',
    '1',
    '--json',
    '--port',
    String(port),
  ];
  const child = spawn(process.execPath, command, {
    cwd,
    env: { ...process.env, TROUPE_TOKEN: TOKEN },
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  closers.push(() => endAll(child.pid!));
  let round = await roundAbove(port, 2);
  for (let i = 0; i < 3; i++) {
    await sleep(1_000);
    round = await roundAbove(port, round + 5);
  }
});

describe.skipIf(!isLinux)('a full disk behind standard output', () => {
  it('stops no run, and makes it end with code 1 and a sentence', async () => {
    const cwd = await folder();
    const full = await fs.open('/dev/full', 'w');
    closers.push(() => full.close());
    const command = [
      path.join(root, 'apps/cli/bin/troupe.mjs'),
      'train',
      ...SMALL,
      '--rounds',
      '20',
      '--workers',
      '1',
      '--out',
      'run',
    ];
    const child = spawn(process.execPath, command, { cwd, stdio: ['ignore', full.fd, 'pipe'] });
    let errors = '';
    child.stderr!.on('data', (data) => (errors += String(data)));
    const code = await new Promise((resolve) => child.once('close', resolve));
    expect(errors).toMatch(/Standard output could not be written completely: ENOSPC/);
    expect(code).toBe(1);
    expect(await fs.readdir(path.join(cwd, 'run'))).toContain('round-00000020.safetensors');
  });
});

describe.skipIf(!isLinux)('a hang-up', () => {
  it('does not end a run under nohup', async () => {
    const [cwd, port] = [await folder(), await freePort()];
    const running = launch(cwd, ['train', ...CHATTY, '--workers', '1', '--port', String(port)], false);
    closers.push(() => endAll(running.child.pid!));
    const round = await roundAbove(port, 2);
    running.child.kill('SIGHUP');
    await roundAbove(port, round + 5);
    running.child.kill('SIGINT');
    expect((await running.exited).code).toBe(0);
  });

  it.skipIf(!hasTerminals)('saves and stops a run in a terminal', async () => {
    const [cwd, port] = [await folder(), await freePort()];
    const running = launch(cwd, ['train', ...CHATTY, '--workers', '1', '--port', String(port), '--out', 'run']);
    closers.push(() => endAll(running.child.pid!));
    await roundAbove(port, 2);
    const train = await appOf(running);
    signal(train, 'SIGHUP');
    expect((await running.exited).code).toBe(0);
    expect(running.text()).toContain('Stopped and saved at round');
  });
});
