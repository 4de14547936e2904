/** What Troupe does not have, tried in PyTorch: label smoothing, zoneout, stochastic weight averaging, Muon. */
import { describeSize } from '../configs.mjs';
import { whyNoFastTorch } from '../python.mjs';
import { count, decimal } from '../report.mjs';
import { corpusPath, withScratch } from '../runs.mjs';
import { initialOf, torchTrain } from '../torch-training.mjs';
import { lossOf } from '../troupe-training.mjs';

export const title = 'What Troupe does not have';
export const about =
  'One recipe with one change each, trained on tiny-shakespeare in PyTorch with one thread. `npm run bench -- recipe-race` ' +
  'checks that PyTorch and Troupe train the same model. "Best" is the lowest of the validations of a run, of the trained or ' +
  'the averaged parameters; "Last" is that of the trained parameters at the end. Seconds are those of the processor, without validations. ' +
  'One seed each: differences below 0.01 mean little.';

/** @typedef {import('../torch-training.mjs').Order} Order */
/** @typedef {import('../torch-training.mjs').Validation} Validation */
/** @typedef {{ name: string, changes: Partial<Order> }} Row */

/** As the base of `npm run bench -- quality`. @type {Order} */
const BASE = {
  ...{ layers: 2, hidden: 128, streams: 32, window: 64 },
  ...{ rounds: 1_500, learningRate: 0.008, warmup: 20, finalFraction: 0.02, clip: 1 },
  ...{ layerNorm: true, dropout: 0.2, dropoutOutput: 0.2, ema: 0.995 },
  ...{ evalEvery: 50, target: 0, seed: 1, cpuTime: true },
};
/** @type {readonly Row[]} */
const ROWS = [
  { name: 'base', changes: {} },
  { name: 'label smoothing 0.05', changes: { labelSmoothing: 0.05 } },
  { name: 'zoneout 0.1 (cells 0.05)', changes: { zoneout: 0.1 } },
  { name: 'constant rate, mean of the last quarter (SWA)', changes: { constant: true, swa: 0.25 } },
  { name: 'Muon, rate 0.01', changes: { muon: 0.01 } },
  { name: 'Muon, rate 0.02', changes: { muon: 0.02 } },
];
/** The loss whose time is told, nats/char: late in the base run. */
const TARGET = 1.65;
/** Sizes at which the cost of a step of the optimizer is measured. */
const COST_SIZES = [BASE, { ...BASE, hidden: 512, streams: 64 }];
const COST_ROUNDS = 6;
const THREADS = { torch: 1, blas: 1 };
const DEADLINE_MS = 3_600_000;

/** @param {import('../report.mjs').Options} options */
export async function measure({ quick, progress }) {
  const path = corpusPath('tiny-shakespeare');
  if (path === undefined) return { skipped: 'tiny-shakespeare is missing: put it into the folder that TROUPE_CORPUS_DIR names' };
  const why = whyNoFastTorch();
  if (why !== undefined) return { skipped: why };
  const base = quick ? { ...BASE, hidden: 16, rounds: 8, evalEvery: 4 } : BASE;
  return await withScratch(async (folder) => {
    const run = (/** @type {Order} */ order) =>
      torchTrain(path, { ...order, initial: initialOf(order, folder) }, { threads: THREADS, deadlineMs: DEADLINE_MS });
    const outcomes = [];
    for (const { name, changes } of ROWS) {
      const curve = await run({ ...base, ...changes });
      outcomes.push({ name, changes, curve });
      progress(rowOf({ name, curve }).join(' | '));
    }
    const costs = [];
    for (const size of quick ? [base] : COST_SIZES) costs.push(await costOf(size, run));
    return report(base, outcomes, costs);
  });
}

/**
 * The time of a round, and the parts of it that Adam and Muon take; the average is part of both.
 * @param {Order} size
 * @param {(order: Order) => Promise<Validation[]>} run
 */
async function costOf(size, run) {
  const perRound = async (/** @type {Partial<Order>} */ changes) => {
    // Nothing of the first rounds, in which memory is taken.
    const order = { ...size, ...changes, rounds: 2 * COST_ROUNDS, evalEvery: COST_ROUNDS };
    const [early, late] = await run(order);
    const ms = (/** @type {'seconds' | 'optimizerSeconds'} */ what) => ((late[what] - early[what]) / COST_ROUNDS) * 1000;
    return { roundMs: ms('seconds'), optimizerMs: ms('optimizerSeconds') };
  };
  return { size, adam: await perRound({}), muon: await perRound({ muon: 0.02 }) };
}

/**
 * @param {Order} base
 * @param {readonly { name: string, changes: Partial<Order>, curve: readonly Validation[] }[]} outcomes
 * @param {readonly Awaited<ReturnType<typeof costOf>>[]} costs
 */
function report(base, outcomes, costs) {
  const characters = count(base.rounds * base.streams * base.window);
  return {
    tables: [
      {
        caption: `${describeSize(base)}, ${base.rounds} rounds, ${characters} characters`,
        head: ['', 'Best', 'At round', 'Last', `To ${TARGET}: round`, 'Seconds', 'Seconds in all'],
        rows: outcomes.map(rowOf),
      },
      {
        caption: 'A step of the optimizer, with the clipping and the average, one thread',
        head: ['', 'Forward and backward', 'Adam', 'Muon', "Muon's part of the round"],
        rows: costs.map(({ size, adam, muon }) => [
          describeSize(size),
          `${decimal(adam.roundMs - adam.optimizerMs, 0)} ms`,
          `${decimal(adam.optimizerMs, 1)} ms`,
          `${decimal(muon.optimizerMs, 1)} ms`,
          `${decimal((100 * muon.optimizerMs) / muon.roundMs, 0)} %`,
        ]),
      },
    ],
    goals: [],
    notes: [],
    data: { base, outcomes, costs },
  };
}

/** @param {{ name: string, curve: readonly Validation[] }} outcome */
function rowOf({ name, curve }) {
  const best = curve.reduce((least, one) => (lossOf(one) < lossOf(least) ? one : least));
  const last = curve[curve.length - 1];
  const arrival = curve.find((validation) => lossOf(validation) <= TARGET);
  return [
    name,
    decimal(lossOf(best), 3),
    `${best.round}${lossOf(best) < best.validationLoss ? ', averaged' : ''}`,
    decimal(last.validationLoss, 3),
    arrival === undefined ? 'not reached' : String(arrival.round),
    arrival === undefined ? '' : decimal(arrival.seconds, 0),
    decimal(last.seconds, 0),
  ];
}
