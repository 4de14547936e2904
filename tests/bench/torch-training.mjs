/** PyTorch trains the model of a recipe: contestants/torch_train.py as a child process. */
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { createLayout, initialParameters } from '@troupe/model';
import { BenchError } from './bench-error.mjs';
import { VOCABULARY } from './configs.mjs';
import { interruption } from './interruption.mjs';
import { PYTHON } from './python.mjs';

const SCRIPT = new URL('./contestants/torch_train.py', import.meta.url).pathname;
/** Steps of a trial that shows how fast PyTorch is with a number of threads. */
const TRIAL_ROUNDS = 12;

/** @typedef {{ torch: number, blas: number }} Threads */
/**
 * @typedef {import('./configs.mjs').Size & {
 *   rounds: number, learningRate: number, warmup: number, finalFraction: number, clip: number, evalEvery: number, target: number, seed: number
 *   layerNorm?: boolean, dropout?: number, dropoutOutput?: number, ema?: number
 *   labelSmoothing?: number, zoneout?: number, muon?: number, swa?: number, constant?: boolean, cpuTime?: boolean
 *   initial?: Initial
 * }} Order see torch_train.py; `target`: nats/char, where the training ends
 */
/** @typedef {{ file: string, tensors: readonly [name: string, offset: number, size: number][] }} Initial */
/**
 * @typedef {object} Validation
 * @property {number} round
 * @property {number} seconds of training until then, without validations; of the processor with `cpuTime`
 * @property {number} validationSeconds
 * @property {number} optimizerSeconds of the `seconds`
 * @property {number} validationLoss nats/char
 * @property {number} [averageLoss] that of the averaged parameters
 */

/** One thread, or as many as there are cores; PyTorch's threads and those of its BLAS may obstruct each other. */
const CHOICES = /** @type {const} */ ([
  { torch: 1, blas: 1 },
  { torch: 2, blas: 1 },
  { torch: 2, blas: 2 },
]);

/** @param {Threads} threads */
export const describeThreads = ({ torch: own, blas }) =>
  `${own} ${own === 1 ? 'thread' : 'threads'}${own === blas ? '' : ` (BLAS ${blas})`}`;

/**
 * The fastest threads for a recipe.
 * @param {string} text
 * @param {Order} order
 * @param {(text: string) => void} progress
 */
export async function bestThreads(text, order, progress) {
  const trials = [];
  for (const threads of CHOICES) {
    progress(`PyTorch with ${describeThreads(threads)}`);
    const trial = { ...order, rounds: TRIAL_ROUNDS, evalEvery: TRIAL_ROUNDS, target: 0 };
    const [{ seconds }] = await torchTrain(text, trial, { threads, deadlineMs: 300_000 });
    trials.push({ threads, seconds });
  }
  return trials.reduce((best, trial) => (trial.seconds < best.seconds ? trial : best)).threads;
}

/**
 * Writes the parameters that a run of Troupe with this model and seed begins with.
 * @param {Order} order
 * @param {string} folder
 * @returns {Initial}
 */
export function initialOf({ layers, hidden, layerNorm = false, seed }, folder) {
  const model = /** @type {const} */ ({ cell: 'lstm', layers, hidden, vocabulary: VOCABULARY, layerNorm });
  const layout = createLayout(model);
  const file = path.join(folder, 'initial.f32');
  const { buffer } = initialParameters(model, layout, seed);
  fs.writeFileSync(file, new Uint8Array(buffer));
  return { file, tensors: layout.tensors.map(({ name, offset, size }) => [name, offset, size]) };
}

/**
 * @param {string} text path of the corpus
 * @param {Order} order
 * @param {{ threads: Threads, deadlineMs: number }} options
 * @returns {Promise<Validation[]>} at least one
 * @throws {BenchError} `run_failed`
 */
export async function torchTrain(text, order, { threads: { torch: own, blas }, deadlineMs }) {
  const child = spawn(PYTHON, [SCRIPT, text, JSON.stringify({ ...order, threads: own })], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: {
      ...process.env,
      ...{ OMP_NUM_THREADS: String(own), OPENBLAS_NUM_THREADS: String(blas), MKL_NUM_THREADS: String(blas) },
    },
    signal: interruption,
    timeout: deadlineMs,
  });
  /** @type {Validation[]} */
  const validations = [];
  /** @type {string[]} */
  const complaints = [];
  createInterface({ input: child.stdout }).on('line', (line) => validations.push(JSON.parse(line)));
  createInterface({ input: child.stderr }).on('line', (line) => complaints.push(line));
  const code = await new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
  });
  if (code === 0 && validations.length > 0) return validations;
  throw new BenchError(
    'run_failed',
    `PyTorch ended with ${code}:\n  ${complaints.slice(-8).join('\n  ')}`,
    'Run the script by hand to see why.',
  );
}
