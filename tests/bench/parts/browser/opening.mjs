/** How long a volunteer waits for the first contribution, and how smooth the page stays while it trains. */
import { setTimeout as sleep } from 'node:timers/promises';
import { BenchError } from '../../bench-error.mjs';
import { withCluster } from '../../cluster.mjs';
import { interruption } from '../../interruption.mjs';
import { median } from '../../contestant.mjs';
import { decimal, ms } from '../../report.mjs';
import { withScratch } from '../../runs.mjs';
import { endless, isRound } from '../churn/common.mjs';
import { readyAs, visitPage } from './common.mjs';

/** @typedef {import('./common.mjs').Tab} Tab */
/** @typedef {{ startMs: number, ms: number }} LongTask on the page's clock */
/** @typedef {{ longestMs: number, busy: number }} Smoothness `longestMs`: 0 if there was no long task; `busy`: fraction of the time */
/** @typedef {{ pressedMs: number, readyMs: number, firstMs: number, engine: string, loading: number, training: Smoothness }} Turn */

const NAME = 'volunteer';
const FIRST_GOAL_MS = 5_000;
const TASK_GOAL_MS = 50;
const DEADLINE_MS = 120_000;
const PROVOKED_MS = 120;
const TIMEOUT_MS = 5_000;

/** @param {import('./common.mjs').BrowserOptions} options @returns {Promise<import('../../report.mjs').Measured>} */
export async function opening({ quick, progress, chromium }) {
  const [count, trainingMs] = quick ? [1, 3_000] : [5, 20_000];
  /** @type {Turn[]} */
  const turns = [];
  for (let turn = 0; turn < count; turn++) {
    progress(`turn ${turn + 1} of ${count}`);
    turns.push(await measureTurn(chromium, trainingMs));
  }
  return reportOf(turns, trainingMs);
}

/** @param {import('./common.mjs').Chromium} chromium @param {number} trainingMs @returns {Promise<Turn>} */
function measureTurn(chromium, trainingMs) {
  return withScratch((out) =>
    withCluster(endless(out), DEADLINE_MS, async (cluster) => {
      const { tab, openedMs } = await visitPage(cluster, chromium, { name: NAME });
      const ready = await readyAs(cluster);
      const { atMs } = await cluster.until(isRound, 0);
      const loading = longest(await longTasks(tab));
      const turn = {
        pressedMs: /** @type {number} */ (await tab.evaluate('window.pressedMs')),
        readyMs: ready.atMs - openedMs,
        firstMs: atMs - openedMs,
        engine: ready.engine,
        loading,
        training: await watch(tab, trainingMs),
      };
      await tab.close();
      return turn;
    }),
  );
}

/** @param {Tab} tab @param {number} forMs @returns {Promise<Smoothness>} */
async function watch(tab, forMs) {
  const fromMs = await tab.evaluate('performance.now()');
  const [busyBefore, before] = [await taskMs(tab), performance.now()];
  await sleep(forMs, undefined, { signal: interruption });
  const busy = ((await taskMs(tab)) - busyBefore) / (performance.now() - before);
  const longestMs = longest((await longTasks(tab)).filter(({ startMs }) => startMs >= fromMs));
  await provoke(tab);
  return { longestMs, busy };
}

/** Causes a long task. Without it, a browser that reports no long tasks would look like one that has none. @param {Tab} tab */
async function provoke(tab) {
  const known = (await longTasks(tab)).length;
  await tab.evaluate(
    `setTimeout(() => { const endMs = performance.now() + ${PROVOKED_MS}; while (performance.now() < endMs); }) && undefined`,
  );
  const endMs = performance.now() + TIMEOUT_MS;
  while (longest((await longTasks(tab)).slice(known)) < PROVOKED_MS) {
    if (performance.now() > endMs) {
      throw new BenchError('wrong_result', 'this browser does not report long tasks', 'Try a newer Chromium.');
    }
    await sleep(50);
  }
}

/** @param {Tab} tab @returns {Promise<LongTask[]>} */
function longTasks(tab) {
  return tab.evaluate('window.longTasks');
}

/** Busy time of the page's main thread since it was opened. @param {Tab} tab @returns {Promise<number>} */
async function taskMs(tab) {
  const { metrics } = await tab.command('Performance.getMetrics');
  return 1000 * metrics.find((/** @type {{ name: string }} */ { name }) => name === 'TaskDuration').value;
}

function longest(/** @type {readonly LongTask[]} */ tasks) {
  return Math.max(0, ...tasks.map(({ ms: taken }) => taken));
}

/** @param {readonly Turn[]} turns @param {number} trainingMs */
function reportOf(turns, trainingMs) {
  const first = median(turns.map(({ firstMs }) => firstMs));
  const longestMs = Math.max(...turns.map(({ training }) => training.longestMs));
  return {
    tables: [
      {
        caption: 'Opening the page with nothing cached and with its default terms',
        head: [
          'Button pressed after',
          'Ready',
          'First contribution counted',
          'Engine',
          'Longest task while opening',
          'Longest task while training',
        ],
        rows: turns.map(({ pressedMs, readyMs, firstMs, engine, loading, training }) => [
          ms(pressedMs),
          ms(readyMs),
          ms(firstMs),
          engine,
          taskText(loading),
          `${taskText(training.longestMs)}; ${decimal(100 * training.busy, 1)} % of the time busy`,
        ]),
      },
    ],
    goals: [
      {
        text: `from opening the page to the first contribution counted: ${ms(first)} (median; goal: at most ${ms(FIRST_GOAL_MS)})`,
        met: first <= FIRST_GOAL_MS,
        binding: false,
      },
      {
        text: `longest task of the main thread while training for ${turns.length} x ${trainingMs / 1000} s: ${taskText(longestMs)} (goal: at most ${TASK_GOAL_MS} ms)`,
        met: longestMs <= TASK_GOAL_MS,
        binding: false,
      },
    ],
    notes: [
      'Browsers report only tasks of 50 ms and longer. Every turn checks that this browser does. Computing happens in other threads.',
    ],
    data: { turns, trainingMs },
  };
}

function taskText(/** @type {number} */ taken) {
  return taken === 0 ? 'none over 50 ms' : ms(taken);
}
