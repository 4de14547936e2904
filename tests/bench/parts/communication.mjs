/** What a round costs beside its gradient. */
import path from 'node:path';
import { median } from '../contestant.mjs';
import { gloo, parameters, sleepPerStream } from '../communication/gloo.mjs';
import { runNullWorkers } from '../communication/null-run.mjs';
import { KINDS, readProfiles } from '../communication/stages.mjs';
import { whyNoTorch } from '../python.mjs';
import { decimal, ms } from '../report.mjs';
import { usualCorpus, withScratch } from '../runs.mjs';

/** @typedef {import('../configs.mjs').Size} Size */
/** @typedef {import('../communication/null-run.mjs').NullRun} NullRun */
/** @typedef {import('../communication/gloo.mjs').Gloo} Gloo */
/** @typedef {{ size: Size, workers: number, reducers: number, ours: NullRun[], gloo: Gloo[] }} Case */

export const title = 'Communication: what a round costs beside its gradient';
export const about =
  'A real coordinator and worker processes whose engine computes nothing: it sleeps and returns a prepared gradient. It sleeps 80 ms for a ' +
  'million parameters, however many workers share a round, so that rounds need them all and none is parked. ' +
  'The overhead of a round is its time without the sleep of the slowest worker: coding, both transfers, sum, norm and the optimizer step ' +
  'of every replica, with gradients in fp16. Beside it, in turn: PyTorch processes that all-reduce the same number of parameters in ' +
  'float32 with gloo and then take a step of Adam. Processor times are those of whole processes per round. Without reducers the ' +
  'coordinator sums the gradients in its main thread; each reducer is a thread that sums a range of them.';

const GOAL = 1;
const SIZES = [256, 512, 1024].map((hidden) => ({ layers: 2, hidden, streams: 32, window: 64 }));
const WORKERS = [1, 2, 4, 8];
/** This case is measured with each of these numbers of reducers, too. */
const SHARDED = { size: SIZES[1], workers: 4, reducers: [1, 2, 4] };
/** The largest model takes long, so it is measured once, with so many workers. */
const LARGEST = { size: SIZES[2], workers: 2 };
const PROFILED = { size: SIZES[0], workers: 2 };

/** @param {import('../report.mjs').Options} options */
export async function measure({ quick, progress }) {
  const [sizes, counts] = quick ? [SIZES.slice(0, 1), WORKERS.slice(0, 2)] : [SIZES.slice(0, 2), WORKERS];
  const plan = { corpus: usualCorpus(), warmup: quick ? 5 : 20, rounds: quick ? 5 : 40 };
  const noTorch = whyNoTorch();
  /** @type {Case[]} */
  const cases = [];
  for (const size of sizes) for (const workers of counts) cases.push({ size, workers, reducers: 0, ours: [], gloo: [] });
  const { size, workers } = quick ? { size: SIZES[0], workers: 2 } : SHARDED;
  for (const reducers of quick ? [2] : SHARDED.reducers) cases.push({ size, workers, reducers, ours: [], gloo: [] });
  const take = async (/** @type {Case} */ each, /** @type {number} */ turn) => {
    progress(`${millions(each.size)} parameters, ${each.workers} workers, ${each.reducers} reducers, turn ${turn}`);
    const msPerStream = sleepPerStream(each);
    const flags = [`--reducers=${each.reducers}`];
    each.ours.push(await withScratch((out) => runNullWorkers({ ...plan, ...each, msPerStream, flags }, out)));
    if (noTorch === undefined && each.workers > 1 && each.reducers === 0) each.gloo.push(await gloo(each, plan));
  };
  for (let turn = 1; turn <= (quick ? 1 : 3); turn++) for (const each of cases) await take(each, turn);
  if (!quick) {
    cases.push({ ...LARGEST, reducers: 0, ours: [], gloo: [] });
    await take(/** @type {Case} */ (cases.at(-1)), 1);
  }
  progress('where the time of the main threads goes');
  const kinds = await profile(plan);
  return {
    tables: [overheadTable(cases), kindsTable(kinds)],
    goals: cases.flatMap(goalOf),
    notes: noTorch === undefined ? [] : [`gloo is not measured: ${noTorch}.`],
    data: { cases, kinds },
  };
}

/** "3.29 M". @param {Size} size */
function millions(size) {
  return `${decimal(parameters(size) / 1e6, 2)} M`;
}

/**
 * A separate run, because profiling slows it down.
 * @param {{ corpus: string, warmup: number, rounds: number }} plan
 * @returns {Promise<Record<string, number>[]>} coordinator, then worker: kind -> ms per round
 */
function profile(plan) {
  return withScratch(async (folder) => {
    const profiles = path.join(folder, 'profiles');
    const { window } = await runNullWorkers(
      { ...plan, ...PROFILED, msPerStream: sleepPerStream(PROFILED), profiles },
      path.join(folder, 'run'),
    );
    const [coordinator, worker] = readProfiles(profiles, window);
    return [coordinator, worker].map((found) =>
      Object.fromEntries(KINDS.map((kind) => [kind, (found?.[kind] ?? 0) / plan.rounds])),
    );
  });
}

/** The ratio of each turn. @param {Case} of */
function ratios({ ours, gloo: theirs }) {
  return theirs.map((gloo, turn) => median([...ours[turn].overheadMs]) / median([...gloo.ms]));
}

/** @param {readonly Case[]} cases */
function overheadTable(cases) {
  const usage = (/** @type {Case} */ { ours }, /** @type {'coordinator' | 'worker'} */ who) => {
    const found = ours.flatMap((run) => run[who] ?? []);
    if (found.length === 0) return '–';
    const of = (/** @type {'cpuMs' | 'mainMs'} */ key) => median(found.map((each) => each[key]));
    return `${ms(of('cpuMs'))} (${ms(of('mainMs'))})`;
  };
  return {
    head: [
      'Parameters',
      'Workers',
      'Reducers',
      'Overhead of a round',
      'gloo + Adam',
      'Ratio',
      'MB a worker',
      'Coordinator (main thread)',
      'Worker (main thread)',
    ],
    rows: cases.map((each) => {
      const bytes = each.ours.flatMap(({ worker }) => worker?.bytes ?? []);
      return [
        millions(each.size),
        String(each.workers),
        String(each.reducers),
        ms(median(each.ours.map(({ overheadMs }) => median([...overheadMs])))),
        each.gloo.length === 0 ? '–' : ms(median(each.gloo.map((gloo) => median([...gloo.ms])))),
        each.gloo.length === 0 ? '–' : decimal(median(ratios(each)), 2),
        bytes.length === 0 ? '–' : decimal(median(bytes) / 1e6, 1),
        usage(each, 'coordinator'),
        usage(each, 'worker'),
      ];
    }),
  };
}

/** @param {readonly Record<string, number>[]} kinds */
function kindsTable([coordinator, worker]) {
  const total = (/** @type {Record<string, number>} */ of) => Object.values(of).reduce((sum, each) => sum + each, 0);
  return {
    caption: `Main threads by kind of work, ms a round (${millions(PROFILED.size)} parameters, ${PROFILED.workers} workers, a separate run under the profiler)`,
    head: ['', ...KINDS, 'total'],
    rows: [
      ['coordinator', ...KINDS.map((kind) => decimal(coordinator[kind], 1)), decimal(total(coordinator), 1)],
      ['worker', ...KINDS.map((kind) => decimal(worker[kind], 1)), decimal(total(worker), 1)],
    ],
  };
}

/** @param {Case} of */
function goalOf(of) {
  if (of.gloo.length === 0 || of.size !== SIZES[1]) return [];
  const each = ratios(of);
  return [
    {
      text: `${millions(of.size)} parameters, ${of.workers} workers: the overhead of a round is ${decimal(median(each), 2)}x of gloo and Adam (turns: ${each.map((ratio) => decimal(ratio, 2)).join(', ')}; goal: at most ${GOAL.toFixed(1)}x)`,
      met: median(each) <= GOAL,
      binding: false,
    },
  ];
}
