/**
 * The process of a Slurm task: supervises one worker. Its output file is the channel to the launcher, which may come and go; orders come
 * from the folder of the job.
 */
import { readFileSync } from 'node:fs';
import { availableParallelism, hostname } from 'node:os';
import path from 'node:path';
import { PassThrough } from 'node:stream';
import { EXIT, stopRequest } from '@troupe/process';
import { appPaths } from '../shell.js';
import { MARK_MS, markUsed } from './release-bytes.js';
import { FOLDER_VARIABLE, ORDER_FILE, type SlurmOrder } from './slurm.js';
import { supervise } from './supervisor.js';
import { BEAT_MS, encode, MARK, type FromHost } from './wire.js';

function write(message: FromHost): void {
  process.stdout.write(`${MARK}${JSON.stringify(message)}\n`);
}

function coresOf(env: NodeJS.ProcessEnv): number {
  return Number(env.SLURM_CPUS_ON_NODE) || availableParallelism();
}

const stop = stopRequest(process);
const folder = process.env[FOLDER_VARIABLE] ?? '';
const { order, slots, patienceMs, release } = JSON.parse(readFileSync(path.join(folder, ORDER_FILE), 'utf8')) as SlurmOrder;
const slot = slots[Number(process.env.SLURM_ARRAY_TASK_ID) - 1];
write({ at: 'host', platform: process.platform, arch: process.arch, node: process.versions.node, name: hostname() });

const orders = new PassThrough();
const beats = setInterval(() => orders.write(encode({ do: 'beat' })), BEAT_MS);
const marks = setInterval(() => markUsed(release), MARK_MS);
let patience: NodeJS.Timeout | undefined;

function giveUp(): void {
  const why = `the coordinator was not reached for ${patienceMs / 60_000} minutes, so the node was given back`;
  const remedy = 'Start the launch again when the coordinator runs.';
  write({ at: 'ended', slot: slot.name, how: 'given up', next: 'failed', why, remedy, retryInMs: 0 });
  process.exitCode = EXIT.failed;
  orders.write(encode({ do: 'stop' }));
}

/** Watches whether the worker takes part, and passes on what is news. */
function say(message: FromHost): void {
  if (message.at === 'beat') return;
  write(message);
  if (message.at === 'log' && message.entry.kind === 'ready') {
    clearTimeout(patience);
    patience = undefined;
  } else if (message.at === 'starting' || (message.at === 'log' && message.entry.kind === 'lost')) {
    patience ??= setTimeout(giveUp, patienceMs);
  } else if (message.at === 'held' || (message.at === 'ended' && message.next === 'failed')) process.exitCode = EXIT.failed;
}

markUsed(release);
orders.write(encode({ do: 'start', ...order, slots: [slot] }));
await supervise({
  orders,
  say,
  worker: appPaths().worker,
  env: process.env,
  cores: coresOf(process.env),
  now: () => performance.now(),
  random: Math.random,
  signal: stop.signal,
});
clearInterval(beats);
clearInterval(marks);
clearTimeout(patience);
