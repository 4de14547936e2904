/** A real coordinator and null workers, each a process of its own, and what they cost. */
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import { createInterface } from 'node:readline';
import { clearTimeout, setTimeout } from 'node:timers';
import { fileURLToPath } from 'node:url';
import { BenchError } from '../bench-error.mjs';
import { interruption } from '../interruption.mjs';
import { runFlags } from '../runs.mjs';

/** @typedef {import('../configs.mjs').Size} Size */
/** @typedef {{ cpuMs: number, mainMs: number, bytes: number }} Usage per round: of all threads, of the main thread, and bytes read and written */
/**
 * @typedef {object} NullRun
 * @property {readonly number[]} roundMs of each round
 * @property {readonly number[]} overheadMs of each round: all but the sleep of the slowest worker
 * @property {Usage | undefined} coordinator undefined where the system does not tell
 * @property {Usage | undefined} worker the mean over workers
 * @property {readonly [startUs: number, endUs: number]} window of the measured rounds, on the clock of CPU profiles
 */
/**
 * Where the processes run. The coordinator is machine 0, and worker k machine k.
 * @typedef {object} Network
 * @property {(machine: number) => readonly string[]} command that runs the rest of a command line on this machine
 * @property {(machine: number) => string} host its address
 */
/** @type {Network} */
const LOOPBACK = { command: () => [], host: () => '127.0.0.1' };

/**
 * @typedef {object} Plan
 * @property {Size} size
 * @property {number} workers
 * @property {number} [slow] further workers, a tenth as fast
 * @property {number} [msPerStream] what the engine sleeps for a stream; default: see null-worker.mjs
 * @property {string} corpus
 * @property {number} warmup rounds
 * @property {number} rounds measured
 * @property {boolean} [peers] whether the workers sum for each other
 * @property {Network} [network] default: this machine's loopback
 * @property {readonly string[]} [flags]
 * @property {number} [deadlineMs] of the whole run
 * @property {string} [profiles] folder for a CPU profile of each process
 */

export const COORDINATOR = fileURLToPath(new URL('../../../apps/coordinator/dist/main.js', import.meta.url));
export const WORKER = fileURLToPath(new URL('./null-worker.mjs', import.meta.url));
/** As the command line starts them. */
export const NODE_FLAGS = ['--initial-heap-size=256'];
/** A token as long as one that other machines can try has to be. */
export const ENV = { ...process.env, TROUPE_TOKEN: 'a-token-of-the-benchmarks' };
const DEADLINE_MS = 180_000;
const KILL_MS = 20_000;
/** A slow worker sleeps this many times as long. */
const SLOWNESS = 10;
const CLOCK_TICK_MS = 10;

/**
 * @param {Plan} plan
 * @param {string} out folder of the run
 * @returns {Promise<NullRun>}
 * @throws {BenchError} `run_failed`, `deadline`
 */
export async function runNullWorkers(
  {
    size,
    workers,
    slow = 0,
    msPerStream = 0.25,
    corpus,
    warmup,
    rounds,
    peers = false,
    network = LOOPBACK,
    flags = [],
    deadlineMs,
    profiles,
  },
  out,
) {
  const node = [...NODE_FLAGS, ...(profiles === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${profiles}`])];
  const topology = `--topology=${peers ? 'peers' : 'star'}`;
  const args = ['--json', '--port=0', `--host=${network.host(0)}`, '--rounds=1000000', topology, ...runFlags(corpus, size, out)];
  const coordinator = start([...node, COORDINATOR, ...args, ...flags], network.command(0));
  /** @type {Process[]} */
  const members = [];
  /** @type {number[]} */
  const roundMs = [];
  /** @type {number[]} */
  const overheadMs = [];
  /** @type {Snapshot[] | undefined} */
  let before;
  let after = /** @type {Snapshot[]} */ ([]);
  let startUs = 0;
  let endUs = 0;
  let ready = 0;
  let summing = 0;
  let warm = 0;
  try {
    await coordinator.read((event) => {
      if (event.event === 'listening')
        for (let i = 1; i <= workers + slow; i++) {
          const sleep = String(msPerStream * (i > workers ? SLOWNESS : 1));
          const listen = peers ? [network.host(i)] : [];
          members.push(start([...node, WORKER, `${event.address}/control`, `null-${i}`, sleep, ...listen], network.command(i)));
        }
      if (event.event === 'worker' && event.change === 'ready') ready++;
      if (event.event === 'decision' && event.decision.kind === 'topology') summing = event.decision.reducers.length;
      if (event.event !== 'round' || ready < workers + slow || summing < (peers ? workers : 0) || ++warm < warmup) return false;
      if (before === undefined) {
        before = [coordinator, ...members].map(usageOf);
        startUs = nowUs();
      } else {
        roundMs.push(event.roundMs);
        overheadMs.push(event.roundMs - event.timing.computeMs);
      }
      if (overheadMs.length < rounds) return false;
      after = [coordinator, ...members].map(usageOf);
      endUs = nowUs();
      return true;
    }, deadlineMs);
  } finally {
    await Promise.all([coordinator, ...members].map((process) => process.end()));
  }
  const perRound = difference(before ?? [], after, rounds);
  return { roundMs, overheadMs, coordinator: perRound[0], worker: mean(perRound.slice(1)), window: [startUs, endUs] };
}

/** V8's profiles use the monotonic clock, like process.hrtime. */
function nowUs() {
  return Number(process.hrtime.bigint() / 1000n);
}

/** @typedef {{ pid: number, read: (enough: (event: any) => boolean, deadlineMs?: number) => Promise<void>, end: () => Promise<void> }} Process */

/** @param {readonly string[]} args of node @param {readonly string[]} prefix runs what follows elsewhere @returns {Process} */
export function start(args, prefix = [], env = {}) {
  interruption.throwIfAborted();
  const [program, ...rest] = [...prefix, process.execPath, ...args];
  const child = spawn(program, rest, { stdio: ['ignore', 'pipe', 'pipe'], env: { ...ENV, ...env }, signal: interruption });
  let errors = '';
  child.stderr.on('data', (text) => (errors = `${errors}${text}`.slice(-2_000)));
  const closed = new Promise((resolve) => child.once('close', resolve));
  child.once('error', () => {});
  const failed = (/** @type {string} */ how) =>
    new BenchError('run_failed', `${args.join(' ')} ${how}:\n${errors}`, 'Run it by hand to see why.');
  return {
    pid: child.pid ?? 0,
    read: (enough, deadlineMs = DEADLINE_MS) =>
      new Promise((resolve, reject) => {
        const deadline = setTimeout(() => reject(failed(`took more than ${deadlineMs / 1000} s`)), deadlineMs);
        const settle = (/** @type {() => void} */ how) => {
          clearTimeout(deadline);
          how();
        };
        void closed.then(() => settle(() => reject(failed('ended early'))));
        createInterface({ input: child.stdout }).on('line', (line) => {
          if (line.startsWith('{') && enough(JSON.parse(line))) settle(resolve);
        });
      }),
    async end() {
      child.kill('SIGTERM');
      const killer = setTimeout(() => child.kill('SIGKILL'), KILL_MS);
      await closed;
      clearTimeout(killer);
    },
  };
}

/** Memory of another process; Linux only. The peak that Linux keeps includes the start of the process. @param {number} pid */
export function residentBytes(pid) {
  return 1024 * Number(/^VmRSS:\s+(\d+) kB/m.exec(fs.readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);
}

/** @typedef {{ cpuMs: number, mainMs: number, bytes: number } | undefined} Snapshot since the start of the process */

/** Only Linux tells it. @param {Process} process @returns {Snapshot} */
function usageOf({ pid }) {
  if (process.platform !== 'linux') return undefined;
  const io = fs.readFileSync(`/proc/${pid}/io`, 'utf8');
  const bytes = [...io.matchAll(/^[rw]char: (\d+)$/gm)].reduce((sum, [, count]) => sum + Number(count), 0);
  return { cpuMs: ticks(`/proc/${pid}/stat`), mainMs: ticks(`/proc/${pid}/task/${pid}/stat`), bytes };
}

/** Time in user and kernel mode, ms. @param {string} file */
function ticks(file) {
  const text = fs.readFileSync(file, 'utf8');
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) * CLOCK_TICK_MS;
}

/**
 * @param {readonly Snapshot[]} before
 * @param {readonly Snapshot[]} after
 * @param {number} rounds
 * @returns {Snapshot[]}
 */
function difference(before, after, rounds) {
  return after.map((then, i) => {
    const first = before[i];
    if (then === undefined || first === undefined) return undefined;
    const each = (/** @type {'cpuMs' | 'mainMs' | 'bytes'} */ key) => (then[key] - first[key]) / rounds;
    return { cpuMs: each('cpuMs'), mainMs: each('mainMs'), bytes: each('bytes') };
  });
}

/** @param {readonly Snapshot[]} usages @returns {Snapshot} */
function mean(usages) {
  const known = usages.flatMap((usage) => usage ?? []);
  if (known.length === 0) return undefined;
  const of = (/** @type {'cpuMs' | 'mainMs' | 'bytes'} */ key) =>
    known.reduce((sum, usage) => sum + usage[key], 0) / known.length;
  return { cpuMs: of('cpuMs'), mainMs: of('mainMs'), bytes: of('bytes') };
}
