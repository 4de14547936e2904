/** One coordinator with thousands of workers: whether it loses any, how soon it answers, and what an idle worker costs it. */
import process from 'node:process';
import { fileURLToPath } from 'node:url';
import { setTimeout as delay } from 'node:timers/promises';
import { COORDINATOR, NODE_FLAGS, residentBytes, start } from '../communication/null-run.mjs';
import { decimal, ms } from '../report.mjs';
import { runFlags, usualCorpus, withScratch } from '../runs.mjs';

export const title = 'Thousands of workers on one coordinator';
export const about =
  'A real coordinator, and workers in three further processes over loopback: idle ones, which have joined and wait, and active ones, whose engine ' +
  'sleeps 200 ms and which contribute to every round (1x32, one stream each). The control latency is the time from the hello of one more ' +
  "worker to its welcome, its connection included, measured every 50 ms for 30 s while rounds go on. The memory of an idle worker is the growth of the coordinator's resident " +
  'memory while they join.';

const CROWD = fileURLToPath(new URL('../communication/null-crowd.mjs', import.meta.url));
const IDLE = 2_000;
const ACTIVE = 500;
const ACTIVE_PROCESSES = 2;
const SLEEP_MS = 200;
const PROBE_MS = 30_000;
const SETTLE_MS = 5_000;
const LATENCY_GOAL_MS = 250;
const BYTES_GOAL = 50_000;

/** @param {import('../report.mjs').Options} options */
export async function measure({ quick, progress }) {
  if (process.platform !== 'linux') return { skipped: 'Only Linux tells the memory of another process.' };
  const scale = quick ? 10 : 1;
  const [idle, active] = [IDLE / scale, ACTIVE / scale];
  progress(`${idle} idle and ${active} active workers`);
  const result = await withScratch((out) => crowd(idle, active, quick ? PROBE_MS / 6 : PROBE_MS, out));
  return { tables: [tableOf(idle, active, result)], goals: goalsOf(result), notes: [], data: result };
}

/** @typedef {{ lost: number, p50Ms: number, p99Ms: number, worstMs: number, bytesPerIdle: number, roundMs: number, rounds: number }} Crowd */

/**
 * @param {number} idle
 * @param {number} active
 * @param {number} probeMs
 * @param {string} out
 * @returns {Promise<Crowd>}
 */
async function crowd(idle, active, probeMs, out) {
  const size = { layers: 1, hidden: 32, streams: active, window: 8 };
  const flags = ['--json', '--port=0', '--rounds=1000000', '--topology=star', ...runFlags(usualCorpus(), size, out)];
  const coordinator = start([...NODE_FLAGS, COORDINATOR, ...flags]);
  /** @type {ReturnType<typeof start>[]} */
  const others = [];
  const hire = (/** @type {readonly (string | number)[]} */ args) => {
    const process = start([...NODE_FLAGS, CROWD, ...args.map(String)]);
    others.push(process);
    return process;
  };
  /** @type {number[]} */
  const roundMs = [];
  let address = '';
  try {
    await coordinator.read((event) => {
      if (event.event === 'listening') address = `${event.address}/control`;
      return address !== '';
    });
    void coordinator.read((event) => (event.event === 'round' && roundMs.push(event.roundMs), false)).catch(() => {});
    await delay(SETTLE_MS);
    const before = residentBytes(coordinator.pid);
    const idlers = hire([address, idle, 0, SLEEP_MS, 0]);
    await answerOf(idlers, 'joined');
    await delay(SETTLE_MS);
    const bytesPerIdle = (residentBytes(coordinator.pid) - before) / idle;
    const each = active / ACTIVE_PROCESSES;
    const actives = Array.from({ length: ACTIVE_PROCESSES }, () => hire([address, 0, each, SLEEP_MS, 0]));
    await Promise.all(actives.map((process) => answerOf(process, 'joined')));
    await delay(SETTLE_MS);
    const warm = roundMs.length;
    const { probesMs } = await answerOf(hire([address, 0, 0, SLEEP_MS, probeMs]), 'probesMs');
    const rounds = roundMs.slice(warm).sort((a, b) => a - b);
    const sorted = [...probesMs].sort((a, b) => a - b);
    const at = (/** @type {number} */ part) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))];
    const lost = (await Promise.all([idlers, ...actives].map(lostBy))).reduce((sum, each) => sum + each, 0);
    const roundMedian = rounds[Math.floor(rounds.length / 2)];
    return { lost, p50Ms: at(0.5), p99Ms: at(0.99), worstMs: at(1), bytesPerIdle, roundMs: roundMedian, rounds: rounds.length };
  } finally {
    await Promise.all([...others, coordinator].map((process) => process.end()));
  }
}

/** Workers of this process that have lost a link. @param {ReturnType<typeof start>} worker @returns {Promise<number>} */
async function lostBy(worker) {
  const answer = answerOf(worker, 'lost');
  process.kill(worker.pid, 'SIGUSR1');
  return (await answer).lost;
}

/** @param {ReturnType<typeof start>} process @param {string} key @returns {Promise<any>} */
async function answerOf(process, key) {
  /** @type {any} */
  let answer;
  await process.read((line) => {
    if (key in line) answer = line;
    return answer !== undefined;
  });
  return answer;
}

/** @param {number} idle @param {number} active @param {Crowd} result */
function tableOf(idle, active, { lost, p50Ms, p99Ms, worstMs, bytesPerIdle, roundMs, rounds }) {
  return {
    head: [
      'Idle',
      'Active',
      'Lost',
      'Latency, median',
      '99th percentile',
      'worst',
      'Memory of an idle worker',
      'A round',
      'Rounds',
    ],
    rows: [
      [
        String(idle),
        String(active),
        String(lost),
        ms(p50Ms),
        ms(p99Ms),
        ms(worstMs),
        `${decimal(bytesPerIdle / 1000, 1)} kB`,
        ms(roundMs),
        String(rounds),
      ],
    ],
  };
}

/** @param {Crowd} result */
function goalsOf({ lost, p99Ms, bytesPerIdle }) {
  return [
    { text: `${lost} workers are lost (goal: none)`, met: lost === 0, binding: false },
    {
      text: `the 99th percentile of the control latency is ${ms(p99Ms)} (goal: at most ${LATENCY_GOAL_MS} ms)`,
      met: p99Ms <= LATENCY_GOAL_MS,
      binding: false,
    },
    {
      text: `an idle worker takes ${decimal(bytesPerIdle / 1000, 1)} kB (goal: at most ${BYTES_GOAL / 1000} kB)`,
      met: bytesPerIdle <= BYTES_GOAL,
      binding: false,
    },
  ];
}
