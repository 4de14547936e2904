import { exp } from './vector';

/** target[rows, length] = row, for every row; length a multiple of 4. */
export function fillRows(rows: i32, length: i32, row: usize, target: usize): void {
  for (let r = 0; r < rows; r++) {
    memory.copy(target, row, 4 * length);
    target += 4 * length;
  }
}

/**
 * Replaces logits[rows, padded] (columns from V on are far below all others) by softmax minus
 * one-hot of targets[rows], the gradient of the loss. Returns the summed negative log-likelihood,
 * nats.
 */
export function softmaxLoss(rows: i32, vocabulary: i32, padded: i32, logits: usize, targets: usize): f64 {
  let loss: f64 = 0;
  for (let r = 0; r < rows; r++) {
    const target = logits + 4 * load<u32>(targets);
    const most = maximum(padded, logits);
    const distance = <f64>load<f32>(target) - <f64>most;
    const sum = exponentials(vocabulary, padded, logits, most);
    loss += Math.log(sum) - distance;
    scale(padded, logits, <f32>(1 / sum));
    store<f32>(target, load<f32>(target) - 1);
    logits += 4 * padded;
    targets += 4;
  }
  return loss;
}

function maximum(length: i32, row: usize): f32 {
  let most = v128.load(row);
  for (let v = 4; v < length; v += 4) most = f32x4.pmax(v128.load(row + 4 * v), most);
  return max(
    max(f32x4.extract_lane(most, 0), f32x4.extract_lane(most, 1)),
    max(f32x4.extract_lane(most, 2), f32x4.extract_lane(most, 3)),
  );
}

/** row = e^(row - most), zero from V on; returns the sum. */
function exponentials(vocabulary: i32, padded: i32, row: usize, most: f32): f64 {
  for (let v = 0; v < padded; v += 4) {
    v128.store(row + 4 * v, exp(f32x4.sub(v128.load(row + 4 * v), f32x4.splat(most))));
  }
  for (let v = vocabulary; v < padded; v++) store<f32>(row + 4 * v, 0);
  let sum = f32x4.splat(0);
  for (let v = 0; v < padded; v += 4) sum = f32x4.add(sum, v128.load(row + 4 * v));
  return (
    (<f64>f32x4.extract_lane(sum, 0) + <f64>f32x4.extract_lane(sum, 1)) +
    (<f64>f32x4.extract_lane(sum, 2) + <f64>f32x4.extract_lane(sum, 3))
  );
}

function scale(length: i32, row: usize, factor: f32): void {
  for (let v = 0; v < length; v += 4) v128.store(row + 4 * v, f32x4.mul(v128.load(row + 4 * v), f32x4.splat(factor)));
}

/** Whether all values are finite: x - x is zero for finite x and NaN otherwise. */
export function allFinite(count: i32, values: usize): bool {
  let sum = f32x4.splat(0);
  let i = 0;
  for (; i + 4 <= count; i += 4) {
    const x = v128.load(values + 4 * i);
    sum = f32x4.add(sum, f32x4.sub(x, x));
  }
  for (; i < count; i++) {
    const x = v128.load32_splat(values + 4 * i);
    sum = f32x4.add(sum, f32x4.sub(x, x));
  }
  return i32x4.all_true(f32x4.eq(sum, f32x4.splat(0)));
}
