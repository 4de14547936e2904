import { LAYER_NORM_EPSILON } from '../config.js';

/** Weight [H] and bias [H] of one layer's normalisation: parameters or their gradient. */
export interface Norm {
  readonly weight: Float64Array;
  readonly bias: Float64Array;
}

/**
 * Layer normalisation (Ba, Kiros & Hinton 2016): y = (x - mean) / sqrt(variance + epsilon) *
 * weight + bias, all [H].
 */
export function normalise(x: Float64Array, { weight, bias }: Norm): Float64Array {
  const { values } = standardise(x);
  return values.map((value, j) => value * weight[j] + bias[j]);
}

/** d(loss)/dy [H] -> d(loss)/dx [H]; adds to `gradient`. */
export function normaliseBackward(x: Float64Array, dy: Float64Array, { weight }: Norm, gradient: Norm): Float64Array {
  const H = x.length;
  const { values, scale } = standardise(x);
  let sum = 0;
  let product = 0;
  for (let j = 0; j < H; j++) {
    gradient.weight[j] += dy[j] * values[j];
    gradient.bias[j] += dy[j];
    sum += dy[j] * weight[j];
    product += dy[j] * weight[j] * values[j];
  }
  return values.map((value, j) => (dy[j] * weight[j] - sum / H - (value * product) / H) * scale);
}

/** Mean 0, variance 1 (that of the values themselves, divided by H). */
function standardise(x: Float64Array): { readonly values: Float64Array; readonly scale: number } {
  const mean = x.reduce((sum, value) => sum + value, 0) / x.length;
  const variance = x.reduce((sum, value) => sum + (value - mean) ** 2, 0) / x.length;
  const scale = 1 / Math.sqrt(variance + LAYER_NORM_EPSILON);
  return { values: x.map((value) => (value - mean) * scale), scale };
}
