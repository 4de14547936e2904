/** Troupe's wasm engine against TensorFlow.js. */
import { describeSize, MEDIUM, SMALL } from '../configs.mjs';
import { race, ratioOf } from '../contestant.mjs';
import { count, decimal, ms } from '../report.mjs';
import { troupe } from './engine.mjs';

export const title = 'Against TensorFlow.js';
export const about =
  'The same model in TensorFlow.js, in two ways. The first follows its documentation: tf.layers.lstm layers, a dense ' +
  'softmax and trainOnBatch with Adam, on tfjs-backend-wasm (SIMD) and on the cpu backend. trainOnBatch includes the ' +
  'optimizer, so it is compared with our gradient and Adam step. The second is tfjs at its best: the loop over time and its ' +
  "backward pass written by hand with its operations (Troupe's own tfjs engine). It computes the gradient only, and is " +
  'compared with our gradient alone. Each contestant is one process, in turn, on one machine; the ratio is the median over ' +
  'turns.';

const LAYERS_GOAL = 25;
const LOOP_GOAL = 6;
/** A backend is left out if its first step takes longer. */
const FIRST_STEP_MS = 180_000;
const QUICK_WINDOW = 8;

/**
 * @param {import('../configs.mjs').Size} size
 * @param {string} script
 * @param {string} backend
 * @param {string} name
 * @returns {import('../contestant.mjs').Entry}
 */
function tfjs(size, script, backend, name) {
  const file = new URL(`../contestants/${script}`, import.meta.url).pathname;
  return { name, command: [process.execPath, file, backend], size, trains: script === 'tfjs.mjs', optional: true };
}

const LAYERS_WASM = 'tf.layers, wasm';
const LOOP_WASM = 'tfjs by hand, wasm';

/** The contestants; `trains` says whether a step includes the optimizer, and so what it is compared with. @param {import('../configs.mjs').Size} size */
function others(size) {
  return [
    tfjs(size, 'tfjs.mjs', 'wasm', LAYERS_WASM),
    tfjs(size, 'tfjs.mjs', 'cpu', 'tf.layers, cpu'),
    tfjs(size, 'tfjs-loop.mjs', 'wasm', LOOP_WASM),
    tfjs(size, 'tfjs-loop.mjs', 'cpu', 'tfjs by hand, cpu'),
  ];
}

/** @param {import('../report.mjs').Options} options */
export async function measure({ quick, progress }) {
  const tables = [];
  const goals = [];
  const notes = [];
  const data = [];
  // Quick: the window is short enough for every contestant to take a few steps.
  for (const size of quick ? [{ ...SMALL, window: QUICK_WINDOW }] : [SMALL, MEDIUM]) {
    progress(describeSize(size));
    const entries = [troupe('wasm', size), troupe('wasm', size, { trains: true }), ...others(size)];
    const { scores, dropped } = await race(entries, { quick, repetitions: 3, deadlineMs: FIRST_STEP_MS });
    const [gradient, step, ...rivals] = scores;
    const trains = new Set(entries.filter((entry) => entry.trains).map(({ name }) => name));
    const compared = rivals.map((rival) => ({ ...rival, ratio: ratioOf(trains.has(rival.name) ? step : gradient, rival) }));
    tables.push({
      caption: describeSize(size),
      head: ['Contestant', 'chars/s', 'Time per step', 'Troupe is', 'Steps', 'What ran'],
      rows: [row(gradient, ''), row(step, ''), ...compared.map((rival) => row(rival, `${decimal(rival.ratio, 1)}x as fast`))],
    });
    notes.push(...dropped.map(({ message }) => `${message}; left out.`));
    data.push({ ...size, gradient, step, others: compared });
    goals.push(...goalsOf(size, compared));
  }
  return { tables, goals, notes, data };
}

/**
 * @param {import('../configs.mjs').Size} size
 * @param {readonly { name: string, ratio: number }[]} compared
 */
function goalsOf(size, compared) {
  const wanted = [
    { name: LAYERS_WASM, least: LAYERS_GOAL },
    { name: LOOP_WASM, least: LOOP_GOAL },
  ];
  return wanted.flatMap(({ name, least }) => {
    const rival = compared.find((score) => score.name === name);
    if (rival === undefined) return [];
    const text = `${describeSize(size)}: ${decimal(rival.ratio, 1)}x ${name} (goal: at least ${least}x)`;
    return [{ text, met: rival.ratio >= least, binding: false }];
  });
}

/**
 * @param {import('../contestant.mjs').Score} score
 * @param {string} ratio
 */
function row(score, ratio) {
  return [score.name, count(score.charsPerSecond), ms(score.stepMs), ratio, String(score.steps), score.detail];
}
