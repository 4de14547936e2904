/** A tab against a worker process, each alone in a run, one after the other. */
import { setTimeout as sleep } from 'node:timers/promises';
import { withCluster } from '../../cluster.mjs';
import { describeSize } from '../../configs.mjs';
import { median } from '../../contestant.mjs';
import { interruption } from '../../interruption.mjs';
import { count, decimal } from '../../report.mjs';
import { usualCorpus, withScratch } from '../../runs.mjs';
import { endless, passRounds, rateOf, roundsWithin, SIZE } from '../churn/common.mjs';
import { ENGINE, readyAs, visitPage } from './common.mjs';

/** @typedef {import('../../cluster.mjs').Cluster} Cluster */
/** @typedef {{ rate: number, engine: string }} Turn */

const GOAL = 0.8;
const DEADLINE_MS = 180_000;

/** @param {import('./common.mjs').BrowserOptions} options @returns {Promise<import('../../report.mjs').Measured>} */
export async function speed({ quick, progress, chromium }) {
  const plan = quick ? { turns: 1, warmup: 3, measuredMs: 3_000 } : { turns: 5, warmup: 20, measuredMs: 15_000 };
  /** @type {Record<'tab' | 'node', (cluster: Cluster) => Promise<() => unknown>>} */
  const join = {
    async tab(cluster) {
      const { tab } = await visitPage(cluster, chromium, { name: 'tab', engine: ENGINE, share: 100 });
      return tab.close;
    },
    async node(cluster) {
      await cluster.until(({ event }) => event === 'listening', 0);
      return cluster.hire({ engine: ENGINE }).kill;
    },
  };
  /** @type {{ tab: Turn[], node: Turn[] }} */
  const turns = { tab: [], node: [] };
  for (let turn = 0; turn < plan.turns; turn++) {
    for (const who of /** @type {const} */ (['node', 'tab'])) {
      progress(`${who}, turn ${turn + 1} of ${plan.turns}`);
      turns[who].push(await measureTurn(plan, join[who]));
    }
  }
  return reportOf(turns, chromium.version);
}

/**
 * @param {{ warmup: number, measuredMs: number }} plan
 * @param {(cluster: Cluster) => Promise<() => unknown>} join resolves with a function that leaves
 * @returns {Promise<Turn>}
 */
function measureTurn({ warmup, measuredMs }, join) {
  return withScratch((out) =>
    withCluster(endless(out), DEADLINE_MS, async (cluster) => {
      const leave = await join(cluster);
      const { engine } = await readyAs(cluster);
      await passRounds(cluster, warmup);
      const fromMs = performance.now();
      await sleep(measuredMs, undefined, { signal: interruption });
      const rate = rateOf(roundsWithin(cluster, fromMs, performance.now()));
      await leave();
      return { rate, engine };
    }),
  );
}

/** @param {{ tab: Turn[], node: Turn[] }} turns @param {string} version */
function reportOf({ tab, node }, version) {
  const ratios = tab.map(({ rate }, i) => rate / node[i].rate);
  const ratio = median(ratios);
  const engines = new Set([...tab, ...node].map(({ engine }) => engine));
  const row = (/** @type {string} */ name, /** @type {Turn[]} */ of) => [
    name,
    count(median(of.map(({ rate }) => rate))),
    of.map(({ rate }) => count(rate)).join(', '),
    [...new Set(of.map(({ engine }) => engine))].join(', '),
  ];
  return {
    tables: [
      {
        caption: `One worker, engine ${ENGINE} in one thread, ${describeSize(SIZE)}, ${usualCorpus()}`,
        head: ['Worker', 'chars/s', 'Each turn', 'Kernels'],
        rows: [row(`Node ${process.version}`, node), row(`a tab of ${version}`, tab)],
      },
    ],
    goals: [
      {
        text: `a tab reaches ${decimal(ratio, 2)} of the chars/s of a Node worker (turns: ${ratios.map((r) => decimal(r, 2)).join(', ')}; goal: at least ${GOAL})`,
        met: ratio >= GOAL,
        binding: false,
      },
    ],
    notes:
      engines.size === 1
        ? []
        : ['Tab and Node chose different kernels, each in its own trial. The ratio includes that difference.'],
    data: { ...SIZE, tab, node, ratio, version },
  };
}
