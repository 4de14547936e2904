/** Starts the real command in real processes. */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import fs from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import readline from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

export const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../..');
const cli = path.join(root, 'apps/cli/bin/troupe.mjs');

export interface Exit {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** A JSON line. Every event of a run has a field `event`. */
export type Line = Record<string, unknown> & { event?: string };

export interface Running {
  readonly child: ChildProcess;
  /** JSON lines of standard output so far. */
  readonly lines: Line[];
  /** All of standard output so far. */
  text(): string;
  /** The first JSON line that matches, past or future. Rejects if the process ends without one. */
  line(test: (line: Line) => boolean): Promise<Line>;
  readonly exited: Promise<Exit>;
}

export interface StartOptions {
  readonly cwd: string;
  readonly env?: Record<string, string>;
  /** A shell command to run first: "ulimit -f 1". */
  readonly limits?: string;
  /** The command to run instead of the one of this clone. */
  readonly command?: string;
  /** Run in a terminal of its own: SIGUSR1 to the child pauses it, SIGUSR2 resumes it. */
  readonly terminal?: boolean;
  /** Words of a command that runs this one: ["ip", "netns", "exec", "lab"]. */
  readonly within?: readonly string[];
  /** Standard input is a pipe to write to; otherwise it is empty. */
  readonly hasInput?: boolean;
}

const terminal = path.join(root, 'tests/e2e/terminal.py');

/** Whether a test can run a command in a terminal. */
export const hasTerminals = spawnSync('python3', ['-c', 'import pty']).status === 0;

/** Starts `troupe ARGS` and reads its output, as JSON where lines are JSON. */
export function start(
  args: readonly string[],
  { cwd, env, limits, command = cli, terminal: inTerminal = false, within = [], hasInput = false }: StartOptions,
): Running {
  const words = [...within, ...(inTerminal ? ['python3', terminal] : []), process.execPath, command, ...args];
  const [program, ...rest] = limits === undefined ? words : ['bash', '-c', `${limits} && exec "$@"`, 'bash', ...words];
  const child = spawn(program, rest, {
    cwd,
    env: { ...process.env, NO_COLOR: '1', ...env },
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  if (!hasInput) child.stdin.end();
  const lines: Line[] = [];
  const waiting = new Set<() => void>();
  let [stdout, stderr, ended] = ['', '', false];
  const wake = (): void => waiting.forEach((look) => look());
  readline.createInterface({ input: child.stdout }).on('line', (text) => {
    stdout += `${text}\n`;
    try {
      lines.push(JSON.parse(text) as Line);
    } catch {
      // A line of text.
    }
    wake();
  });
  child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
  const exited = new Promise<Exit>((resolve) => {
    child.on('close', (code) => {
      ended = true;
      resolve({ code, stdout, stderr });
      wake();
    });
  });
  const line = (test: (line: Line) => boolean): Promise<Line> =>
    new Promise((resolve, reject) => {
      const look = (): void => {
        const found = lines.find(test);
        if (!found && !ended) return;
        waiting.delete(look);
        if (found) resolve(found);
        else reject(new Error(`troupe ${args.join(' ')} ended without the expected line:\n${stdout}\n${stderr}`));
      };
      waiting.add(look);
      look();
    });
  return { child, lines, text: () => stdout, line, exited };
}

/** Waits for the end. */
export const run = (args: readonly string[], options: StartOptions): Promise<Exit> => start(args, options).exited;

export async function scratch(): Promise<string> {
  return fs.mkdtemp(path.join(os.tmpdir(), 'troupe-e2e-'));
}

/** A model small enough for seconds of training. */
export const SMALL = [
  '--layers',
  '1',
  '--hidden',
  '32',
  '--batch',
  '8',
  '--window',
  '16',
  '--codec',
  'fp32',
  '--eval-every',
  '20',
  '--sample-every',
  '0',
];

export const at = (round: number) => (line: Line) => line.event === 'round' && (line.round as number) >= round;
export const named = (event: string) => (line: Line) => line.event === event;

/** Sends an order as an admin. @param address of the coordinator: "ws://127.0.0.1:7070", or http. Rejects if it is refused */
export async function steer(address: string, adminToken: string, action: string): Promise<void> {
  const headers = { authorization: `Bearer ${adminToken}`, 'content-type': 'application/json' };
  const url = new URL('/api/control', address.replace(/^ws/, 'http'));
  const answer = await fetch(url, { method: 'POST', headers, body: JSON.stringify({ action }) });
  if (!answer.ok) throw new Error(`${action} was refused: ${await answer.text()}`);
}

/**
 * Runs `meanwhile` while the run is paused. However fast the machine is, the run is not complete before it has ended.
 * @param address see steer
 */
export async function whilePaused(address: string, adminToken: string, meanwhile: () => Promise<unknown>): Promise<void> {
  await steer(address, adminToken, 'pause');
  await meanwhile();
  await steer(address, adminToken, 'resume');
}

/** Resolves when all workers of these names may have leases. */
export async function areReady({ line }: Running, names: readonly string[]): Promise<void> {
  const isOf = (worker: string) => (one: Line) => one.event === 'worker' && one.change === 'ready' && one.name === worker;
  await Promise.all(names.map((name) => line(isOf(name))));
}

/** The child processes of a process and their command lines, from /proc. */
export async function childrenOf(pid: number): Promise<{ pid: number; command: string }[]> {
  const pids = (await fs.readdir('/proc')).filter((name) => /^\d+$/.test(name));
  const found: { pid: number; command: string }[] = [];
  for (const candidate of pids) {
    try {
      const stat = await fs.readFile(`/proc/${candidate}/stat`, 'utf8');
      if (Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]) !== pid) continue;
      found.push({
        pid: Number(candidate),
        command: (await fs.readFile(`/proc/${candidate}/cmdline`, 'utf8')).replaceAll('\0', ' '),
      });
    } catch {
      // It has ended meanwhile.
    }
  }
  return found;
}

/** The app process of a command; with `train`, the one whose command line contains `word`. */
export async function appOf({ child, exited }: Running, word = ''): Promise<number> {
  let ended = false;
  void exited.then(() => (ended = true));
  for (;;) {
    const app = (await childrenOf(child.pid!)).find(({ command }) => command.includes(word));
    if (app) return app.pid;
    if (ended) throw new Error('the command ended before its app was found');
    await sleep(10);
  }
}

/** Kills a command and its app, even if the app is frozen. */
export async function end({ child }: Running): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  for (const { pid } of await childrenOf(child.pid!)) signal(pid, 'SIGKILL');
  child.kill('SIGKILL');
}

/** @returns whether the process existed */
export function signal(pid: number, name: NodeJS.Signals): boolean {
  try {
    return process.kill(pid, name);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return false;
    throw error;
  }
}
