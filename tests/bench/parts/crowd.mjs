/** How soon a crowd of joiners has its snapshots: from the coordinator alone, and from workers that sum as well. */
import { COORDINATOR, NODE_FLAGS, start, WORKER } from '../communication/null-run.mjs';
import { withMachines, whyNoNamespaces } from '../communication/namespaces.mjs';
import { median } from '../contestant.mjs';
import { decimal, ms } from '../report.mjs';
import { runFlags, usualCorpus, withScratch } from '../runs.mjs';

/** @typedef {{ firstMs: number, allMs: number }} Joined until the first joiner is ready, and until all are */
/** @typedef {import('../communication/null-run.mjs').Network} Network */

export const title = 'A crowd that joins over thin links';
export const about =
  'A real coordinator, four workers that sum for each other, and then eight more that join at once. Each process has a network namespace of its ' +
  'own, whose link carries 100 Mbit/s each way. Engines sleep, so a round takes little else than communication (3.32 M parameters, a snapshot of ' +
  '40 MB). The joiners take their snapshots from the coordinator alone, or from the four workers as well, in turn.';

const SIZE = { layers: 2, hidden: 512, streams: 32, window: 64 };
const MEGABITS = 100;
const WORKERS = 4;
const JOINERS = 8;
/** One worker alone would take 6 s for a round: all of them are worth their transfers. */
const MS_PER_STREAM = 190;
const GOAL = 0.6;
const TURNS = 3;

/** @param {import('../report.mjs').Options} options */
export async function measure({ quick, progress }) {
  const noNetwork = whyNoNamespaces();
  if (noNetwork !== undefined) return { skipped: noNetwork };
  /** @type {{ alone: Joined[], shared: Joined[] }} */
  const cases = { alone: [], shared: [] };
  for (let turn = 1; turn <= (quick ? 1 : TURNS); turn++) {
    for (const from of /** @type {const} */ (['alone', 'shared'])) {
      progress(`${from === 'alone' ? 'from the coordinator' : 'from workers as well'}, turn ${turn}`);
      const link = { lines: () => ({ up: MEGABITS, down: MEGABITS }), oneWayMs: 0, machines: 1 + WORKERS + JOINERS };
      cases[from].push(await withMachines(link, (network) => withScratch((out) => joinAll(from === 'shared', network, out))));
    }
  }
  return { tables: [tableOf(cases)], goals: [goalOf(cases)], notes: [], data: { cases } };
}

/**
 * @param {boolean} shared
 * @param {Network} network
 * @param {string} out
 * @returns {Promise<Joined>}
 */
async function joinAll(shared, network, out) {
  const flags = ['--json', '--port=0', `--host=${network.host(0)}`, '--rounds=1000000', '--topology=peers'];
  const coordinator = start([...NODE_FLAGS, COORDINATOR, ...flags, ...runFlags(usualCorpus(), SIZE, out)], network.command(0));
  /** @type {ReturnType<typeof start>[]} */
  const workers = [];
  let address = '';
  const hire = (/** @type {string} */ mode) => {
    const k = workers.length + 1;
    const args = [WORKER, `${address}/control`, `null-${k}`, String(MS_PER_STREAM), mode === '' ? network.host(k) : mode];
    workers.push(start([...NODE_FLAGS, ...args], network.command(k)));
  };
  let [summing, warm, ready, startMs, firstMs, allMs] = [0, 0, 0, 0, 0, 0];
  try {
    await coordinator.read((event) => {
      if (event.event === 'listening') {
        ({ address } = event);
        for (let i = 0; i < WORKERS; i++) hire('');
      }
      if (event.event === 'decision' && event.decision.kind === 'topology') summing = event.decision.reducers.length;
      if (event.event === 'round' && summing === WORKERS && ++warm === 5) {
        for (let i = 0; i < JOINERS; i++) hire(shared ? 'joins' : 'alone');
      }
      if (event.event !== 'worker' || workers.length === WORKERS) return false;
      if (event.change === 'joined' && startMs === 0) startMs = performance.now();
      if (event.change !== 'ready') return false;
      if (++ready === 1) firstMs = performance.now() - startMs;
      allMs = performance.now() - startMs;
      return ready === JOINERS;
    });
  } finally {
    await Promise.all([coordinator, ...workers].map((process) => process.end()));
  }
  return { firstMs, allMs };
}

/** @param {{ alone: readonly Joined[], shared: readonly Joined[] }} cases */
function tableOf({ alone, shared }) {
  const row = (/** @type {string} */ name, /** @type {readonly Joined[]} */ turns) => [
    name,
    ms(median(turns.map(({ firstMs }) => firstMs))),
    ms(median(turns.map(({ allMs }) => allMs))),
  ];
  return {
    head: ['Snapshots come from', 'The first is ready after', 'All are ready after'],
    rows: [row('the coordinator', alone), row('workers as well', shared)],
  };
}

/** @param {{ alone: readonly Joined[], shared: readonly Joined[] }} cases */
function goalOf({ alone, shared }) {
  const each = shared.map(({ allMs }, turn) => allMs / alone[turn].allMs);
  return {
    text: `with snapshots from workers as well, all are ready in ${decimal(median(each), 2)}x of the time (turns: ${each.map((ratio) => decimal(ratio, 2)).join(', ')}; goal: at most ${GOAL}x)`,
    met: median(each) <= GOAL,
    binding: false,
  };
}
