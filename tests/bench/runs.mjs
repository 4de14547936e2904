/** Whole runs through the command line that people use: `troupe ...` as a child process whose events are read as they arrive. */
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { clearTimeout, setTimeout } from 'node:timers';
import { fileURLToPath } from 'node:url';
import { CATALOGUE } from '@troupe/corpus/node';
import { BenchError } from './bench-error.mjs';
import { interruption } from './interruption.mjs';

/** @typedef {import('@troupe/run').RunEvent} RunEvent */
/** @typedef {Extract<RunEvent, { event: 'round' }> & { ready: number }} Round `ready`: workers that were ready when it began */
/** @typedef {Extract<RunEvent, { event: 'finished' }>} Finished */
/** @typedef {Extract<RunEvent, { event: 'evaluation' }>} Evaluation */

const TROUPE = fileURLToPath(new URL('../../apps/cli/bin/troupe.mjs', import.meta.url));
const TAIL_LINES = 8;
const KILL_MS = 20_000;

/**
 * @typedef {object} Command
 * @property {number} pid of the command, the parent of the app that does the work
 * @property {Promise<void>} ended resolves when it has succeeded. Rejects with BenchError `run_failed` or `deadline`.
 * @property {() => void} stop asks it to save and stop
 */

/**
 * Starts `troupe ARGS`. Each line of its standard output that is an object goes to `onMessage`.
 * @param {readonly string[]} args
 * @param {{ onMessage: (message: any) => void, deadlineMs: number, env?: Record<string, string>, under?: readonly string[] }} options
 * `under`: a program and its arguments that run the command, such as taskset
 * @returns {Command}
 */
export function startTroupe(args, { onMessage, deadlineMs, env = {}, under = [] }) {
  interruption.throwIfAborted();
  const [program, ...rest] = [...under, process.execPath, TROUPE, ...args];
  const child = spawn(program, rest, {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, ...env },
  });
  /** @type {string[]} */
  const tail = [];
  createInterface({ input: child.stderr }).on('line', (line) => tail.push(line));
  createInterface({ input: child.stdout }).on('line', (line) => {
    if (!line.startsWith('{')) return;
    const message = JSON.parse(line);
    if (message.event === 'error') tail.push(`${message.message} ${message.remedy}`);
    onMessage(message);
  });
  let late = false;
  const deadline = setTimeout(() => {
    late = true;
    stop();
  }, deadlineMs);
  /** @type {NodeJS.Timeout | undefined} */
  let killer;
  function stop() {
    if (child.exitCode !== null || child.signalCode !== null) return;
    child.kill('SIGTERM');
    killer ??= setTimeout(() => child.kill('SIGKILL'), KILL_MS);
  }
  interruption.addEventListener('abort', stop);
  const name = `troupe ${args.join(' ')}`;
  const ended = new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code, signal) => {
      clearTimeout(deadline);
      clearTimeout(killer);
      interruption.removeEventListener('abort', stop);
      if (late) reject(new BenchError('deadline', `${name} took more than ${deadlineMs / 1000} s`, 'Run it by hand to see why.'));
      // A process that is about to end by itself no longer handles the signal; `troupe` then ends with its code, 128 + 15.
      else if (code === 0 || (killer !== undefined && (signal === 'SIGTERM' || code === 143))) resolve(undefined);
      else
        reject(
          new BenchError(
            'run_failed',
            `${name} ended with ${signal ?? code}:\n  ${tail.slice(-TAIL_LINES).join('\n  ')}`,
            'Run it by hand to see why.',
          ),
        );
    });
  });
  // A caller that awaits it sees the error; not every caller does.
  ended.catch(() => {});
  return { pid: child.pid ?? 0, ended, stop };
}

/**
 * Runs `troupe train` to its end.
 * @param {readonly string[]} flags
 * @param {{ deadlineMs: number, enough?: (round: Round) => boolean, onEvaluation?: (evaluation: Evaluation) => void }} options
 * `enough`: true stops the run early
 * @returns {Promise<{ rounds: Round[], finished: Finished }>}
 * @throws {BenchError} `run_failed`, `deadline`
 */
export async function train(flags, { deadlineMs, enough = () => false, onEvaluation = () => {} }) {
  /** @type {Round[]} */
  const rounds = [];
  /** @type {Finished | undefined} */
  let finished;
  const onRound = readRounds((round) => {
    rounds.push(round);
    if (enough(round)) run.stop();
  });
  const run = startTroupe(['train', '--json', ...flags], {
    deadlineMs,
    onMessage: (/** @type {RunEvent} */ message) => {
      if (message.event === 'finished') finished = message;
      if (message.event === 'evaluation') onEvaluation(message);
      onRound(message);
    },
  });
  await run.ended;
  if (finished === undefined)
    throw new BenchError('run_failed', 'the run ended without a "finished" event', 'Run it by hand to see why.');
  return { rounds, finished };
}

/**
 * Starts the coordinator and the workers of a run separately, because workers report their times on their own standard output only.
 * @param {readonly string[]} flags
 * @param {{ workers: number, engine: string, deadlineMs: number, enough: (round: Round) => boolean }} options `enough`: true stops the run
 * @returns {Promise<Map<number, number[]>>} round (from 1) -> how long each worker computed its gradient, ms
 * @throws {BenchError} `run_failed`, `deadline`
 */
export async function trainByHand(flags, { workers, engine, deadlineMs, enough }) {
  const env = { TROUPE_TOKEN: 'bench' };
  /** @type {Map<number, number[]>} */
  const times = new Map();
  const onWorker = (/** @type {any} */ { kind, round, computeMs }) => {
    // A worker counts rounds from 0; the event of a round says how many are completed.
    if (kind === 'computed') times.set(round + 1, [...(times.get(round + 1) ?? []), computeMs]);
  };
  /** @type {Command[]} */
  const workerCommands = [];
  const onRound = readRounds((round) => {
    if (enough(round)) run.stop();
  });
  const run = startTroupe(['coordinator', '--json', '--port=0', ...flags], {
    deadlineMs,
    env,
    onMessage: (/** @type {RunEvent} */ message) => {
      onRound(message);
      if (message.event !== 'listening') return;
      for (let i = 1; i <= workers; i++) {
        const args = ['worker', message.address, '--json', `--name=bench-${i}`, `--engine=${engine}`];
        workerCommands.push(startTroupe(args, { onMessage: onWorker, deadlineMs, env }));
      }
      // Without its workers the run would stand still until the deadline.
      for (const { ended } of workerCommands) ended.catch(run.stop);
    },
  });
  try {
    await run.ended;
  } finally {
    for (const { stop } of workerCommands) stop();
    await Promise.allSettled(workerCommands.map(({ ended }) => ended));
  }
  await Promise.all(workerCommands.map(({ ended }) => ended));
  return times;
}

/**
 * Reads events and passes on rounds. A worker that has joined still has to set up its engine; `ready` counts those that have.
 * @param {(round: Round) => void} onRound
 * @returns {(message: RunEvent) => void}
 */
function readRounds(onRound) {
  /** @type {Set<string>} */
  const atWork = new Set();
  let ready = 0;
  return (message) => {
    if (message.event === 'worker' && message.change === 'ready') atWork.add(message.workerId);
    if (message.event === 'worker' && message.change === 'left') atWork.delete(message.workerId);
    if (message.event !== 'round') return;
    onRound({ ...message, ready: Math.min(ready, atWork.size) });
    ready = atWork.size;
  };
}

/** Flags for a run of rounds only, without validations, samples and checkpoints. @param {string} corpus @param {import('./configs.mjs').Size} size @param {string} out */
export function runFlags(corpus, { layers, hidden, streams, window }, out) {
  const values = {
    corpus,
    layers,
    hidden,
    batch: streams,
    window,
    out,
    seed: 1,
    'eval-every': 0,
    'sample-every': 0,
    'checkpoint-every': 0,
  };
  return Object.entries(values).map(([name, value]) => `--${name}=${value}`);
}

/** `tiny-shakespeare` if the folder TROUPE_CORPUS_DIR has it, else the built-in Sonnets. Downloads nothing. */
export function usualCorpus() {
  return corpusPath('tiny-shakespeare') === undefined ? 'sonnets' : 'tiny-shakespeare';
}

/** The path of a named corpus in the folder TROUPE_CORPUS_DIR. @param {string} wanted @returns {string | undefined} */
export function corpusPath(wanted) {
  const folder = process.env.TROUPE_CORPUS_DIR;
  const entry = CATALOGUE.find(({ name }) => name === wanted);
  if (folder === undefined || entry === undefined) return undefined;
  return [`${entry.name}.txt`, ...entry.fileNames].map((file) => path.join(folder, file)).find((file) => fs.existsSync(file));
}

/**
 * Calls `use` with a temporary folder and removes it afterwards.
 * @template T
 * @param {(folder: string) => Promise<T>} use
 */
export async function withScratch(use) {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'troupe-bench-'));
  try {
    return await use(folder);
  } finally {
    fs.rmSync(folder, { recursive: true, force: true });
  }
}
