/** What ten workers that join at once cost a coordinator. */
import { clearInterval, setInterval, setTimeout } from 'node:timers';
import { setTimeout as delay } from 'node:timers/promises';
import { createLayout } from '@troupe/model';
import { snapshotBytes } from '@troupe/optim';
import { createChannel, PROTOCOL_VERSION, receiveWithin } from '@troupe/protocol';
import { connectWebSocket } from '@troupe/transport/websocket';
import { BenchError } from '../bench-error.mjs';
import { COORDINATOR, ENV, NODE_FLAGS, residentBytes, start } from '../communication/null-run.mjs';
import { decimal, ms } from '../report.mjs';
import { runFlags, usualCorpus, withScratch } from '../runs.mjs';

/** @typedef {import('../configs.mjs').Size} Size */
/**
 * @typedef {object} Joined
 * @property {number} parameters
 * @property {number} snapshotBytes
 * @property {number} stalledBytes by which the coordinator's memory has grown while nobody reads
 * @property {number} peakBytes by which it has grown at most
 * @property {number} sentBytes to all joiners
 * @property {number} doneMs until all have their snapshot, from when they read
 */

export const title = 'Snapshots: ten workers that join at once';
export const about =
  'A real coordinator and ten control links over loopback that ask for a snapshot and then read nothing for 3 s. The growth is that of the ' +
  "coordinator's resident memory: while nobody reads, and at its peak until all ten have their snapshot (parameters and both moments of Adam).";

const JOINERS = 10;
const STALL_MS = 3_000;
const LOOK_MS = 50;
const SETTLED_MS = 4_000;
const SETTLED_BYTES = 4 * 2 ** 20;
const DEADLINE_MS = 120_000;
/** What the garbage collector and ten links take beside the snapshots. */
const SLACK_BYTES = 32 * 2 ** 20;
const GOAL = 2;
const SIZES = [256, 512, 1024].map((hidden) => ({ layers: 2, hidden, streams: 32, window: 64 }));

/** @param {import('../report.mjs').Options} options */
export async function measure({ quick, progress }) {
  if (process.platform !== 'linux') return { skipped: 'Only Linux tells the memory of another process.' };
  /** @type {Joined[]} */
  const cases = [];
  for (const size of quick ? SIZES.slice(0, 1) : SIZES) {
    progress(`${size.layers}x${size.hidden}`);
    cases.push(await withScratch((out) => joinAtOnce(size, out)));
  }
  return { tables: [tableOf(cases)], goals: cases.map(goalOf), notes: [], data: { cases } };
}

/** @param {number} parameters */
function millions(parameters) {
  return `${decimal(parameters / 1e6, 2)} M`;
}

/**
 * @param {Size} size
 * @param {string} out
 * @returns {Promise<Joined>}
 */
async function joinAtOnce(size, out) {
  const flags = ['--json', '--port=0', '--rounds=1000000', ...runFlags(usualCorpus(), size, out)];
  const coordinator = start([...NODE_FLAGS, COORDINATOR, ...flags]);
  /** @type {Joiner[]} */
  let joiners = [];
  /** @type {NodeJS.Timeout | undefined} */
  let watch;
  try {
    const address = await addressOf(coordinator);
    joiners = await Promise.all(Array.from({ length: JOINERS }, (_, i) => connect(`${address}/control`, `joiner-${i}`)));
    const { parameters } = joiners[0];
    const before = await settledBytes(coordinator.pid);
    const growth = () => residentBytes(coordinator.pid) - before;
    for (const joiner of joiners) joiner.ask();
    await delay(STALL_MS);
    const stalledBytes = growth();
    let peakBytes = stalledBytes;
    watch = setInterval(() => (peakBytes = Math.max(peakBytes, growth())), LOOK_MS);
    const startMs = performance.now();
    const sizes = await Promise.all(joiners.map((joiner) => joiner.read()));
    const doneMs = performance.now() - startMs;
    const sentBytes = sizes.reduce((sum, each) => sum + each, 0);
    return { parameters, snapshotBytes: sizes[0], stalledBytes, peakBytes, sentBytes, doneMs };
  } finally {
    clearInterval(watch);
    for (const joiner of joiners) joiner.leave();
    await coordinator.end();
  }
}

/** @param {ReturnType<typeof start>} coordinator @returns {Promise<string>} */
async function addressOf(coordinator) {
  let address = '';
  await coordinator.read((event) => {
    if (event.event === 'listening') ({ address } = event);
    return address !== '';
  });
  return address;
}

/**
 * Resident memory once it stands still: the thread for validations chooses its engine first.
 * @param {number} pid
 */
async function settledBytes(pid) {
  let bytes = residentBytes(pid);
  const startMs = performance.now();
  for (let sinceMs = startMs; performance.now() - sinceMs < SETTLED_MS && performance.now() - startMs < DEADLINE_MS;) {
    await delay(LOOK_MS);
    const now = residentBytes(pid);
    if (Math.abs(now - bytes) > SETTLED_BYTES) [bytes, sinceMs] = [now, performance.now()];
  }
  return residentBytes(pid);
}

/** @typedef {{ parameters: number, ask: () => void, read: () => Promise<number>, leave: () => void }} Joiner */

/**
 * A control link that was welcomed. It asks when it is told to, and reads when it is told to.
 * @param {string} address
 * @param {string} name
 * @returns {Promise<Joiner>}
 */
async function connect(address, name) {
  // TCP slows the sender as soon as this much is not taken.
  const link = await connectWebSocket(address, { unreadBytes: 64 * 1024 });
  let bytes = 0;
  const channel = createChannel(link, {
    accepts: ['welcome', 'queued', 'snapshot'],
    bodyBytes: ({ type }) => (type === 'snapshot' ? bytes : 0),
  });
  const receive = (/** @type {string} */ what) => receiveWithin(channel, { deadline: deadlineAfter(DEADLINE_MS), what });
  channel.send({
    type: 'hello',
    versions: [PROTOCOL_VERSION],
    token: ENV.TROUPE_TOKEN,
    name,
    kind: 'node',
    credited: false,
    team: '',
  });
  const { message: welcome } = await receive('a welcome');
  if (welcome.type !== 'welcome') throw new BenchError('run_failed', `a ${welcome.type} instead of a welcome`, 'Run it again.');
  const { model, optimizer } = welcome.config;
  const { size: parameters } = createLayout(model);
  bytes = snapshotBytes(parameters, optimizer);
  return {
    parameters,
    ask: () => channel.send({ type: 'resync', reason: 'joining', round: 0, fromPeers: false }),
    async read() {
      for (;;) {
        const { message, body } = await receive('a snapshot');
        if (message.type !== 'snapshot') continue;
        // It has what it wants: the coordinator need not remember it.
        channel.close('the snapshot is here');
        return body.byteLength;
      }
    },
    leave: () => channel.close('the measurement is over'),
  };
}

/** @param {number} afterMs @returns {AbortSignal} */
function deadlineAfter(afterMs) {
  const over = new globalThis.AbortController();
  setTimeout(() => over.abort(), afterMs).unref();
  return over.signal;
}

/** @param {number} bytes */
function megabytes(bytes) {
  return `${decimal(bytes / 1e6, 0)} MB`;
}

/** @param {readonly Joined[]} cases */
function tableOf(cases) {
  return {
    head: ['Parameters', 'Snapshot', 'Growth while nobody reads', 'Peak growth', 'In snapshots', 'Sent', 'All have it after'],
    rows: cases.map(({ parameters, snapshotBytes: one, stalledBytes, peakBytes, sentBytes, doneMs }) => [
      millions(parameters),
      megabytes(one),
      megabytes(stalledBytes),
      megabytes(peakBytes),
      decimal(peakBytes / one, 1),
      megabytes(sentBytes),
      ms(doneMs),
    ]),
  };
}

/** @param {Joined} of */
function goalOf({ parameters, snapshotBytes: one, peakBytes }) {
  const most = GOAL * one + SLACK_BYTES;
  return {
    text: `${millions(parameters)} parameters: ten joiners take ${megabytes(peakBytes)} (goal: at most two snapshots and 32 MiB, ${megabytes(most)})`,
    met: peakBytes <= most,
    binding: false,
  };
}
