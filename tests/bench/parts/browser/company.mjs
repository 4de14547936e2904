/** Two tabs and a worker process in one run. Again and again, a tab is closed in the middle of a round. */
import { setTimeout as sleep } from 'node:timers/promises';
import { withCluster } from '../../cluster.mjs';
import { describeSize } from '../../configs.mjs';
import { median } from '../../contestant.mjs';
import { ms } from '../../report.mjs';
import { withScratch } from '../../runs.mjs';
import { endless, isRound, passRounds, SIZE } from '../churn/common.mjs';
import { ENGINE, readyAs, visitPage } from './common.mjs';

/** @typedef {import('../../cluster.mjs').Cluster} Cluster */
/** @typedef {import('./common.mjs').Chromium} Chromium */
/** @typedef {import('../../cluster.mjs').TimedRound} TimedRound */
/** @typedef {{ usualMs: number, longestMs: number, boundMs: number, decisions: string[] }} Closing */

/** Without it the order of additions differs, and after some 150 rounds the difference in the last bit grows to 1e-3 of the loss. */
const EXACT = '--reproducible';
const DEADLINE_MS = 300_000;

/** @param {import('./common.mjs').BrowserOptions} options @returns {Promise<import('../../report.mjs').Measured>} */
export async function company({ quick, progress, chromium }) {
  const plan = quick ? { closings: 1, settling: 6, after: 6 } : { closings: 4, settling: 20, after: 15 };
  progress('two tabs and a worker');
  const { closings, rounds, together } = await disturbed(chromium, plan);
  progress(`one worker, ${rounds.length} rounds`);
  const alone = await aloneFor(rounds.length);
  const difference = Math.max(...alone.map(({ trainLoss }, i) => Math.abs(trainLoss - rounds[i].trainLoss)));
  const kept = closings.every(({ longestMs, boundMs }) => longestMs <= boundMs);
  return {
    tables: [
      {
        caption: `Two tabs and a worker process, ${describeSize(SIZE)}, reproducible; a tab is closed in the middle of a round`,
        head: ['Closing', 'Round before', `Longest of the next ${plan.after}`, 'Bound'],
        rows: closings.map(({ usualMs, longestMs, boundMs }, i) => [String(i + 1), ms(usualMs), ms(longestMs), ms(boundMs)]),
      },
    ],
    goals: [
      {
        text: `rounds that take longer than the deadline of the lost lease plus one round: ${kept ? 'none' : 'at least one'}`,
        met: kept,
        binding: false,
      },
      {
        text: `train loss of ${rounds.length} rounds (${together} with all three) ${difference === 0 ? "equals one worker's, to the last bit" : `differs from one worker's by ${difference.toExponential(1)} nats/char at most`} (goal: equal)`,
        met: difference === 0,
        binding: true,
      },
    ],
    notes: [
      'The bound is 1.5 times a round before the closing plus 250 ms, which is the shortest deadline that the coordinator gives, plus one such round.',
    ],
    data: { ...SIZE, ...plan, closings, difference, losses: rounds.map(({ trainLoss }) => trainLoss) },
  };
}

/** @param {Chromium} chromium @param {{ closings: number, settling: number, after: number }} plan */
function disturbed(chromium, { closings: wanted, settling, after }) {
  return withScratch((out) =>
    withCluster([...endless(out), EXACT], DEADLINE_MS, async (cluster) => {
      const open = (/** @type {string} */ name) => visitPage(cluster, chromium, { name, engine: ENGINE, share: 100 });
      const { tab: stays } = await open('stays');
      const { name } = cluster.hire({ engine: ENGINE });
      for (const each of ['stays', name]) await readyAs(cluster, each);
      /** @type {Closing[]} */
      const closings = [];
      for (let closing = 1; closing <= wanted; closing++) {
        const { tab } = await open(`closed ${closing}`);
        await readyAs(cluster, `closed ${closing}`);
        await passRounds(cluster, settling);
        closings.push(await close(cluster, tab, after));
      }
      const rounds = cluster.events.filter(isRound);
      await stays.close();
      return { closings, rounds, together: rounds.filter(({ workers }) => workers === 3).length };
    }),
  );
}

/** @param {Cluster} cluster @param {import('./common.mjs').Tab} tab @param {number} after rounds @returns {Promise<Closing>} */
async function close(cluster, tab, after) {
  const usualMs = median(
    cluster.events
      .filter(isRound)
      .slice(-after)
      .map(({ roundMs }) => roundMs),
  );
  await cluster.until(isRound);
  await sleep(usualMs / 2);
  const closedMs = performance.now();
  await tab.close();
  await passRounds(cluster, after);
  const later = cluster.events.filter(({ atMs }) => atMs > closedMs);
  return {
    usualMs,
    longestMs: Math.max(...later.filter(isRound).map(({ roundMs }) => roundMs)),
    boundMs: 1.5 * usualMs + 250 + usualMs,
    decisions: later.flatMap((event) => (event.event === 'decision' ? [event.text] : [])),
  };
}

/** The same run by one worker. @param {number} count rounds @returns {Promise<TimedRound[]>} */
function aloneFor(count) {
  return withScratch((out) =>
    withCluster([...endless(out), EXACT], DEADLINE_MS, async (cluster) => {
      await cluster.until(({ event }) => event === 'listening', 0);
      cluster.hire({ engine: ENGINE });
      await cluster.until((event) => isRound(event) && event.round >= count, 0);
      return cluster.events.filter(isRound).slice(0, count);
    }),
  );
}
