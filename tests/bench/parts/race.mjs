/** The time to reach a validation loss: a cluster of two workers against PyTorch on the same cores. */
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { BenchError } from '../bench-error.mjs';
import { describeSize, MEDIUM } from '../configs.mjs';
import { median } from '../contestant.mjs';
import { interruption } from '../interruption.mjs';
import { PYTHON, whyNoFastTorch } from '../python.mjs';
import { decimal } from '../report.mjs';
import { corpusPath, runFlags, train, withScratch } from '../runs.mjs';
import { enginesHere } from './engine.mjs';

export const title = 'Time to a validation loss';
export const about =
  'Training on tiny-shakespeare until the validation loss is low enough, with one recipe for all: Adam with betas 0.9 and ' +
  '0.99, cosine schedule with warm-up, clip norm, initial distribution, order of characters. `troupe train` has two workers ' +
  'of one thread each. PyTorch has as many threads as are fastest here. They run one after the other, once for each seed. ' +
  'For Troupe, the seconds are those of its rounds, including everything in the cluster and the validations that run beside ' +
  'the training. For PyTorch, they are those of its training steps alone.';

const TARGET = 1.75;
const RECIPE = { rounds: 1_150, learningRate: 0.01, warmup: 60, finalFraction: 0.02, clip: 1, evalEvery: 25, target: TARGET };
const DEADLINE_MS = 900_000;
/** Steps of a trial that shows how fast PyTorch is with a number of threads. */
const TRIAL_ROUNDS = 12;

/** @typedef {{ round: number, seconds: number, validationLoss: number }} Arrival `seconds`: Infinity when the loss was not reached */
/** @typedef {typeof RECIPE & { seed: number }} Seeded */
/** @typedef {{ name: string, arrivals: Arrival[], run: (recipe: Seeded) => Promise<Arrival> }} Runner */

/** @param {import('../report.mjs').Options} options */
export async function measure({ quick, progress }) {
  const path = corpusPath('tiny-shakespeare');
  if (path === undefined) return { skipped: 'tiny-shakespeare is missing: put it into the folder that TROUPE_CORPUS_DIR names' };
  const recipe = quick ? { ...RECIPE, rounds: 4, evalEvery: 2, target: 10 } : RECIPE;
  const why = whyNoFastTorch();
  const threads = why === undefined ? await bestThreads(path, recipe, progress) : undefined;
  const { present } = await enginesHere(['native', 'wasm']);
  const [engine] = present;
  /** @type {Runner[]} */
  const runners = [{ name: `Troupe ${engine}, 2 workers`, arrivals: [], run: (seeded) => troupe(engine, seeded) }];
  if (threads !== undefined) {
    runners.push({ name: `PyTorch, ${describeThreads(threads)}`, arrivals: [], run: (seeded) => torch(path, seeded, threads) });
  }
  for (let seed = 1; seed <= (quick ? 1 : 3); seed++) {
    for (const { name, arrivals, run } of runners) {
      progress(`${name}, seed ${seed}`);
      arrivals.push(await run({ ...recipe, seed }));
    }
  }
  return report(runners, recipe, why);
}

/**
 * @param {readonly Runner[]} runners PyTorch is the last, unless `why` says why it did not run
 * @param {typeof RECIPE} recipe
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

/** @param {string} engine @param {Seeded} recipe @returns {Promise<Arrival>} */
async function troupe(engine, { rounds, learningRate, warmup, finalFraction, clip, evalEvery, target, seed }) {
  /** @type {Map<number, number>} */
  const elapsedMs = new Map();
  let totalMs = 0;
  /** @type {Arrival | undefined} */
  let arrival;
  let last = { round: 0, seconds: Infinity, validationLoss: NaN };
  await withScratch((out) =>
    train(
      [
        ...runFlags('tiny-shakespeare', MEDIUM, out).filter((flag) => !/^--(eval-every|seed)=/.test(flag)),
        ...[`--engine=${engine}`, `--rounds=${rounds}`, '--workers=2', `--seed=${seed}`, `--eval-every=${evalEvery}`],
        ...[`--lr=${learningRate}`, `--warmup=${warmup}`, `--lr-final=${finalFraction}`, `--clip=${clip}`],
      ],
      {
        deadlineMs: DEADLINE_MS,
        enough: ({ round, roundMs }) => {
          elapsedMs.set(round, (totalMs += roundMs));
          return arrival !== undefined;
        },
        onEvaluation: ({ round, validationLoss }) => {
          last = { ...last, round, validationLoss };
          // A loss that is not a number arrives as null.
          if (typeof validationLoss !== 'number' || validationLoss > target || arrival !== undefined) return;
          const ms = elapsedMs.get(round);
          if (ms !== undefined) arrival = { round, validationLoss, seconds: ms / 1000 };
        },
      },
    ),
  );
  return arrival ?? last;
}

/**
 * @param {string} path
 * @param {Seeded} recipe
 * @param {Threads} threads
 * @returns {Promise<Arrival>}
 */
async function torch(path, recipe, threads) {
  const arrivals = await torchTrain(path, recipe, threads);
  const last = /** @type {Arrival} */ (arrivals.at(-1));
  return last.validationLoss <= recipe.target ? last : { ...last, seconds: Infinity };
}

/** @typedef {{ torch: number, blas: number }} Threads */

const describeThreads = (/** @type {Threads} */ { torch: own, blas }) =>
  `${own} ${own === 1 ? 'thread' : 'threads'}${own === blas ? '' : ` (BLAS ${blas})`}`;

/** The threads of PyTorch and of its BLAS may obstruct each other, so more threads may be slower. */
async function bestThreads(
  /** @type {string} */ path,
  /** @type {typeof RECIPE} */ recipe,
  /** @type {(text: string) => void} */ progress,
) {
  const choices = [
    { torch: 1, blas: 1 },
    { torch: 2, blas: 1 },
    { torch: 2, blas: 2 },
  ];
  /** @type {{ threads: Threads, seconds: number }[]} */
  const trials = [];
  for (const threads of choices) {
    progress(`PyTorch with ${describeThreads(threads)}`);
    const [arrival] = await torchTrain(
      path,
      { ...recipe, seed: 1, rounds: TRIAL_ROUNDS, evalEvery: TRIAL_ROUNDS, target: 0 },
      threads,
    );
    trials.push({ threads, seconds: arrival.seconds });
  }
  return trials.reduce((best, trial) => (trial.seconds < best.seconds ? trial : best)).threads;
}

/**
 * @param {string} path
 * @param {Seeded} recipe
 * @param {Threads} threads
 * @returns {Promise<Arrival[]>}
 */
async function torchTrain(path, recipe, { torch: own, blas }) {
  const script = new URL('../contestants/torch_train.py', import.meta.url).pathname;
  const child = spawn(PYTHON, [script, path, JSON.stringify({ ...MEDIUM, ...recipe, threads: own })], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, OMP_NUM_THREADS: String(own), OPENBLAS_NUM_THREADS: String(blas), MKL_NUM_THREADS: String(blas) },
    signal: interruption,
    timeout: DEADLINE_MS,
  });
  /** @type {Arrival[]} */
  const arrivals = [];
  /** @type {string[]} */
  const complaints = [];
  createInterface({ input: child.stdout }).on('line', (line) => arrivals.push(JSON.parse(line)));
  createInterface({ input: child.stderr }).on('line', (line) => complaints.push(line));
  const code = await new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
  });
  if (code === 0 && arrivals.length > 0) return arrivals;
  throw new BenchError(
    'run_failed',
    `PyTorch ended with ${code}:\n  ${complaints.slice(-8).join('\n  ')}`,
    'Run the script by hand to see why.',
  );
}
