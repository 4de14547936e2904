/** The time to reach low validation losses with all that a recipe has: Troupe against PyTorch on the same cores. */
import os from 'node:os';
import { describeSize, MEDIUM } from '../configs.mjs';
import { whyNoFastTorch } from '../python.mjs';
import { decimal } from '../report.mjs';
import { corpusPath, withScratch } from '../runs.mjs';
import { bestThreads, describeThreads, initialOf, torchTrain } from '../torch-training.mjs';
import { lossOf, troupeTrain } from '../troupe-training.mjs';
import { enginesHere } from './engine.mjs';

export const title = 'Time to 1.60 and 1.50 nats/char';
export const about =
  'Training on tiny-shakespeare with layer normalisation, dropout between the layers and on the output, and averaged ' +
  'parameters, until the validation loss of the trained or the averaged parameters is low enough. `troupe train` has one ' +
  'worker with a thread per core. PyTorch has one `nn.LSTM` per layer, with `nn.LayerNorm` and dropout after it, and as many ' +
  'threads as are fastest here. Both begin with the same parameters and read the same characters in the same order; their ' +
  'dropout masks differ. Without dropout the losses of both agree, which is checked first. They run one after the other. For ' +
  'Troupe, the seconds are those of its rounds, including everything in the cluster and the validations, which run beside the ' +
  'training on the same cores. For PyTorch, the first figure is without validations and the second with them.';

/** @typedef {import('../torch-training.mjs').Order} Order */
/** @typedef {import('../torch-training.mjs').Threads} Threads */
/** @typedef {import('../troupe-training.mjs').Validation & { validationSeconds?: number }} Validation */
/** @typedef {{ name: string, run: (order: Order) => Promise<readonly Validation[]>, curves: (readonly Validation[])[] }} Runner */

const TARGETS = [1.6, 1.5];
/** @type {Order} */
const RECIPE = {
  ...MEDIUM,
  ...{ rounds: 3_500, learningRate: 0.008, warmup: 100, finalFraction: 0.02, clip: 1 },
  ...{ layerNorm: true, dropout: 0.2, dropoutOutput: 0.2, ema: 0.998 },
  ...{ evalEvery: 100, target: Math.min(...TARGETS), seed: 1 },
};
const SEEDS = [1, 2];
const DEADLINE_MS = 3_600_000;
/** Losses without dropout differ by rounding alone, nats/char. */
const AGREEMENT = { rounds: 200, limit: 2e-3 };

/** @param {import('../report.mjs').Options} options */
export async function measure({ quick, progress }) {
  const path = corpusPath('tiny-shakespeare');
  if (path === undefined) return { skipped: 'tiny-shakespeare is missing: put it into the folder that TROUPE_CORPUS_DIR names' };
  const why = whyNoFastTorch();
  if (why !== undefined) return { skipped: why };
  const [engine] = (await enginesHere(['native', 'wasm'])).present;
  const recipe = quick ? { ...RECIPE, hidden: 32, rounds: 40, evalEvery: 20 } : RECIPE;
  return await withScratch(async (folder) => {
    const threads = await bestThreads(path, recipe, progress);
    const cores = os.availableParallelism();
    const runners = [troupe(engine, cores), torch(path, threads, folder)];
    const agreement = await agree(runners, recipe, progress);
    for (const seed of quick ? [1] : SEEDS) {
      for (const { name, run, curves } of runners) {
        const curve = await run({ ...recipe, seed });
        curves.push(curve);
        progress(`${name}, seed ${seed}: ${TARGETS.map((target) => arrivalText(curve, target)).join(', ')}`);
      }
    }
    return report(runners, recipe, agreement);
  });
}

/** @param {string} engine @param {number} threads @returns {Runner} */
function troupe(engine, threads) {
  const flags = ['--workers=1', `--threads=${threads}`];
  return {
    name: `Troupe ${engine}, ${threads} threads`,
    run: (order) => troupeTrain(order, { engine, flags, deadlineMs: DEADLINE_MS }),
    curves: [],
  };
}

/** @param {string} path @param {Threads} threads @param {string} folder @returns {Runner} */
function torch(path, threads, folder) {
  return {
    name: `PyTorch, ${describeThreads(threads)}`,
    run: (order) => torchTrain(path, { ...order, initial: initialOf(order, folder) }, { threads, deadlineMs: DEADLINE_MS }),
    curves: [],
  };
}

/**
 * Whether all runners train the same model in the same way.
 * @param {readonly Runner[]} runners
 * @param {Order} recipe
 * @param {(text: string) => void} progress
 * @returns {Promise<import('../report.mjs').Goal>}
 */
async function agree(runners, recipe, progress) {
  const { rounds, limit } = AGREEMENT;
  const order = { ...recipe, rounds, evalEvery: rounds, dropout: 0, dropoutOutput: 0, target: 0 };
  const ends = [];
  for (const { name, run } of runners) {
    progress(`${name}, without dropout`);
    ends.push((await run(order)).at(-1));
  }
  const [one, other] = ends;
  const apart = (/** @type {'validationLoss' | 'averageLoss'} */ kind) => Math.abs((one?.[kind] ?? NaN) - (other?.[kind] ?? NaN));
  const largest = Math.max(apart('validationLoss'), apart('averageLoss'));
  return {
    text: `without dropout, losses differ by ${largest.toExponential(1)} nats/char after ${rounds} rounds (limit: ${limit})`,
    met: largest <= limit,
    binding: true,
  };
}

/** @param {readonly Runner[]} runners Troupe, PyTorch @param {Order} recipe @param {import('../report.mjs').Goal} agreement */
function report(runners, recipe, agreement) {
  const { rounds, learningRate, warmup, clip, dropout, dropoutOutput, ema } = recipe;
  const setting = `${describeSize(recipe)}, ${rounds} rounds planned, peak rate ${learningRate}, ${warmup} of warm-up, clip ${clip}`;
  return {
    tables: [
      {
        caption: `${setting}, layer normalisation, dropout ${dropout} and ${dropoutOutput} on the output, average ${ema}`,
        head: ['', 'Seed', ...TARGETS.map((target) => `${decimal(target, 2)} nats/char`)],
        rows: runners.flatMap(({ name, curves }) =>
          curves.map((curve, i) => [name, String(SEEDS[i]), ...TARGETS.map((target) => arrivalText(curve, target))]),
        ),
      },
      lossesAtEqualRounds(runners),
    ],
    goals: [agreement, ...TARGETS.map((target) => speedGoal(runners, target))],
    notes: [],
    data: { recipe, runners: runners.map(({ name, curves }) => ({ name, curves })) },
  };
}

/** @param {readonly Validation[]} curve @param {number} target */
const arrivalOf = (curve, target) => curve.find((validation) => lossOf(validation) <= target);

/** @param {readonly Validation[]} curve @param {number} target */
function arrivalText(curve, target) {
  const arrival = arrivalOf(curve, target);
  if (arrival === undefined) return 'not reached';
  const { round, seconds, validationSeconds } = arrival;
  const whole = validationSeconds === undefined ? '' : `, ${decimal(seconds + validationSeconds, 0)} s with validations`;
  return `${decimal(seconds, 0)} s${whole} (round ${round})`;
}

/** @param {readonly Runner[]} runners */
function lossesAtEqualRounds(runners) {
  const curves = runners.map((runner) => runner.curves[0]);
  const [own, rival] = curves;
  // Troupe leaves out a validation while the one before is running.
  const both = own.filter(({ round }) => rival.some((validation) => validation.round === round));
  const picked = both.filter((_, i) => i === both.length - 1 || (i + 1) % Math.max(1, Math.round(both.length / 8)) === 0);
  return {
    caption: `The lower loss of both models at equal rounds, seed ${SEEDS[0]}`,
    head: ['Round', ...runners.map(({ name }) => name)],
    rows: picked.map(({ round }) => [
      String(round),
      ...curves.map((curve) => {
        const at = curve.find((validation) => validation.round === round);
        return at === undefined ? '' : decimal(lossOf(at), 3);
      }),
    ]),
  };
}

/** Summed over the seeds. PyTorch's validations do not count. @param {readonly Runner[]} runners @param {number} target */
function speedGoal([own, rival], target) {
  const total = (/** @type {Runner} */ { curves }) =>
    curves.reduce((sum, curve) => sum + (arrivalOf(curve, target)?.seconds ?? Infinity), 0);
  const [time, rivalTime] = [total(own), total(rival)];
  const reached = Number.isFinite(time) && Number.isFinite(rivalTime);
  const told = reached ? `${decimal(time / rivalTime, 2)} of PyTorch's time without validations` : 'not reached by both';
  return {
    text: `to ${decimal(target, 2)}: ${told} (goal: less than 1)`,
    met: time < rivalTime,
    binding: false,
  };
}
