/** What strangers can do to a run with many or small messages, idle links and silence: rounds, memory, and whether others still get in. */
import process from 'node:process';
import { clearInterval, setInterval } from 'node:timers';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { PROTOCOL_VERSION } from '@troupe/protocol';
import { COORDINATOR, ENV, NODE_FLAGS, residentBytes, start, WORKER } from '../communication/null-run.mjs';
import { decimal } from '../report.mjs';
import { runFlags, usualCorpus, withScratch } from '../runs.mjs';
import { listen, open, send } from './attacks/client.mjs';

export const title = 'Attacks with links and small messages';
export const about =
  'A real coordinator and four honest workers whose engines sleep, and an attacker in a process of its own that says that it comes from other addresses. ' +
  'Rounds per second are those during the attack, over the mean of those before and after it in the same run. Memory is what the coordinator grows by during the attack, without 50 kB for each of 2,000 idle members. ' +
  'Joins are workers with the right token that join run and all-reduce meanwhile, each within 10 s.';

const ATTACKER = fileURLToPath(new URL('./attacks/attacker.mjs', import.meta.url));
const SMALL = { layers: 1, hidden: 64, streams: 32, window: 16 };
const LARGE = { layers: 2, hidden: 512, streams: 32, window: 16 };
/** @typedef {{ name: string, size: import('../configs.mjs').Size, descriptors?: number, members?: number }} Case */
/** @type {readonly Case[]} */
const CASES = [
  { name: 'resync from one link', size: LARGE },
  { name: 'resync from 50 links', size: LARGE },
  { name: 'declines of no lease', size: SMALL },
  { name: 'not read by the coordinator', size: SMALL },
  { name: 'declines at will', size: SMALL },
  { name: 'empty maps', size: SMALL },
  { name: 'silent links', size: SMALL },
  { name: 'silent links', size: SMALL, descriptors: 512 },
  { name: 'silent sockets', size: SMALL, descriptors: 512 },
  { name: 'idle members', size: SMALL, members: 2_000 },
];
const WORKERS = 4;
const MS_PER_STREAM = 1;
const SPAN_MS = 6_000;
const SETTLE_MS = 3_000;
const JOINS = 10;
const JOIN_MS = 10_000;
const RATE_GOAL = 0.9;
const MEGABYTES_GOAL = 100;
/** What a member may take; see the part many-workers. */
const MEMBER_MEGABYTES = 0.05;

/** @param {import('../report.mjs').Options} options */
export async function measure({ quick, progress }) {
  if (process.platform !== 'linux') return { skipped: 'Only Linux tells the memory of another process.' };
  const results = [];
  for (const one of quick ? CASES.slice(2, 3) : CASES) {
    progress(nameOf(one));
    results.push({ name: nameOf(one), ...(await withScratch((out) => suffer(one, quick ? SPAN_MS / 6 : SPAN_MS, out))) });
  }
  return { tables: [tableOf(results)], goals: goalsOf(results), notes: [], data: results };
}

const nameOf = (/** @type {Case} */ { name, descriptors }) =>
  descriptors === undefined ? name : `${name}, ${descriptors} descriptors`;

/** @typedef {{ ratio: number, perSecond: number, megabytes: number, joins: number, tries: number, sent: number }} Suffered */

/**
 * @param {Case} one
 * @param {number} spanMs
 * @param {string} out
 * @returns {Promise<Suffered>}
 */
async function suffer({ name, size, descriptors, members = 0 }, spanMs, out) {
  const flags = [
    '--json',
    '--port=0',
    '--rounds=1000000',
    '--topology=star',
    '--behind-proxy',
    ...runFlags(usualCorpus(), size, out),
  ];
  const limited = descriptors === undefined ? [] : ['sh', '-c', `ulimit -n ${descriptors}; exec "$@"`, 'sh'];
  const coordinator = start([...NODE_FLAGS, COORDINATOR, ...flags], limited);
  /** @type {ReturnType<typeof start>[]} */
  const others = [];
  /** @type {ReturnType<typeof watchMemory> | undefined} */
  let memory;
  let [address, ready, rounds] = ['', 0, 0];
  const rate = async () => {
    const [from, startMs] = [rounds, performance.now()];
    await delay(spanMs);
    return ((rounds - from) * 1000) / (performance.now() - startMs);
  };
  try {
    await coordinator.read((event) => {
      if (event.event === 'listening') {
        ({ address } = event);
        for (let i = 0; i < WORKERS; i++)
          others.push(start([...NODE_FLAGS, WORKER, `${address}/control`, `null-${i}`, String(MS_PER_STREAM), 'alone']));
      }
      if (event.event === 'worker' && event.change === 'ready') ready++;
      return ready === WORKERS;
    });
    void coordinator.read((event) => (event.event === 'round' && rounds++, false)).catch(() => {});
    await delay(SETTLE_MS);
    const before = await rate();
    memory = watchMemory(coordinator.pid);
    const attacker = start([ATTACKER, address, name]);
    others.push(attacker);
    await attacker.read((line) => line.attacking === true);
    const [during, joins] = await Promise.all([rate(), joinAll(address, spanMs)]);
    const megabytes = memory.grown() / 1e6 - members * MEMBER_MEGABYTES;
    let sent = 0;
    const told = attacker.read((line) => ((sent = line.sent ?? 0), 'sent' in line));
    await Promise.all([told, attacker.end()]);
    await delay(SETTLE_MS);
    const after = await rate();
    return { ratio: (2 * during) / (before + after), perSecond: during, megabytes, joins, tries: JOINS, sent };
  } finally {
    memory?.grown();
    await Promise.all([...others, coordinator].map((each) => each.end()));
  }
}

/** @param {number} pid */
function watchMemory(pid) {
  const before = residentBytes(pid);
  let most = before;
  const timer = setInterval(() => (most = Math.max(most, residentBytes(pid))), 100);
  return {
    grown() {
      clearInterval(timer);
      return most - before;
    },
  };
}

/** @param {string} address @param {number} spanMs @returns {Promise<number>} how many succeeded */
async function joinAll(address, spanMs) {
  const joins = Array.from({ length: JOINS }, async (_, k) => {
    await delay((k * spanMs) / JOINS);
    return joinOnce(address, k).then(
      () => 1,
      () => 0,
    );
  });
  return (await Promise.all(joins)).reduce((/** @type {number} */ sum, each) => sum + each, 0);
}

/** @param {string} address @param {number} k */
async function joinOnce(address, k) {
  const late = globalThis.AbortSignal.timeout(JOIN_MS);
  const control = await open(`${address}/control`, `203.0.113.${k}`);
  try {
    send(control, {
      type: 'hello',
      versions: [PROTOCOL_VERSION],
      token: ENV.TROUPE_TOKEN,
      name: `late-${k}`,
      kind: 'node',
      credited: false,
      team: '',
    });
    const { runId, workerId, ticket } = await answer(control, 'welcome', late);
    const reduce = await open(`${address}/reduce`, `203.0.113.${k}`);
    send(reduce, { type: 'join', versions: [PROTOCOL_VERSION], runId, workerId, ticket });
    await answer(reduce, 'joined', late).finally(() => reduce.terminate());
  } finally {
    control.terminate();
  }
}

/** @param {import('ws').WebSocket} socket @param {string} type @param {AbortSignal} late @returns {Promise<any>} */
function answer(socket, type, late) {
  return new Promise((resolve, reject) => {
    late.addEventListener('abort', () => reject(new Error('too late')));
    socket.once('close', () => reject(new Error('closed')));
    listen(socket, (message) => message.type === type && resolve(message));
  });
}

/** @param {readonly (Suffered & { name: string })[]} results */
function tableOf(results) {
  return {
    head: ['Attack', 'Sent', 'Rounds/s', 'Of those without', 'Memory', 'Joins'],
    rows: results.map(({ name, sent, perSecond, ratio, megabytes, joins, tries }) => [
      ...[name, String(sent), decimal(perSecond, 1), `${decimal(100 * ratio, 0)} %`, `${decimal(megabytes, 0)} MB`],
      `${joins} of ${tries}`,
    ]),
  };
}

/** @param {readonly Suffered[]} results */
function goalsOf(results) {
  const ratio = Math.min(...results.map((one) => one.ratio));
  const megabytes = Math.max(...results.map((one) => one.megabytes));
  const failed = results.reduce((sum, { tries, joins }) => sum + tries - joins, 0);
  return [
    {
      text: `under the worst attack, rounds go on at ${decimal(100 * ratio, 0)} % (goal: at least ${100 * RATE_GOAL} %)`,
      met: ratio >= RATE_GOAL,
      binding: false,
    },
    {
      text: `the coordinator grows by at most ${decimal(megabytes, 0)} MB (goal: at most ${MEGABYTES_GOAL} MB)`,
      met: megabytes <= MEGABYTES_GOAL,
      binding: false,
    },
    { text: `${failed} joins with the right token fail (goal: none)`, met: failed === 0, binding: true },
  ];
}
