/** Troupe's webgpu engine against TensorFlow.js on the same adapter. */
import { describeSize, MEDIUM, SMALL } from '../configs.mjs';
import { race, ratioOf } from '../contestant.mjs';
import { findSoftwareDriver, hasHardware } from '../contestants/gpu-driver.mjs';
import { count, decimal, ms } from '../report.mjs';

export const title = 'WebGPU against TensorFlow.js';
export const about =
  "Troupe's webgpu engine and tfjs-backend-webgpu in Node (Dawn), in turn on the same adapter: the forward and backward " +
  'pass of one window, with the gradient read back. tfjs runs in two ways: with its own differentiation, and with a ' +
  'backward pass written by hand. On a machine without a GPU, the adapter is emulated in software. Then the figures show ' +
  'whether the work is divided well, not how fast a GPU is.';

const GOAL = 5;
/** On an emulated GPU the first step of tfjs takes half a minute. */
const FIRST_STEP_MS = 240_000;

/** @param {string} name @param {readonly string[]} command @param {import('../configs.mjs').Size} size */
function entry(name, [script, ...args], size) {
  const file = new URL(`../contestants/${script}`, import.meta.url).pathname;
  return { name, command: [process.execPath, file, ...args], size, trains: false };
}

/** @param {import('../report.mjs').Options} options */
export async function measure({ quick, progress }) {
  const hardware = hasHardware();
  if (!hardware && findSoftwareDriver() === undefined) {
    return { skipped: 'there is neither a GPU nor a software adapter: apt install chromium installs one' };
  }
  const tables = [];
  const goals = [];
  const data = [];
  for (const size of quick ? [{ ...SMALL, hidden: 32, window: 8 }] : hardware ? [SMALL, MEDIUM] : [SMALL]) {
    progress(describeSize(size));
    const entries = [
      entry('Troupe webgpu', ['troupe-webgpu.mjs'], size),
      entry('tfjs webgpu, its own differentiation', ['tfjs-webgpu.mjs', 'autodiff'], size),
      entry('tfjs webgpu, by hand', ['tfjs-webgpu.mjs', 'hand'], size),
    ];
    const { scores } = await race(entries, { quick, repetitions: quick ? 1 : 3, deadlineMs: FIRST_STEP_MS });
    const [ours, ...rivals] = scores;
    const compared = rivals.map((rival) => ({ ...rival, ratio: ratioOf(ours, rival) }));
    tables.push({
      caption: describeSize(size),
      head: ['Contestant', 'chars/s', 'Time per step', 'Troupe is', 'What ran'],
      rows: [ours, ...compared].map((score) => [
        score.name,
        count(score.charsPerSecond),
        ms(score.stepMs),
        'ratio' in score ? `${decimal(/** @type {number} */ (score.ratio), 1)}x as fast` : '',
        score.detail,
      ]),
    });
    for (const { name, ratio } of compared) {
      const text = `${describeSize(size)}: ${decimal(ratio, 1)}x ${name} (goal: at least ${GOAL}x)`;
      goals.push({ text, met: ratio >= GOAL, binding: false });
    }
    data.push({ ...size, ours, compared });
  }
  return { tables, goals, notes: [], data };
}
