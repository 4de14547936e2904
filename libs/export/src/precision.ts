import { floatOfHalf, halfOfFloat } from '@troupe/optim/half';
import { ExportError } from './errors.js';

/** Number formats of weights in an exported file. */
export const PRECISIONS = ['float32', 'float16'] as const;
export type Precision = (typeof PRECISIONS)[number];

/** What is left of weights [P] that are stored in a number format. @throws ExportError `out_of_range` */
export function roundedTo(precision: Precision, weights: Float32Array): Float32Array {
  return precision === 'float32' ? weights : floatsOf(halvesOf(weights));
}

/** Rounded to nearest, ties to even. @throws ExportError `out_of_range` */
export function halvesOf(weights: Float32Array): Uint16Array {
  const halves = new Uint16Array(weights.length);
  for (let i = 0; i < weights.length; i++) {
    halves[i] = halfOfFloat(weights[i]);
    if ((halves[i] & 0x7c00) === 0x7c00) throw outOfRange(weights[i]);
  }
  return halves;
}

/** Looked up, because a page decodes a million weights before it can write. */
export function floatsOf(halves: Uint16Array): Float32Array {
  const table = Float32Array.from({ length: 0x10000 }, (_, half) => floatOfHalf(half));
  const weights = new Float32Array(halves.length);
  for (let i = 0; i < halves.length; i++) weights[i] = table[halves[i]];
  return weights;
}

function outOfRange(weight: number): ExportError {
  return Number.isFinite(weight)
    ? new ExportError('out_of_range', `the weight ${weight} is too large for float16`, 'Keep all digits: --precision float32.')
    : new ExportError(
        'out_of_range',
        `the model has a weight that is ${weight}`,
        'Use an earlier checkpoint of the run, if there is one.',
      );
}
