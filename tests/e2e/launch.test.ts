/** `troupe launch` over a real sshd: workers that are killed, launchers that are killed, lost links, and hosts where something is missing. */
import { execFileSync } from 'node:child_process';
import fs from 'node:fs/promises';
import net from 'node:net';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { computes, is, processesWith } from './launched.js';
import { freePort, hasSshd, HOW_TO_GET_SSHD, startLab, type Lab } from './sshd.js';
import { childrenOf, end, named, run, scratch, signal, SMALL, start, type Line, type Running } from './troupe.js';

const TOKEN = 'a-token-that-nobody-may-see';
const canRun = hasSshd && process.platform === 'linux';
const missing = canRun ? '' : ` (SKIPPED: it needs Linux and sshd: ${HOW_TO_GET_SSHD})`;

/** What a host without Node has at least. */
const BASIC_TOOLS = ['sh', 'uname', 'mkdir', 'tar', 'gzip', 'rm', 'mv'];

function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const link = net.connect(port, '127.0.0.1', () => link.destroy()).on('error', () => resolve(false));
    link.on('connect', () => resolve(true));
  });
}

async function noneLeft(text: string, withinMs: number): Promise<void> {
  const deadline = Date.now() + withinMs;
  for (;;) {
    const left = await processesWith(text);
    if (left.length === 0) return;
    if (Date.now() > deadline) throw new Error(`left behind: ${left.join(', ')}`);
    await sleep(50);
  }
}

describe.skipIf(!canRun)(`troupe launch${missing}`, { timeout: 120_000 }, () => {
  let folder = '';
  let lab: Lab;
  let coordinator: Running;
  let address = '';
  const launches: Running[] = [];

  beforeAll(async () => {
    folder = await scratch();
    const env = { HOME: folder, XDG_CACHE_HOME: path.join(folder, 'cache') };
    const [bare, tools] = [await folderOf('bare', ['sh', 'uname']), await folderOf('tools', BASIC_TOOLS)];
    lab = await startLab(folder, [
      { name: 'lab-01', env },
      { name: 'lab-02', env },
      { name: 'no-node', env: { ...env, PATH: bare } },
      { name: 'only-tools', env: { ...env, XDG_CACHE_HOME: path.join(folder, 'cache-of-tools'), PATH: tools } },
      { name: 'no-cache', env: { ...env, XDG_CACHE_HOME: '/dev/null/cache' } },
      { name: 'unknown-key', env, settings: [`UserKnownHostsFile ${path.join(folder, 'no-keys')}`] },
      { name: 'no-login', env, key: 'stranger' },
      { name: 'is-down', env, settings: [`Port ${await freePort()}`] },
    ]);
    const port = await freePort();
    address = `ws://127.0.0.1:${port}`;
    coordinator = start(['coordinator', '--port', `${port}`, ...SMALL, '--batch', '64', '--rounds', '10000000', '--json'], {
      cwd: folder,
      env: { TROUPE_TOKEN: TOKEN },
    });
    await coordinator.line(named('listening'));
  });
  afterEach(async () => {
    for (const launch of launches.splice(0)) await end(launch);
    await noneLeft(`${address}/control`, 15_000);
  });
  afterAll(async () => {
    await end(coordinator);
    await lab.stop();
    await fs.rm(folder, { recursive: true, force: true });
  });

  /** A folder of programs without Node, which may lie beside sh. */
  async function folderOf(name: string, tools: readonly string[]): Promise<string> {
    const bin = path.join(folder, name);
    await fs.mkdir(bin);
    for (const tool of tools) await fs.symlink(`/bin/${tool}`, path.join(bin, tool));
    return bin;
  }

  async function launch(hosts: string, ...flags: readonly string[]): Promise<Running> {
    const file = path.join(folder, 'hosts.txt');
    await fs.writeFile(file, hosts);
    const args = ['launch', address, '--hosts', file, '--ssh-config', lab.config, '--json', ...flags];
    const running = start(args, { cwd: folder, env: { TROUPE_TOKEN: TOKEN } });
    launches.push(running);
    return running;
  }

  const HOSTS = 'lab-01 slots=2 threads=1 engine=wasm\nlab-02 threads=1 engine=wasm\n';
  const SLOTS = ['lab-01/1', 'lab-01/2', 'lab-02/1'];
  const allCompute = (running: Running) => Promise.all(SLOTS.map((slot) => running.line(computes(slot))));

  it('installs the release, computes, starts again what dies, and leaves nothing behind when it is killed', async () => {
    const running = await launch(HOSTS);
    await allCompute(running);
    expect(running.lines.some(({ state }) => state === 'copying')).toBe(true);
    expect(await processesWith(TOKEN)).toEqual([]);

    const [worker] = await processesWith('--name=lab-01/2');
    signal(worker, 'SIGKILL');
    await running.line(is('restarting', 'lab-01/2'));
    const restarted = running.lines.findIndex(is('restarting', 'lab-01/2'));
    await running.line((line) => running.lines.indexOf(line) > restarted && is('running', 'lab-01/2')(line));

    const log = await fs.readFile(path.join(folder, 'runs/001/hosts/lab-01-2.jsonl'), 'utf8');
    expect(log).toContain('"kind":"ready"');
    expect(log).toContain('signal SIGKILL');
    expect(log).not.toContain(TOKEN);

    running.child.kill('SIGKILL');
    await noneLeft('--name=lab-0', 10_000);
    await noneLeft(lab.config, 10_000);
  });

  it('copies nothing a second time, refuses workers that another launch has, and lets all leave on Ctrl-C', async () => {
    const port = await freePort();
    const first = await launch(`${HOSTS.trimEnd()} listen=127.0.0.1:${port}\n`);
    await allCompute(first);
    expect(await accepts(port)).toBe(true);
    expect(first.lines.filter(({ state }) => state === 'copying')).toEqual([]);

    const second = await launch(HOSTS);
    const { code, stderr } = await second.exited;
    expect(code).toBe(1);
    expect(
      second.lines
        .filter(({ state }) => state === 'failed')
        .map(({ who }) => who)
        .sort(),
    ).toEqual(SLOTS);
    expect(second.lines.find(is('failed', 'lab-01/1'))!.text).toContain(`process ${first.child.pid}`);
    expect(stderr).toContain('None of 3 workers');

    first.child.kill('SIGINT');
    expect((await first.exited).code).toBe(0);
    expect(await processesWith('--name=lab-0')).toEqual([]);
  });

  it('connects again when a link is lost, and takes over from the supervisor there', async () => {
    const running = await launch('lab-02 threads=1 engine=wasm\n');
    await running.line(computes('lab-02/1'));
    const ssh = (await childrenOf(running.child.pid!)).find(({ command }) => command.includes('lab-02'))!;
    signal(ssh.pid, 'SIGKILL');
    await running.line(is('waiting', 'lab-02'));
    const lost = running.lines.findLastIndex(is('waiting', 'lab-02'));
    await running.line((line) => running.lines.indexOf(line) > lost && computes('lab-02/1')(line));
    // What the old link had sent may be read late, before there is a new worker.
    await expect.poll(async () => (await processesWith('--name=lab-02/1')).length, { timeout: 20_000 }).toBe(1);
  });

  it('tells what is wrong with each host and what to do, while the others compute', async () => {
    const running = await launch(
      'no-node\nno-cache\nunknown-key\nno-login\nis-down\nno.such.host.invalid\nlab-02 threads=1 engine=wasm\n',
    );
    const because = async (state: string, who: string) => {
      const { text, remedy } = await running.line((line) => is(state, who)(line) && line.text !== undefined);
      return `${text as string}: ${remedy as string}`;
    };
    expect(await because('failed', 'no-node')).toMatch(/no Node.*nodejs\.org/s);
    expect(await because('failed', 'no-cache')).toMatch(/ENOTDIR/);
    expect(await because('failed', 'unknown-key')).toContain(`host key is not known here: Type this once`);
    expect(await because('failed', 'no-login')).toMatch(/accepts none of your keys.*ssh-add/s);
    expect(await because('failed', 'no.such.host.invalid')).toContain('line 6');
    expect(await because('waiting', 'is-down')).toMatch(/no ssh server answers.*tried again/s);
    await running.line(computes('lab-02/1'));
    running.child.kill('SIGINT');
    expect((await running.exited).code).toBe(0);
  });

  it('brings Node to a host that lacks it, once, and says what to do if that Node does not run there', async () => {
    const archive = path.join(folder, `node-v22.99.0-linux-${process.arch}.tar.gz`);
    await fs.mkdir(path.join(folder, 'node/bin'), { recursive: true });
    await fs.writeFile(path.join(folder, 'node/bin/node'), '#!/bin/sh\necho GLIBC_2.99 not found\nexit 1\n', { mode: 0o755 });
    execFileSync('tar', ['-czf', archive, '-C', folder, 'node']);
    const unfit = await launch('only-tools threads=1 engine=wasm\n', '--with-node', '--node-from', archive);
    expect((await unfit.exited).code).toBe(1);
    const { text, remedy } = unfit.lines.find(is('failed', 'only-tools'))!;
    expect(`${text as string}. ${remedy as string}`).toMatch(/does not run there: GLIBC_2\.99 not found.*--node-from FILE/);

    const first = await launch('only-tools threads=1 engine=wasm\n', '--with-node');
    expect(await first.line(is('copying', 'only-tools'))).toMatchObject({ text: `Node ${process.versions.node}` });
    await first.line(computes('only-tools/1'));
    first.child.kill('SIGINT');
    expect((await first.exited).code).toBe(0);

    const second = await launch('only-tools threads=1 engine=wasm\n');
    await second.line(computes('only-tools/1'));
    expect(second.lines.filter(({ state }) => state === 'copying')).toEqual([]);
    const cache = await fs.readdir(path.join(folder, 'cache-of-tools/troupe/launch'));
    expect(cache.filter((name) => name.startsWith('node-'))).toHaveLength(1);
    expect(cache.filter((name) => name.startsWith('.'))).toEqual([]);
  });

  it('gives up workers that the coordinator refuses, at the first answer, and says what to do', async () => {
    const args = ['launch', address, '--local', '2', '--threads', '1', '--engine', 'wasm', '--json'];
    const { code, stdout, stderr } = await run(args, { cwd: folder, env: { TROUPE_TOKEN: 'a-guess' } });
    expect(code).toBe(1);
    const states = stdout
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as Line);
    expect(states.filter(({ state }) => state === 'starting')).toHaveLength(2);
    const failed = states.filter(({ state }) => state === 'failed');
    const why = { text: 'the token is not valid for this run', remedy: expect.stringContaining('in TROUPE_TOKEN') };
    expect(failed).toEqual([expect.objectContaining(why), expect.objectContaining(why)]);
    expect(stderr).toContain('None of 2 workers');
  });

  it('refuses a hosts file with mistakes, and writes an example of a right one', async () => {
    const wrong = await launch('lab-01 thread=4\n');
    const { code, stderr } = await wrong.exited;
    expect(code).toBe(2);
    expect(stderr).toContain('line 1: thread is not a setting');
    const example = await run(['launch', '--init', '--hosts', 'example.txt'], { cwd: folder });
    expect(example.code).toBe(0);
    const again = await run(['launch', '--init', '--hosts', 'example.txt'], { cwd: folder });
    expect(again.code).toBe(2);
    expect(await fs.readFile(path.join(folder, 'example.txt'), 'utf8')).toContain('lab-01');
  });

  it('keeps workers on this machine, and ends when the run is over', async () => {
    const cwd = path.join(folder, 'short');
    await fs.mkdir(cwd);
    const port = await freePort();
    const short = start(['coordinator', '--port', `${port}`, ...SMALL, '--rounds', '200', '--json'], {
      cwd,
      env: { TROUPE_TOKEN: TOKEN },
    });
    await short.line(named('listening'));
    const args = ['launch', `ws://127.0.0.1:${port}`, '--local', '2', '--threads', '1', '--engine', 'wasm', '--json'];
    const local = await run(args, { cwd, env: { TROUPE_TOKEN: TOKEN } });
    expect(local.code).toBe(0);
    expect(local.stdout).toContain('"state":"done"');
    expect((await short.exited).code).toBe(0);
  });
});
