// Layer normalisation (Ba, Kiros & Hinton 2016) of rows [H] that are padded with zeros to [P];
// weight and bias [P] likewise.
import { madd } from './vector';

/**
 * target[rows, P] = (source - mean) / sqrt(variance + epsilon) * weight + bias, mean and variance
 * over the H of a row.
 */
export function normalise(
  rows: i32, hidden: i32, padded: i32, source: usize, weight: usize, bias: usize, target: usize, epsilon: f32,
): void {
  const row: usize = 4 * padded;
  for (let r = 0; r < rows; r++) {
    const mean = meanOf(hidden, row, source);
    const scale = f32x4.splat(scaleOf(hidden, row, source, mean, epsilon));
    for (let j: usize = 0; j < row; j += 16) {
      const standard = f32x4.mul(centred(hidden, source, j, mean), scale);
      v128.store(target + j, madd(standard, v128.load(weight + j), v128.load(bias + j)));
    }
    source += row;
    target += row;
  }
}

/**
 * Replaces gradient[rows, P] of the result by that of source[rows, P]; adds to the gradients [P]
 * of weight and bias.
 */
export function normaliseBackward(
  rows: i32, hidden: i32, padded: i32, source: usize, weight: usize, gradient: usize,
  weightGradient: usize, biasGradient: usize, epsilon: f32,
): void {
  const row: usize = 4 * padded;
  for (let r = 0; r < rows; r++) {
    const mean = meanOf(hidden, row, source);
    const factor = scaleOf(hidden, row, source, mean, epsilon);
    const scale = f32x4.splat(factor);
    let sum = f32x4.splat(0);
    let product = f32x4.splat(0);
    for (let j: usize = 0; j < row; j += 16) {
      const standard = f32x4.mul(centred(hidden, source, j, mean), scale);
      const d = v128.load(gradient + j);
      const weighted = f32x4.mul(d, v128.load(weight + j));
      sum = f32x4.add(sum, weighted);
      product = madd(weighted, standard, product);
      v128.store(weightGradient + j, madd(d, standard, v128.load(weightGradient + j)));
      v128.store(biasGradient + j, f32x4.add(v128.load(biasGradient + j), d));
    }
    const shift = f32x4.splat(total(sum) / <f32>hidden);
    const slope = f32x4.splat((total(product) / <f32>hidden) * factor);
    for (let j: usize = 0; j < row; j += 16) {
      const weighted = f32x4.mul(v128.load(gradient + j), v128.load(weight + j));
      const removed = madd(centred(hidden, source, j, mean), slope, shift);
      v128.store(gradient + j, v128.and(f32x4.mul(f32x4.sub(weighted, removed), scale), within(hidden, j)));
    }
    source += row;
    gradient += row;
  }
}

function meanOf(hidden: i32, row: usize, source: usize): f32 {
  let sum = f32x4.splat(0);
  for (let j: usize = 0; j < row; j += 16) sum = f32x4.add(sum, v128.load(source + j));
  return total(sum) / <f32>hidden;
}

/** 1 / sqrt(variance + epsilon). */
function scaleOf(hidden: i32, row: usize, source: usize, mean: f32, epsilon: f32): f32 {
  let sum = f32x4.splat(0);
  for (let j: usize = 0; j < row; j += 16) {
    const distance = centred(hidden, source, j, mean);
    sum = madd(distance, distance, sum);
  }
  return <f32>1 / Mathf.sqrt(total(sum) / <f32>hidden + epsilon);
}

/** Four elements of source - mean from byte j on; zero in the padding. */
// @ts-ignore: decorator
@inline
function centred(hidden: i32, source: usize, j: usize, mean: f32): v128 {
  return v128.and(f32x4.sub(v128.load(source + j), f32x4.splat(mean)), within(hidden, j));
}

/** Mask of the lanes, from byte j of a row on, that lie before H. */
// @ts-ignore: decorator
@inline
function within(hidden: i32, j: usize): v128 {
  return i32x4.lt_s(i32x4.add(i32x4.splat(<i32>(j >> 2)), i32x4(0, 1, 2, 3)), i32x4.splat(hidden));
}

function total(sum: v128): f32 {
  return (
    (f32x4.extract_lane(sum, 0) + f32x4.extract_lane(sum, 1)) + (f32x4.extract_lane(sum, 2) + f32x4.extract_lane(sum, 3))
  );
}
