/** How fast the wasm engine computes gradients, alone and with the optimizer's step. */
import { ALL_SIZES, describeSize, flops } from '../configs.mjs';
import { race } from '../contestant.mjs';
import { count, decimal, ms } from '../report.mjs';

export const title = 'The wasm engine';
export const about =
  'One process on one core, no network: forward and backward pass of a window (truncated back-propagation), and the same followed ' +
  'by a step of Adam on the mean gradient. GFLOP/s counts the multiplications and additions of the matrix products, ' +
  '6 B T (4 H² (2L - 1) + H V), the one-hot input as a table look-up; V = 65.';

/**
 * @param {import('../configs.mjs').Size} size
 * @param {boolean} trains
 * @returns {import('../contestant.mjs').Entry}
 */
export function troupe(size, trains) {
  const script = new URL('../contestants/troupe.mjs', import.meta.url).pathname;
  const command = [process.execPath, script, ...(trains ? ['optimize'] : [])];
  return { name: trains ? 'Troupe wasm, with Adam' : 'Troupe wasm', command, size, trains };
}

/** @param {import('../report.mjs').Options} options */
export async function measure({ quick, progress }) {
  const rows = [];
  const data = [];
  for (const size of quick ? ALL_SIZES.slice(0, 2) : ALL_SIZES) {
    progress(describeSize(size));
    const { scores } = await race([troupe(size, false), troupe(size, true)], { quick, repetitions: quick ? 2 : 5 });
    const [gradient, step] = scores;
    const gflops = flops(size) / gradient.stepMs / 1e6;
    rows.push([
      describeSize(size),
      count(gradient.charsPerSecond),
      ms(gradient.stepMs),
      decimal(gflops, 1),
      count(step.charsPerSecond),
      gradient.detail,
    ]);
    data.push({ ...size, engine: gradient.detail, gflops, gradient, step });
  }
  return {
    tables: [{ head: ['Model', 'Gradient, chars/s', 'ms', 'GFLOP/s', 'With Adam, chars/s', 'Engine'], rows }],
    goals: [],
    notes: [],
    data,
  };
}
