/** The time to reach a validation loss: a cluster of two workers against PyTorch on the same cores. */
import { describeSize, MEDIUM } from '../configs.mjs';
import { median } from '../contestant.mjs';
import { whyNoFastTorch } from '../python.mjs';
import { decimal } from '../report.mjs';
import { corpusPath } from '../runs.mjs';
import { bestThreads, describeThreads, torchTrain } from '../torch-training.mjs';
import { lossOf, troupeTrain } from '../troupe-training.mjs';
import { enginesHere } from './engine.mjs';

export const title = 'Time to a validation loss';
export const about =
  'Training on tiny-shakespeare until the validation loss is low enough, with one recipe for all: Adam with betas 0.9 and ' +
  '0.99, cosine schedule with warm-up, clip norm, initial distribution, order of characters. `troupe train` has two workers ' +
  'of one thread each. PyTorch has as many threads as are fastest here. They run one after the other, once for each seed. ' +
  'For Troupe, the seconds are those of its rounds, including everything in the cluster and the validations that run beside ' +
  'the training. For PyTorch, they are those of its training steps alone.';

/** @typedef {import('../torch-training.mjs').Order} Order */
/** @type {Order} */
const RECIPE = {
  ...MEDIUM,
  ...{ rounds: 1_150, learningRate: 0.01, warmup: 60, finalFraction: 0.02, clip: 1 },
  ...{ evalEvery: 25, target: 1.75, seed: 1 },
};
const DEADLINE_MS = 900_000;

/** @typedef {import('../troupe-training.mjs').Validation} Validation */
/** @typedef {Validation} Arrival `seconds`: Infinity when the loss was not reached */
/** @typedef {{ name: string, arrivals: Arrival[], run: (order: Order) => Promise<readonly Validation[]> }} Runner */

/** @param {import('../report.mjs').Options} options */
export async function measure({ quick, progress }) {
  const path = corpusPath('tiny-shakespeare');
  if (path === undefined) return { skipped: 'tiny-shakespeare is missing: put it into the folder that TROUPE_CORPUS_DIR names' };
  const recipe = quick ? { ...RECIPE, rounds: 4, evalEvery: 2, target: 10 } : RECIPE;
  const why = whyNoFastTorch();
  const threads = why === undefined ? await bestThreads(path, recipe, progress) : undefined;
  const { present } = await enginesHere(['native', 'wasm']);
  const [engine] = present;
  const troupe = (/** @type {Order} */ order) => troupeTrain(order, { engine, flags: ['--workers=2'], deadlineMs: DEADLINE_MS });
  /** @type {Runner[]} */
  const runners = [{ name: `Troupe ${engine}, 2 workers`, arrivals: [], run: troupe }];
  if (threads !== undefined) {
    const torch = (/** @type {Order} */ order) => torchTrain(path, order, { threads, deadlineMs: DEADLINE_MS });
    runners.push({ name: `PyTorch, ${describeThreads(threads)}`, arrivals: [], run: torch });
  }
  for (let seed = 1; seed <= (quick ? 1 : 3); seed++) {
    for (const { name, arrivals, run } of runners) {
      progress(`${name}, seed ${seed}`);
      arrivals.push(arrivalOf(await run({ ...recipe, seed }), recipe.target));
    }
  }
  return report(runners, recipe, why);
}

/**
 * @param {readonly Runner[]} runners PyTorch is the last, unless `why` says why it did not run
 * @param {Order} recipe
 * @param {string | undefined} why
 */
function report(runners, recipe, why) {
  const times = runners.map(({ arrivals }) => median(arrivals.map(({ seconds }) => seconds)));
  const told = (/** @type {number} */ seconds) => (Number.isFinite(seconds) ? `${decimal(seconds, 0)} s` : 'not reached');
  const rows = runners.map(({ name, arrivals }, i) => [
    name,
    told(times[i]),
    arrivals
      .map(({ seconds, round, validationLoss }) => `${told(seconds)} (round ${round}, ${decimal(validationLoss, 3)})`)
      .join(', '),
  ]);
  const head = [`Until ${recipe.target} nats/char`, 'Median', 'Each seed'];
  const rival = times.at(-1) ?? NaN;
  const goals = (why === undefined ? runners.slice(0, -1) : []).map(({ name }, i) => ({
    text: `${name}: ${decimal(times[i] / rival, 2)} of PyTorch's time (goal: less than 1)`,
    met: times[i] < rival,
    binding: false,
  }));
  const { rounds, learningRate, warmup, clip } = recipe;
  return {
    tables: [
      {
        caption: `${describeSize(MEDIUM)}, ${rounds} rounds planned, peak rate ${learningRate}, ${warmup} of warm-up, clip ${clip}`,
        head,
        rows,
      },
    ],
    goals,
    notes: why === undefined ? [] : [`PyTorch did not run: ${why}`],
    data: { recipe, runners: runners.map(({ name, arrivals }) => ({ name, arrivals })) },
  };
}

/** The first validation that is low enough, or else the last one. @param {readonly Validation[]} validations @param {number} target @returns {Arrival} */
function arrivalOf(validations, target) {
  const last = validations[validations.length - 1];
  return lossOf(last) <= target ? last : { ...last, seconds: Infinity };
}
