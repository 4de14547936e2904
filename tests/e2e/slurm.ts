/** Starts a real Slurm on this machine, without systemd: munge, a controller and two nodes, all as the user who runs the test. */
import { execFile, spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import fs from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { freePort } from './sshd.js';

export const HOW_TO_GET_SLURM = 'apt install slurm-wlm munge';

const SBIN = ['/usr/sbin', '/usr/local/sbin', '/sbin'];
const PATH = [process.env.PATH ?? '', ...SBIN].join(':');
const has = (program: string, flag: string): boolean => spawnSync(program, [flag], { env: { PATH } }).error === undefined;

export const hasSlurm = [
  ['munged', '--version'],
  ['slurmctld', '-V'],
  ['slurmd', '-V'],
  ['sbatch', '-V'],
].every(([program, flag]) => has(program, flag));

export interface Cluster {
  /** For the commands of Slurm. */
  readonly env: Readonly<Record<string, string>>;
  /** Runs one of them. @returns what it prints */
  slurm(program: string, ...args: readonly string[]): Promise<string>;
  stop(): Promise<void>;
}

const READY_MS = 30_000;
const STOP_MS = 5_000;

export async function startSlurm(folder: string): Promise<Cluster> {
  const config = path.join(folder, 'slurm.conf');
  await fs.writeFile(path.join(folder, 'munge.key'), randomBytes(128), { mode: 0o400 });
  await fs.mkdir(path.join(folder, 'state'));
  await fs.writeFile(config, settings(folder, [await freePort(), await freePort(), await freePort()]));
  const env = { SLURM_CONF: config, PATH };
  const children: ChildProcess[] = [];
  let log = '';
  const serve = (program: string, ...args: readonly string[]): void => {
    const child = spawn(program, args, { env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'pipe'] });
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => (log += chunk.toString()));
    children.push(child);
  };
  const file = (name: string): string => path.join(folder, name);
  serve(
    'munged',
    '--foreground',
    '--force',
    ...['key-file=munge.key', 'socket=munge.socket', 'pid-file=munged.pid', 'log-file=munged.log', 'seed-file=munged.seed'].map(
      (option) => `--${option.replace('=', `=${folder}/`)}`,
    ),
  );
  await until(
    async () => (await fs.stat(file('munge.socket')).catch(() => undefined)) !== undefined,
    () => log,
  );
  serve('slurmctld', '-D', '-f', config);
  for (const node of ['n1', 'n2']) serve('slurmd', '-D', '-N', node, '-f', config);
  const slurm = async (program: string, ...args: readonly string[]): Promise<string> =>
    (await promisify(execFile)(program, args, { env: { ...process.env, ...env } })).stdout;
  await until(
    async () => (await slurm('sinfo', '--noheader', '--format=%D %t').catch(() => '')).trim() === '2 idle',
    () => log,
  );
  return {
    env,
    slurm,
    async stop() {
      const ended = children.map((child) => new Promise((resolve) => child.once('exit', resolve)));
      for (const child of children) child.kill('SIGTERM');
      const late = setTimeout(() => children.forEach((child) => child.kill('SIGKILL')), STOP_MS);
      await Promise.all(ended);
      clearTimeout(late);
    },
  };
}

async function until(test: () => Promise<boolean>, log: () => string): Promise<void> {
  const deadline = Date.now() + READY_MS;
  while (!(await test())) {
    if (Date.now() > deadline) throw new Error(`Slurm does not start:\n${log()}`);
    await sleep(50);
  }
}

function settings(folder: string, [control, ...nodes]: readonly number[]): string {
  const host = os.hostname();
  const user = os.userInfo().username;
  return [
    'ClusterName=troupe',
    `SlurmctldHost=${host}(127.0.0.1)`,
    `SlurmctldPort=${control}`,
    `SlurmUser=${user}`,
    `SlurmdUser=${user}`,
    'AuthType=auth/munge',
    'CredType=cred/munge',
    `AuthInfo=socket=${folder}/munge.socket`,
    `StateSaveLocation=${folder}/state`,
    `SlurmdSpoolDir=${folder}/spool-%n`,
    `SlurmctldPidFile=${folder}/slurmctld.pid`,
    `SlurmdPidFile=${folder}/slurmd-%n.pid`,
    // Without systemd and control groups.
    'ProctrackType=proctrack/linuxproc',
    'TaskPlugin=task/none',
    'JobAcctGatherType=jobacct_gather/none',
    'AccountingStorageType=accounting_storage/none',
    'MpiDefault=none',
    'CommunicationParameters=NoCtldInAddrAny,NoInAddrAny',
    'SelectType=select/cons_tres',
    'SelectTypeParameters=CR_CPU',
    'SchedulerParameters=sched_interval=1,batch_sched_delay=0',
    ...nodes.map((port, i) => `NodeName=n${i + 1} NodeHostname=${host} NodeAddr=127.0.0.1 Port=${port} CPUs=2`),
    'PartitionName=lab Nodes=n[1-2] Default=YES MaxTime=60 State=UP',
    '',
  ].join('\n');
}
