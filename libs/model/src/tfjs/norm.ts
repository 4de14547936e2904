import { LAYER_NORM_EPSILON } from '../config.js';
import type { Matrix, Ops, Vector } from './ops.js';

/** Scale and shift of normalised rows, [H] each. */
export interface NormWeights {
  readonly weight: Vector;
  readonly bias: Vector;
}

export interface NormTrace {
  /** Rows of mean 0 and variance 1, [M, H]. */
  readonly unit: Matrix;
  /** 1 / standard deviation of each row, [M, 1]. */
  readonly inverse: Matrix;
}

/** Layer normalisation of each row of x [M, H] (Ba, Kiros & Hinton 2016). */
export function normalize({ tf }: Ops, x: Matrix, { weight, bias }: NormWeights): NormTrace & { readonly output: Matrix } {
  const centred = tf.sub<Matrix>(x, tf.mean(x, 1, true));
  const variance = tf.mean<Matrix>(tf.mul(centred, centred), 1, true);
  const inverse = tf.rsqrt(tf.add<Matrix>(variance, LAYER_NORM_EPSILON));
  const unit = tf.mul<Matrix>(centred, inverse);
  return { unit, inverse, output: tf.add(tf.mul(unit, weight), bias) };
}

/**
 * d(loss)/d(output) [M, H] -> d(loss)/dx [M, H], d(loss)/d(weight) and d(loss)/d(bias), [1, H]
 * each.
 */
export function normalizeBackward(ops: Ops, dOutput: Matrix, { unit, inverse }: NormTrace, { weight }: NormWeights) {
  const { tf } = ops;
  const dUnit = tf.mul<Matrix>(dOutput, weight);
  const along = tf.mul(unit, tf.mean(tf.mul(dUnit, unit), 1, true));
  return {
    dInput: tf.mul<Matrix>(tf.sub(tf.sub(dUnit, tf.mean(dUnit, 1, true)), along), inverse),
    dWeight: ops.columnSums(tf.mul(dOutput, unit)),
    dBias: ops.columnSums(dOutput),
  };
}
