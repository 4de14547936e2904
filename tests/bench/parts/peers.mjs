/** Workers that sum for each other, against the service that sums for all. */
import { hasLatency, withMachines, whyNoNamespaces } from '../communication/namespaces.mjs';
import { gloo, sleepPerStream } from '../communication/gloo.mjs';
import { runNullWorkers } from '../communication/null-run.mjs';
import { median } from '../contestant.mjs';
import { whyNoTorch } from '../python.mjs';
import { decimal, ms } from '../report.mjs';
import { usualCorpus, withScratch } from '../runs.mjs';

/** @typedef {import('../communication/null-run.mjs').NullRun} NullRun */
/** @typedef {{ roundMs: number, overheadMs: number }} Times medians */
/** @typedef {{ star: Times, peers: Times }} Link */
/** @typedef {{ workers: number, star: NullRun[], peers: NullRun[], gloo: number[] }} Case gloo: the median of each turn, ms */

export const title = 'Peers: workers that sum for each other';
export const about =
  'The workers of the part "communication", with 3.32 M parameters in fp16. With a star, the coordinator sums; with peers, each worker sums a ' +
  'range of the parameters and sends it to the others and to the coordinator, whose replica needs the update as well. First on the ' +
  'loopback of this machine, in turn with PyTorch processes that all-reduce as many parameters in float32 with gloo and then take a step of Adam; then ' +
  'with every process in a network namespace of its own, whose link carries 100 Mbit/s each way with 10 ms from one to another.';

const SIZE = { layers: 2, hidden: 512, streams: 32, window: 64 };
const WORKERS = [4, 8];
const LINK = { megabits: 100, oneWayMs: 10, workers: 4 };
/** One worker alone would take 6 s for a round: with a star, all of them are worth their transfers. */
const LINK_MS_PER_STREAM = 190;
const GLOO_GOAL = 1;
const BYTES_GOAL = 0.05;
const LINK_GOAL = 0.5;

/** @param {import('../report.mjs').Options} options */
export async function measure({ quick, progress }) {
  const turns = quick ? 1 : 3;
  const plan = { size: SIZE, corpus: usualCorpus(), warmup: quick ? 5 : 20, rounds: quick ? 5 : 40 };
  const noTorch = whyNoTorch();
  /** @type {Case[]} */
  const cases = WORKERS.map((workers) => ({ workers, star: [], peers: [], gloo: [] }));
  for (let turn = 1; turn <= turns; turn++) {
    for (const each of cases) {
      const msPerStream = sleepPerStream({ size: SIZE, workers: each.workers });
      for (const peers of [false, true]) {
        progress(`${each.workers} workers, ${peers ? 'peers' : 'star'}, turn ${turn}`);
        const run = await withScratch((out) => runNullWorkers({ ...plan, workers: each.workers, msPerStream, peers }, out));
        each[peers ? 'peers' : 'star'].push(run);
      }
      if (noTorch === undefined) each.gloo.push(median([...(await gloo({ size: SIZE, workers: each.workers }, plan)).ms]));
    }
  }
  const noNetwork = whyNoNamespaces();
  const link = noNetwork === undefined ? await shaped(plan, quick, progress) : undefined;
  return {
    tables: [loopbackTable(cases), ...(link ? [linkTable(link)] : [])],
    goals: [...cases.flatMap(glooGoal), ...cases.slice(-1).map(bytesGoal), ...(link ? [linkGoal(link)] : [])],
    notes: [
      ...(noTorch === undefined ? [] : [`gloo is not measured: ${noTorch}.`]),
      ...(noNetwork === undefined ? [] : [`Links are not measured: ${noNetwork}.`]),
      ...(link && !hasLatency()
        ? ['The kernel of this machine cannot delay packets (netem): links have their rate, and no latency.']
        : []),
    ],
    data: { cases, link },
  };
}

/**
 * @param {{ size: typeof SIZE, corpus: string }} plan
 * @param {boolean} quick
 * @param {(text: string) => void} progress
 * @returns {Promise<Link>}
 */
async function shaped(plan, quick, progress) {
  const { workers, megabits, oneWayMs } = LINK;
  const link = { lines: () => ({ up: megabits, down: megabits }), oneWayMs };
  const short = { ...plan, workers, warmup: 3, rounds: quick ? 3 : 10, msPerStream: LINK_MS_PER_STREAM };
  const round = async (/** @type {boolean} */ peers) => {
    progress(`links of ${megabits} Mbit/s, ${peers ? 'peers' : 'star'}`);
    const run = await withMachines({ ...link, machines: workers + 1 }, (network) =>
      withScratch((out) => runNullWorkers({ ...short, peers, network }, out)),
    );
    return { roundMs: median([...run.roundMs]), overheadMs: median([...run.overheadMs]) };
  };
  return { star: await round(false), peers: await round(true) };
}

const overhead = (/** @type {readonly NullRun[]} */ runs) => median(runs.map(({ overheadMs }) => median([...overheadMs])));
const bytes = (/** @type {readonly NullRun[]} */ runs) => median(runs.map(({ coordinator }) => coordinator?.bytes ?? NaN));
const cpu = (/** @type {readonly NullRun[]} */ runs, /** @type {'coordinator' | 'worker'} */ who) =>
  ms(median(runs.map((run) => run[who]?.cpuMs ?? NaN)));

/** @param {readonly Case[]} cases */
function loopbackTable(cases) {
  return {
    caption: 'On the loopback (the overhead of a round is its time without the sleep of the slowest worker)',
    head: [
      'Workers',
      'Who sums',
      'Overhead of a round',
      'gloo + Adam',
      'MB through the coordinator',
      'Coordinator CPU',
      'Worker CPU',
    ],
    rows: cases.flatMap(({ workers, star, peers, gloo: theirs }) =>
      [
        ['star', star],
        ['peers', peers],
      ].map(([who, runs]) => [
        String(workers),
        String(who),
        ms(overhead(/** @type {NullRun[]} */ (runs))),
        theirs.length === 0 ? '–' : ms(median(theirs)),
        decimal(bytes(/** @type {NullRun[]} */ (runs)) / 1e6, 1),
        cpu(/** @type {NullRun[]} */ (runs), 'coordinator'),
        cpu(/** @type {NullRun[]} */ (runs), 'worker'),
      ]),
    ),
  };
}

/** @param {Link} link */
function linkTable({ star, peers }) {
  return {
    caption: `${LINK.workers} workers and a coordinator on links of ${LINK.megabits} Mbit/s, ${LINK.oneWayMs} ms from one to another`,
    head: ['Who sums', 'A round', 'Overhead of a round'],
    rows: [
      ['star', ms(star.roundMs), ms(star.overheadMs)],
      ['peers', ms(peers.roundMs), ms(peers.overheadMs)],
    ],
  };
}

/** @param {Case} of */
function glooGoal({ workers, peers, gloo: theirs }) {
  if (theirs.length === 0) return [];
  const each = theirs.map((gloo, turn) => median([...peers[turn].overheadMs]) / gloo);
  return [
    {
      text: `${workers} workers: the overhead of a round with peers is ${decimal(median(each), 2)}x of gloo and Adam (turns: ${each.map((ratio) => decimal(ratio, 2)).join(', ')}; goal: at most ${GLOO_GOAL.toFixed(1)}x)`,
      met: median(each) <= GLOO_GOAL,
      binding: false,
    },
  ];
}

/** @param {Case} of */
function bytesGoal({ workers, star, peers }) {
  const share = bytes(peers) / bytes(star);
  return {
    text: `${workers} workers: ${decimal(share * 100, 1)} % of the star's bytes pass through the coordinator (goal: at most ${BYTES_GOAL * 100} %)`,
    met: share <= BYTES_GOAL,
    binding: false,
  };
}

/** @param {Link} link */
function linkGoal({ star, peers }) {
  return {
    text: `on links of ${LINK.megabits} Mbit/s, a round with peers takes ${decimal(peers.roundMs / star.roundMs, 2)}x of one with a star, and its overhead ${decimal(peers.overheadMs / star.overheadMs, 2)}x (goal: at most ${LINK_GOAL}x)`,
    met: peers.roundMs / star.roundMs <= LINK_GOAL,
    binding: false,
  };
}
