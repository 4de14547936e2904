/** The dashboard of a long run with many workers: how soon it shows its curves, how smooth it stays, and what viewers cost the run. */
import { spawn } from 'node:child_process';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { WebSocket } from 'ws';
import { BenchError } from '../../bench-error.mjs';
import { withCluster } from '../../cluster.mjs';
import { median } from '../../contestant.mjs';
import { interruption } from '../../interruption.mjs';
import { count, decimal, ms } from '../../report.mjs';
import { runFlags, usualCorpus, withScratch } from '../../runs.mjs';
import { isRound, passRounds, roundsWithin } from '../churn/common.mjs';
import { hostOf, TOKEN } from './common.mjs';
import { makeLongRun } from './long-run.mjs';

/** @typedef {import('../../cluster.mjs').Cluster} Cluster */
/** @typedef {import('./common.mjs').Tab} Tab */
/** @typedef {{ workers: number, history: number, turns: number, spanMs: number, liveMs: number, laterMs: number, strokes: number }} Plan */
/** @typedef {{ longestMs: number, busy: number }} Quiet */
/** @typedef {{ framesPerSecond: number, worstFrameMs: number, longestMs: number }} Smooth */
/** @typedef {{ firstMs: number, bytes: number, rawBytes: number, live: Quiet, gestures: Record<string, Smooth>, heapBytes: number[] }} Visit */
/** @typedef {{ roundMs: number, busyMs: number }} Span `busyMs`: of the coordinator's main thread, per round */

const ADMIN = 'bench-admin';
/** A network that computes quickly, so that the links and the coordinator dominate a round. */
const SIZE = { layers: 1, hidden: 16, streams: 200, window: 16 };
const VIEWERS = 5;
const [FIRST_GOAL_MS, TASK_GOAL_MS, VIEWER_GOAL, FRAMES_GOAL, HEAP_GOAL_BYTES] = [2_000, 100, 0.05, 50, 5e6];
const DEADLINE_MS = 600_000;
const SETTLING = 30;
const TIMEOUT_MS = 60_000;
const MANY_WORKERS = fileURLToPath(new URL('many-workers.mjs', import.meta.url));
const MEGABYTE = 1e6;

/** @param {import('./common.mjs').BrowserOptions} options @returns {Promise<import('../../report.mjs').Measured>} */
export async function dashboard({ quick, progress, chromium }) {
  /** @type {Plan} */
  const plan = quick
    ? { workers: 40, history: 100_000, turns: 1, spanMs: 3_000, liveMs: 4_000, laterMs: 3_000, strokes: 30 }
    : { workers: 200, history: 100_000, turns: 8, spanMs: 10_000, liveMs: 20_000, laterMs: 40_000, strokes: 240 };
  return withScratch(async (scratch) => {
    const out = path.join(scratch, 'long');
    progress(`a run of ${count(plan.history)} rounds`);
    const flags = runFlags(usualCorpus(), SIZE, out);
    await makeLongRun(out, flags.slice(0, -1), { rounds: plan.history, window: SIZE.window, beside: 2 });
    const resume = [...flags, '--resume', '--rounds=100000000', `--admin-token=${ADMIN}`];
    return withCluster(resume, DEADLINE_MS, async (cluster) => {
      const workers = await startWorkers(cluster, plan.workers);
      try {
        progress('what viewers cost');
        const pairs = await pairUp(cluster, plan);
        progress('a tab');
        return reportOf(plan, pairs, await look(cluster, chromium, plan), chromium.version);
      } finally {
        workers.kill();
      }
    });
  });
}

/** @param {Cluster} cluster @param {number} workers */
async function startWorkers(cluster, workers) {
  const host = await hostOf(cluster);
  const child = spawn(process.execPath, [MANY_WORKERS, `ws://${host}/control`, TOKEN, String(workers)], {
    stdio: ['pipe', 'ignore', 'ignore'],
  });
  await cluster.until((event) => isRound(event) && event.workers === workers, 0);
  await passRounds(cluster, SETTLING);
  return child;
}

/** Measures the run with and without viewers, in turn. @param {Cluster} cluster @param {Plan} plan */
async function pairUp(cluster, { turns, spanMs }) {
  /** @type {{ alone: Span, watched: Span }[]} */
  const pairs = [];
  for (let turn = 0; turn < turns; turn++) {
    const alone = await measureSpan(cluster, spanMs);
    const viewers = await Promise.all(Array.from({ length: VIEWERS }, () => openViewer(cluster)));
    const watched = await measureSpan(cluster, spanMs);
    for (const viewer of viewers) viewer.terminate();
    pairs.push({ alone, watched });
  }
  return pairs;
}

/** A link like a dashboard's; nobody reads what arrives. @param {Cluster} cluster @returns {Promise<WebSocket>} */
async function openViewer(cluster) {
  const socket = new WebSocket(`ws://${await hostOf(cluster)}/live`);
  return new Promise((resolve, reject) => {
    socket.once('error', reject);
    socket.once('open', () => socket.send(JSON.stringify({ token: ADMIN })));
    socket.once('message', () => resolve(socket));
  });
}

/** @param {Cluster} cluster @param {number} spanMs @returns {Promise<Span>} */
async function measureSpan(cluster, spanMs) {
  await passRounds(cluster, 3);
  const [before, fromMs] = [await busyOf(cluster), performance.now()];
  await sleep(spanMs, undefined, { signal: interruption });
  const [after, toMs] = [await busyOf(cluster), performance.now()];
  const rounds = roundsWithin(cluster, fromMs, toMs).length;
  return { roundMs: (toMs - fromMs) / rounds, busyMs: (1000 * (after - before)) / rounds };
}

/** Seconds that the coordinator's main thread was busy. @param {Cluster} cluster */
async function busyOf(cluster) {
  const answer = await globalThis.fetch(`http://${await hostOf(cluster)}/metrics`, {
    headers: { authorization: `Bearer ${ADMIN}` },
  });
  const found = /^troupe_busy_seconds_total (\S+)$/m.exec(await answer.text());
  if (!found) throw new BenchError('wrong_result', 'the coordinator does not report how busy it is', 'npm run build');
  return Number(found[1]);
}

/** @param {Cluster} cluster @param {import('./common.mjs').Chromium} chromium @param {Plan} plan @returns {Promise<Visit>} */
async function look(cluster, chromium, { history, liveMs, laterMs, strokes }) {
  const tab = await chromium.tab(observe(history));
  await tab.command('Emulation.setDeviceMetricsOverride', { width: 1280, height: 1600, deviceScaleFactor: 1, mobile: false });
  await tab.open(`http://${await hostOf(cluster)}/#admin=${ADMIN}`);
  const firstMs = /** @type {number} */ (await tab.until('window.firstCurveMs', TIMEOUT_MS));
  const sizes = await tab.evaluate(`(() => { const entry = performance.getEntriesByType('resource')
    .find(({ name }) => name.includes('/api/history')); return [entry.encodedBodySize, entry.decodedBodySize]; })()`);
  const live = await watch(tab, liveMs);
  const heapBytes = [await heap(tab)];
  await sleep(laterMs, undefined, { signal: interruption });
  heapBytes.push(await heap(tab));
  const gestures = await gesture(tab, strokes);
  await tab.close();
  return { firstMs, bytes: sizes[0], rawBytes: sizes[1], live, gestures, heapBytes };
}

/** Records tasks of the main thread over 50 ms, frames, and when the first chart shows the whole history. @param {number} history rounds */
function observe(history) {
  return `
  window.longTasks = [];
  new PerformanceObserver((list) => {
    for (const { startTime, duration } of list.getEntries()) window.longTasks.push({ startMs: startTime, ms: duration });
  }).observe({ type: 'longtask', buffered: true });
  window.frames = [];
  const onFrame = (now) => {
    window.frames.push(now);
    const plot = document.querySelector('#chart-grid .plot');
    const from = Number((/ ([\\d,]+) to /.exec(plot?.getAttribute('aria-label') ?? '')?.[1] ?? 'x').replaceAll(',', ''));
    if (window.firstCurveMs === undefined && plot?.querySelector('canvas') && from < ${history} / 2) window.firstCurveMs = now;
    requestAnimationFrame(onFrame);
  };
  requestAnimationFrame(onFrame);`;
}

/** Watches the page while nobody touches it. @param {Tab} tab @param {number} forMs @returns {Promise<Quiet>} */
async function watch(tab, forMs) {
  const fromMs = await tab.evaluate('window.firstCurveMs');
  const [busyBefore, before] = [await taskMs(tab), performance.now()];
  await sleep(forMs, undefined, { signal: interruption });
  const busy = ((await taskMs(tab)) - busyBefore) / (performance.now() - before);
  return { longestMs: await longestSince(tab, fromMs), busy };
}

/** Moves the crosshair, zooms in and out, and scrolls the page. @param {Tab} tab @param {number} strokes */
async function gesture(tab, strokes) {
  await tab.evaluate(`document.querySelector('#chart-grid').scrollIntoView({ block: 'start' })`);
  const { x, y, width, height } = await tab.evaluate(
    `document.querySelector('#chart-grid .u-over').getBoundingClientRect().toJSON()`,
  );
  const mouse = (
    /** @type {string} */ type,
    /** @type {number} */ at,
    /** @type {import('../../chromium.mjs').Json} */ more = {},
  ) => tab.command('Input.dispatchMouseEvent', { type, x: x + width * at, y: y + height / 2, ...more });
  const held = { button: 'left', buttons: 1, clickCount: 1 };
  return {
    hover: await smoothness(tab, async () => {
      for (let i = 0; i < strokes; i++) await mouse('mouseMoved', (i % 60) / 60);
    }),
    zoom: await smoothness(tab, async () => {
      for (let i = 0; i < strokes / 30; i++) {
        await mouse('mouseMoved', 0.2);
        await mouse('mousePressed', 0.2, held);
        for (let step = 0; step < 20; step++) await mouse('mouseMoved', 0.2 + step / 40, { buttons: 1 });
        await mouse('mouseReleased', 0.7, { ...held, buttons: 0 });
        await sleep(300);
        for (const clickCount of [1, 2]) {
          await mouse('mousePressed', 0.5, { ...held, clickCount });
          await mouse('mouseReleased', 0.5, { ...held, buttons: 0, clickCount });
        }
      }
    }),
    scroll: await smoothness(tab, async () => {
      for (let i = 0; i < strokes; i++) {
        const deltaY = i % 40 < 20 ? 120 : -120;
        await mouse('mouseWheel', 0.5, { deltaX: 0, deltaY });
      }
    }),
  };
}

/** @param {Tab} tab @param {() => Promise<void>} act @returns {Promise<Smooth>} */
async function smoothness(tab, act) {
  const fromMs = /** @type {number} */ (await tab.evaluate('window.frames.length = 0, performance.now()'));
  await act();
  const frames = /** @type {number[]} */ (await tab.evaluate('window.frames'));
  const gaps = frames.slice(1).map((at, i) => at - frames[i]);
  return {
    framesPerSecond: (1000 * gaps.length) / gaps.reduce((sum, gap) => sum + gap, 0),
    worstFrameMs: Math.max(...gaps),
    longestMs: await longestSince(tab, fromMs),
  };
}

/** @param {Tab} tab @param {number} fromMs @returns {Promise<number>} 0 when no task was longer than 50 ms */
function longestSince(tab, fromMs) {
  return tab.evaluate(`Math.max(0, ...window.longTasks.filter(({ startMs }) => startMs >= ${fromMs}).map(({ ms }) => ms))`);
}

/** @param {Tab} tab @returns {Promise<number>} */
async function taskMs(tab) {
  const { metrics } = await tab.command('Performance.getMetrics');
  return 1000 * metrics.find((/** @type {{ name: string }} */ { name }) => name === 'TaskDuration').value;
}

/** Bytes in use after garbage collection. @param {Tab} tab @returns {Promise<number>} */
async function heap(tab) {
  // Our own records do not count as the page's.
  await tab.evaluate('window.frames.length = 0');
  await tab.command('HeapProfiler.collectGarbage');
  return (await tab.command('Runtime.getHeapUsage')).usedSize;
}

/** @param {Plan} plan @param {readonly { alone: Span, watched: Span }[]} pairs @param {Visit} visit @param {string} version */
function reportOf(plan, pairs, visit, version) {
  const cost = median(pairs.map(({ alone, watched }) => (watched.busyMs - alone.busyMs) / alone.roundMs));
  const slowdown = median(pairs.map(({ alone, watched }) => watched.roundMs / alone.roundMs - 1));
  return {
    tables: [pageTable(plan, visit, version), gestureTable(visit), viewerTable(pairs)],
    goals: goalsOf(visit, cost),
    notes: [
      `Rounds with viewers took ${percent(slowdown)} longer (median of pairs). The time that the coordinator's main thread was busy separates what viewers cost from other disturbances of the machine.`,
      'Chromium, the workers and the coordinator share the cores, and Chromium draws without a GPU.',
    ],
    data: { ...SIZE, ...plan, viewers: VIEWERS, pairs, cost, slowdown, visit, version },
  };
}

/** @param {Plan} plan @param {Visit} visit @param {string} version @returns {import('../../report.mjs').Table} */
function pageTable(plan, { firstMs, bytes, rawBytes, live, heapBytes }, version) {
  const [early, late] = heapBytes;
  return {
    caption: `The dashboard of a run with ${count(plan.history)} past rounds and ${plan.workers} active workers, in a tab of ${version}`,
    head: ['', ''],
    rows: [
      ['From opening to the whole curve', ms(firstMs)],
      ['Data received for it', `${decimal(bytes / 1000, 1)} kB (${decimal(rawBytes / 1000, 1)} kB of JSON)`],
      [`Main thread busy, ${plan.liveMs / 1000} s live`, percent(live.busy)],
      ['Longest task since the first curve', taskText(live.longestMs)],
      [`Heap after ${plan.liveMs / 1000} s`, `${decimal(early / MEGABYTE, 2)} MB`],
      [`Heap ${plan.laterMs / 1000} s later`, `${decimal(late / MEGABYTE, 2)} MB`],
    ],
  };
}

/** @param {Visit} visit @returns {import('../../report.mjs').Table} */
function gestureTable({ gestures }) {
  return {
    caption: 'Smoothness while a person moves the mouse over the charts, zooms in and out, and scrolls',
    head: ['Gesture', 'Frames per second', 'Longest gap between frames', 'Longest task'],
    rows: Object.entries(gestures).map(([name, { framesPerSecond, worstFrameMs, longestMs }]) => [
      name,
      decimal(framesPerSecond, 1),
      ms(worstFrameMs),
      taskText(longestMs),
    ]),
  };
}

/** @param {readonly { alone: Span, watched: Span }[]} pairs @returns {import('../../report.mjs').Table} */
function viewerTable(pairs) {
  const row = (/** @type {string} */ name, /** @type {readonly Span[]} */ spans) => [
    name,
    ms(median(spans.map(({ roundMs }) => roundMs))),
    ms(median(spans.map(({ busyMs }) => busyMs))),
    spans.map(({ busyMs }) => decimal(busyMs, 1)).join(', '),
  ];
  return {
    caption: 'What viewers cost the run',
    head: ['Viewers', 'Round', "Coordinator's main thread busy, per round", 'Each turn, ms'],
    rows: [
      row(
        '0',
        pairs.map(({ alone }) => alone),
      ),
      row(
        String(VIEWERS),
        pairs.map(({ watched }) => watched),
      ),
    ],
  };
}

/** @param {Visit} visit @param {number} cost @returns {import('../../report.mjs').Goal[]} */
function goalsOf({ firstMs, live, gestures, heapBytes }, cost) {
  const longest = Math.max(live.longestMs, ...Object.values(gestures).map(({ longestMs }) => longestMs));
  const slowest = Math.min(...Object.values(gestures).map(({ framesPerSecond }) => framesPerSecond));
  const growth = heapBytes[1] - heapBytes[0];
  const goal = (/** @type {string} */ text, /** @type {boolean} */ met) => ({ text, met, binding: false });
  return [
    goal(`the whole curve within ${ms(firstMs)} of opening (goal: at most ${ms(FIRST_GOAL_MS)})`, firstMs <= FIRST_GOAL_MS),
    goal(`longest task after the first curve: ${taskText(longest)} (goal: at most ${TASK_GOAL_MS} ms)`, longest <= TASK_GOAL_MS),
    goal(`at least ${decimal(slowest, 1)} frames per second in every gesture (goal: ${FRAMES_GOAL})`, slowest >= FRAMES_GOAL),
    goal(
      `the heap grew by ${decimal(growth / MEGABYTE, 2)} MB (goal: at most ${HEAP_GOAL_BYTES / MEGABYTE} MB)`,
      growth <= HEAP_GOAL_BYTES,
    ),
    goal(
      `${VIEWERS} viewers take ${percent(cost)} of the rounds' time from the coordinator's main thread (goal: below ${percent(VIEWER_GOAL)})`,
      cost < VIEWER_GOAL,
    ),
  ];
}

function percent(/** @type {number} */ fraction) {
  return `${decimal(100 * fraction, 1)} %`;
}

function taskText(/** @type {number} */ taken) {
  return taken === 0 ? 'none over 50 ms' : ms(taken);
}
