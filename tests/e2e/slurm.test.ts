/** `troupe launch --slurm` with a real Slurm: a job that is refused, followed, found again after the launcher was killed, and cancelled. */
import fs from 'node:fs/promises';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { computes, is, processesWith } from './launched.js';
import { hasSlurm, HOW_TO_GET_SLURM, startSlurm, type Cluster } from './slurm.js';
import { freePort } from './sshd.js';
import { end, named, run, scratch, signal, SMALL, start, type Line, type Running } from './troupe.js';

const TOKEN = 'a-token-that-no-job-may-show';
const canRun = hasSlurm && process.platform === 'linux';
const missing = canRun ? '' : ` (SKIPPED: it needs Linux and Slurm: ${HOW_TO_GET_SLURM})`;

describe.skipIf(!canRun)(`troupe launch --slurm${missing}`, { timeout: 180_000 }, () => {
  let folder = '';
  let cluster: Cluster;
  const started: Running[] = [];

  beforeAll(async () => {
    folder = await scratch();
    cluster = await startSlurm(folder);
  }, 60_000);
  afterAll(async () => {
    for (const running of started) await end(running);
    for (const pid of await processesWith(folder)) signal(pid, 'SIGKILL');
    await cluster.stop();
    await fs.rm(folder, { recursive: true, force: true });
  });

  async function coordinate(name: string, rounds: string): Promise<{ readonly cwd: string; readonly address: string }> {
    const cwd = path.join(folder, name);
    await fs.mkdir(cwd);
    const port = await freePort();
    const flags = ['--port', `${port}`, ...SMALL, '--batch', '64', '--rounds', rounds, '--json'];
    const running = start(['coordinator', ...flags], { cwd, env: { TROUPE_TOKEN: TOKEN } });
    started.push(running);
    await running.line(named('listening'));
    return { cwd, address: `ws://127.0.0.1:${port}` };
  }

  const environment = () => ({ ...cluster.env, TROUPE_TOKEN: TOKEN, XDG_CACHE_HOME: path.join(folder, 'cache') });
  function launch({ cwd, address }: { readonly cwd: string; readonly address: string }, ...flags: readonly string[]): Running {
    const args = ['launch', address, '--slurm', '--threads', '1', '--engine', 'wasm', '--json', ...flags];
    const running = start(args, { cwd, env: environment() });
    started.push(running);
    return running;
  }
  const queue = async (): Promise<readonly string[]> =>
    (await cluster.slurm('squeue', '--noheader', '--array', '--format=%F_%K')).split('\n').filter(Boolean);

  it('shows the token nowhere, outlives its launcher, is found by the next one, and ends with it', async () => {
    const lab = await coordinate('lab', '10000000');
    const refused = await launch(lab, '--slurm-args', '--partition=nowhere').exited;
    expect(refused.code).toBe(1);
    expect(refused.stdout).toContain('Invalid partition name specified');
    expect(refused.stdout).toContain('sinfo -s lists them');
    expect(await queue()).toEqual([]);

    const slots = ['slurm/1', 'slurm/2', 'slurm/3'];
    const first = launch(lab, '--tasks', '3');
    await Promise.all(slots.map((slot) => first.line(computes(slot))));
    const job = (await first.line(named('job'))) as Line & { id: string; script: string };
    expect(job).toMatchObject({ tasks: 3, isAdopted: false });
    const shown = [
      await cluster.slurm('scontrol', 'show', '-dd', 'job', job.id),
      await cluster.slurm('scontrol', 'write', 'batch_script', `${job.id}_1`, '-'),
      await fs.readFile(job.script, 'utf8'),
      await fs.readFile(path.join(lab.cwd, 'runs/001/hosts/slurm-1.jsonl'), 'utf8'),
    ];
    for (const text of shown) {
      expect(text).not.toBe('');
      expect(text).not.toContain(TOKEN);
    }
    expect(await processesWith(TOKEN)).toEqual([]);
    const jobs = path.join(folder, 'cache/troupe/slurm');
    const [name] = await fs.readdir(jobs);
    expect((await fs.stat(path.join(jobs, name, 'order.json'))).mode & 0o777).toBe(0o600);

    const other = await launch(lab).exited;
    expect(other.stdout).toContain(`process ${first.child.pid}`);
    expect(other.code).toBe(1);

    first.child.kill('SIGKILL');
    await first.exited;
    const second = launch(lab, '--tasks', '3');
    expect(await second.line(named('job'))).toMatchObject({ id: job.id, tasks: 3, isAdopted: true });
    await Promise.all(slots.map((slot) => second.line(computes(slot))));
    expect(await queue()).toHaveLength(3);

    const [worker] = await processesWith('--name=slurm/1');
    signal(worker, 'SIGKILL');
    await second.line(is('restarting', 'slurm/1'));
    await cluster.slurm('scancel', `${job.id}_2`);
    expect(await second.line(is('failed', 'slurm/2'))).toMatchObject({ text: expect.stringContaining('cancelled') });

    second.child.kill('SIGINT');
    expect((await second.exited).code).toBe(0);
    expect(await queue()).toEqual([]);
    expect(await processesWith('--name=slurm/')).toEqual([]);
    expect(await fs.readdir(jobs)).toEqual([]);
  });

  it('ends when the run is over, also while tasks wait for a node', async () => {
    const short = await coordinate('short', '300');
    const done = launch(short, '--tasks', '5');
    expect(await done.line(is('waiting', 'slurm/5'))).toBeDefined();
    expect((await done.exited).code).toBe(0);
    expect(done.lines.some(is('done', 'slurm/1'))).toBe(true);
    expect(await queue()).toEqual([]);
  });

  it('says where to start it if there is no Slurm', async () => {
    const bare = path.join(folder, 'bare');
    await fs.mkdir(bare);
    const args = ['launch', 'ws://127.0.0.1:9', '--slurm'];
    const { code, stderr } = await run(args, { cwd: folder, env: { ...environment(), PATH: bare } });
    expect(code).toBe(1);
    expect(stderr).toMatch(/no Slurm here: squeue is not found[^]*login node/);
  });
});
