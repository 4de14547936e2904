/** What audits cost a run in which everybody is honest. */
import process from 'node:process';
import { fileURLToPath } from 'node:url';
import { claimOf, differenceOf } from '@troupe/collective';
import { modelConfig } from '@troupe/config';
import { openEngine } from '@troupe/engines/node';
import { createLayout, initialParameters, stateSize } from '@troupe/model';
import { AUDIT_FLOOR } from '@troupe/scheduler';
import { COORDINATOR, NODE_FLAGS, start } from '../communication/null-run.mjs';
import { decimal } from '../report.mjs';
import { withScratch } from '../runs.mjs';

export const title = 'Cost of audits';
export const about =
  'First the work: the processor time of computing a lease of 16 windows, and of auditing it (computing it again, coding it, comparing), by turns in one ' +
  'process with the wasm engine. At the floor 3 % of the leases are audited. Then a run: a coordinator and two honest workers, each a process (wasm, one thread), train 1x128 on the sonnets (32 streams of 64 characters): by turns with ' +
  'the token of workers, which nobody audits, and with that of volunteers. Rounds a second are those of the last 600 of 1,500 rounds: by then the ' +
  'audits are at or near their floor of 3 %. The coordinator audits in a thread of its own, so the cost is larger where workers have all cores, as here.';

const VOLUNTEER = fileURLToPath(new URL('./hostile/volunteer.mjs', import.meta.url));
const TOKENS = { workers: 'workers-of-the-bench', volunteers: 'volunteers-of-the-bench' };
const MOST = 0.05;
const SIZES = [
  { layers: 1, hidden: 128 },
  { layers: 2, hidden: 256 },
];
const CODECS = /** @type {const} */ (['fp16', 'int8']);
const VOCABULARY = 61;
const [STREAMS, WINDOW] = [16, 64];

/** @param {import('../report.mjs').Options} options */
export async function measure({ quick, progress }) {
  const [rounds, warmUp, turns] = quick ? [60, 30, 1] : [1_500, 900, 2];
  /** @type {{ unaudited: number, audited: number, audits: number }[]} */
  const results = [];
  for (let turn = 0; turn < turns; turn++) {
    progress(`turn ${turn + 1} of ${turns}`);
    const unaudited = await withScratch((out) => play('workers', rounds, warmUp, out));
    const audited = await withScratch((out) => play('volunteers', rounds, warmUp, out));
    results.push({ unaudited: unaudited.rate, audited: audited.rate, audits: audited.audits });
  }
  const shares = [];
  for (const size of SIZES) {
    progress(`work, ${size.layers}x${size.hidden}`);
    for (const codec of CODECS) shares.push({ ...size, codec, ...(await workOf(size, codec, quick ? 8 : 60)) });
  }
  const most = Math.max(...shares.map(({ share }) => share));
  const [unaudited, audited] = [sumOf(results.map((one) => one.unaudited)), sumOf(results.map((one) => one.audited))];
  const cost = 1 - audited / unaudited;
  return {
    tables: [
      {
        head: ['Model', 'Codec', 'Lease, ms', 'Audit, ms', 'Cost at the floor'],
        rows: shares.map(({ layers, hidden, codec, leaseMs, auditMs, share }) => [
          ...[`${layers}x${hidden}`, codec, decimal(leaseMs, 1), decimal(auditMs, 1), `${decimal(share * 100, 1)} %`],
        ]),
      },
      {
        head: ['Turn', 'Rounds/s without audits', 'Rounds/s with audits', 'Audits passed', 'Cost'],
        rows: results.map((one, i) => [
          ...[String(i + 1), decimal(one.unaudited, 1), decimal(one.audited, 1), String(one.audits)],
          `${decimal((1 - one.audited / one.unaudited) * 100, 1)} %`,
        ]),
      },
    ],
    goals: [
      {
        text: `at the floor, audits take ${decimal(most * 100, 1)} % of the work (goal: ${MOST * 100} %)`,
        met: most <= MOST,
        binding: false,
      },
      {
        text: `audits cost ${decimal(cost * 100, 1)} % of the rounds a second (goal: ${MOST * 100} %)`,
        met: cost <= MOST,
        binding: false,
      },
    ],
    notes: [],
    data: { shares, results, cost },
  };
}

/**
 * Processor time, ms, of a lease and of its audit, by turns.
 * @param {{ layers: number, hidden: number }} size
 * @param {'fp16' | 'int8'} codec
 * @param {number} turns
 */
async function workOf(size, codec, turns) {
  const model = modelConfig({ ...size, vocabulary: VOCABULARY });
  const layout = createLayout(model);
  const shape = { codec, seed: 7, tensorSizes: layout.tensors.map((tensor) => tensor.size), stateFloats: stateSize(model) };
  const engine = await openEngine('wasm', model, { maxStreams: STREAMS, maxWindow: WINDOW });
  const parameters = initialParameters(model, layout, 7, 1);
  const tokens = Uint16Array.from({ length: STREAMS * (WINDOW + 1) }, (_, i) => (i * 7_919) % VOCABULARY);
  const batch = { streams: STREAMS, window: WINDOW, tokens, states: new Float32Array(STREAMS * shape.stateFloats) };
  const lease = { round: 0, streams: Array.from({ length: STREAMS }, (_, i) => i) };
  let [leaseMs, auditMs] = [0, 0];
  for (let turn = -2; turn < turns; turn++) {
    engine.setParameters(parameters);
    const beganMs = cpuMs();
    const { gradient, endStates, lossSum } = await engine.gradient(batch);
    const computedMs = cpuMs();
    const claim = claimOf(shape, lease, { gradient: gradient.slice(), endStates: endStates.slice(), lossSum });
    const claimedMs = cpuMs();
    engine.setParameters(parameters.slice());
    const again = await engine.gradient(batch);
    const copy = { gradient: again.gradient.slice(), endStates: again.endStates.slice(), lossSum: again.lossSum };
    if (differenceOf(shape, claim, copy, false) !== undefined) throw new Error('an engine differs from itself');
    if (turn < 0) continue;
    leaseMs += computedMs - beganMs;
    auditMs += cpuMs() - claimedMs;
  }
  engine.dispose();
  return { leaseMs: leaseMs / turns, auditMs: auditMs / turns, share: (AUDIT_FLOOR * auditMs) / leaseMs };
}

function cpuMs() {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

/** @param {readonly number[]} values */
function sumOf(values) {
  return values.reduce((sum, value) => sum + value, 0);
}

/**
 * @param {'workers' | 'volunteers'} kind
 * @param {number} rounds
 * @param {number} warmUp
 * @param {string} out
 * @returns {Promise<{ rate: number, audits: number }>} rounds a second after the warm-up, and audits that were passed in all
 */
async function play(kind, rounds, warmUp, out) {
  const flags = ['--layers=1', '--hidden=128', '--batch=32', '--window=64', `--rounds=${rounds}`, '--eval-every=0'];
  const secrets = {
    TROUPE_TOKEN: TOKENS.workers,
    TROUPE_VOLUNTEER_TOKEN: TOKENS.volunteers,
    TROUPE_ADMIN_TOKEN: 'admin-of-the-bench',
  };
  const args = ['--json', '--port=0', '--sample-every=0', `--out=${out}/run`, ...flags];
  const coordinator = start([...NODE_FLAGS, COORDINATOR, ...args], [], secrets);
  /** @type {ReturnType<typeof start>[]} */
  const workers = [];
  let [address, fromMs, untilMs] = ['', 0, 0];
  let audits = 0;
  try {
    await coordinator.read((event) => {
      if (event.event === 'listening') {
        address = event.address;
        for (let i = 0; i < 2; i++) {
          const lines = [`${address}/control`, `w${i}`, 'honest', '0'];
          workers.push(start([...NODE_FLAGS, VOLUNTEER, ...lines], [], { TROUPE_TOKEN: TOKENS[kind] }));
        }
      }
      if (event.event === 'round' && event.round <= warmUp) fromMs = performance.now();
      if (event.event === 'round' && event.round === rounds - 1) void auditsAt(address).then((passed) => (audits = passed));
      if (event.event === 'round') untilMs = performance.now();
      return event.event === 'finished';
    });
    return { rate: ((rounds - warmUp) * 1000) / (untilMs - fromMs), audits };
  } finally {
    await Promise.all([...workers, coordinator].map((process) => process.end()));
  }
}

/** Audits that all workers have passed. @param {string} address */
async function auditsAt(address) {
  const url = new URL('/api/run', address.replace(/^ws/, 'http'));
  const response = await globalThis
    .fetch(url, { headers: { authorization: 'Bearer admin-of-the-bench' } })
    .catch(() => undefined);
  /** @type {{ workers?: { audits?: { passed: number } }[] }} */
  const { workers = [] } = response?.ok ? /** @type {any} */ (await response.json()) : {};
  return sumOf(workers.map(({ audits }) => audits?.passed ?? 0));
}
