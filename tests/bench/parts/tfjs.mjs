/** Troupe's wasm engine against TensorFlow.js. */
import { describeSize, MEDIUM, SMALL } from '../configs.mjs';
import { race, ratioOf } from '../contestant.mjs';
import { count, decimal, ms } from '../report.mjs';
import { troupe } from './engine.mjs';

export const title = 'Against TensorFlow.js';
export const about =
  'The same model in tfjs, as its documentation has it: tf.layers.lstm layers, a dense softmax, trainOnBatch with Adam, on ' +
  'tfjs-backend-wasm (SIMD) and on the cpu backend. trainOnBatch includes the optimizer, so it is compared with gradient and Adam step here; ' +
  'the gradient alone stands beside it. One process each, in turn, on one machine; the ratio is the median over turns.';

const GOAL = 10;
/** A backend whose first step takes longer is left out. */
const FIRST_STEP_MS = 180_000;
const QUICK_WINDOW = 8;

/**
 * @param {import('../configs.mjs').Size} size
 * @param {string} backend
 * @returns {import('../contestant.mjs').Entry}
 */
function tfjs(size, backend) {
  const script = new URL('../contestants/tfjs.mjs', import.meta.url).pathname;
  return { name: `tfjs ${backend}`, command: [process.execPath, script, backend], size, trains: true };
}

/** @param {import('../report.mjs').Options} options */
export async function measure({ quick, progress }) {
  const tables = [];
  const goals = [];
  const notes = [];
  const data = [];
  // Quick: a window so short that every contestant takes a few steps.
  for (const size of quick ? [{ ...SMALL, window: QUICK_WINDOW }] : [SMALL, MEDIUM]) {
    progress(describeSize(size));
    const entries = [troupe(size, false), troupe(size, true), tfjs(size, 'wasm'), tfjs(size, 'cpu')];
    const { scores, dropped } = await race(entries, { quick, repetitions: 3, deadlineMs: FIRST_STEP_MS });
    const [gradient, step, ...others] = scores;
    const rows = scores.map((score) => row(score, step));
    tables.push({
      caption: describeSize(size),
      head: ['Contestant', 'chars/s', 'ms a step', 'Troupe with Adam is', 'Steps', 'What ran'],
      rows,
    });
    notes.push(...dropped.map(({ message }) => `${message}; left out.`));
    const ratios = others.map((other) => ratioOf(step, other));
    data.push({ ...size, gradient, step, others: others.map((other, i) => ({ ...other, ratio: ratios[i] })) });
    if (others.length === 0) continue;
    const value = Math.min(...ratios);
    goals.push({
      text: `${describeSize(size)}: ${decimal(value, 1)}x the better tfjs backend (goal: at least ${GOAL}x)`,
      met: value >= GOAL,
      binding: false,
    });
  }
  return { tables, goals, notes, data };
}

/**
 * @param {import('../contestant.mjs').Score} score
 * @param {import('../contestant.mjs').Score} step
 */
function row(score, step) {
  const ratio = score.name.startsWith('tfjs') ? `${decimal(ratioOf(step, score), 1)}x as fast` : '';
  return [score.name, count(score.charsPerSecond), ms(score.stepMs), ratio, String(score.steps), score.detail];
}
