// Dropout masks: Philox4x32-10 (Salmon et al. 2011), four counters in parallel; src/dropout.ts
// defines counters and keys.

const MULTIPLIER_0: i32 = 0xd2511f53;
const MULTIPLIER_1: i32 = 0xcd9e8d57;
const WEYL_0: i32 = 0x9e3779b9;
const WEYL_1: i32 = 0xbb67ae85;
const ROUNDS = 10;
/** Units of one group: four counters of four words each. */
const GROUP = 16;

/**
 * target[T, B, H] = source[T, B, H] times `scale` if the unit's word is at least `threshold`
 * (unsigned), else 0. Rows are time steps of `streams` streams whose numbers are ids[B]; H =
 * hidden, a multiple of 8. Source and target may be the same.
 */
export function dropout(
  rows: i32, streams: i32, hidden: i32, source: usize, target: usize, ids: usize,
  seed: i32, layer: i32, round: i32, threshold: i32, scale: f32,
): void {
  let t = 0;
  let b = 0;
  for (let r = 0; r < rows; r++) {
    const stream = load<i32>(ids + 4 * b);
    for (let unit = 0; unit < hidden; unit += GROUP) {
      maskGroup(unit >> 2, t, stream, round, seed, layer, threshold, scale, source, target, hidden - unit >= GROUP);
      const bytes: usize = 4 * min(GROUP, hidden - unit);
      source += bytes;
      target += bytes;
    }
    if (++b == streams) {
      b = 0;
      t++;
    }
  }
}

/** 16 units, or 8 of them unless `whole`, from counters first .. first + 3. */
// @ts-ignore: decorator
@inline
function maskGroup(
  first: i32, t: i32, stream: i32, round: i32, seed: i32, layer: i32, threshold: i32, scale: f32,
  source: usize, target: usize, whole: bool,
): void {
  let c0 = i32x4.add(i32x4.splat(first), i32x4(0, 1, 2, 3));
  let c1 = i32x4.splat(t);
  let c2 = i32x4.splat(stream);
  let c3 = i32x4.splat(round);
  for (let i = 0; i < ROUNDS; i++) {
    const low0 = i32x4.mul(c0, i32x4.splat(MULTIPLIER_0));
    const low1 = i32x4.mul(c2, i32x4.splat(MULTIPLIER_1));
    const high0 = multiplyHigh(c0, MULTIPLIER_0);
    c0 = v128.xor(v128.xor(multiplyHigh(c2, MULTIPLIER_1), c1), i32x4.splat(seed));
    c2 = v128.xor(v128.xor(high0, c3), i32x4.splat(layer));
    c1 = low1;
    c3 = low0;
    seed += WEYL_0;
    layer += WEYL_1;
  }
  // Lanes are counters and vectors are words; a row needs the four words of a counter side by side.
  const low01 = v128.shuffle<i32>(c0, c1, 0, 4, 1, 5);
  const high01 = v128.shuffle<i32>(c0, c1, 2, 6, 3, 7);
  const low23 = v128.shuffle<i32>(c2, c3, 0, 4, 1, 5);
  const high23 = v128.shuffle<i32>(c2, c3, 2, 6, 3, 7);
  mask(source, target, v128.shuffle<i32>(low01, low23, 0, 1, 4, 5), threshold, scale);
  mask(source + 16, target + 16, v128.shuffle<i32>(low01, low23, 2, 3, 6, 7), threshold, scale);
  if (!whole) return;
  mask(source + 32, target + 32, v128.shuffle<i32>(high01, high23, 0, 1, 4, 5), threshold, scale);
  mask(source + 48, target + 48, v128.shuffle<i32>(high01, high23, 2, 3, 6, 7), threshold, scale);
}

/** Multiplies, so that NaN in a dropped unit stays NaN. */
// @ts-ignore: decorator
@inline
function mask(source: usize, target: usize, words: v128, threshold: i32, scale: f32): void {
  const factor = v128.and(i32x4.ge_u(words, i32x4.splat(threshold)), f32x4.splat(scale));
  v128.store(target, f32x4.mul(v128.load(source), factor));
}

/** Upper halves of the unsigned 64-bit products. */
// @ts-ignore: decorator
@inline
function multiplyHigh(a: v128, multiplier: i32): v128 {
  const low = i64x2.extmul_low_i32x4_u(a, i32x4.splat(multiplier));
  const high = i64x2.extmul_high_i32x4_u(a, i32x4.splat(multiplier));
  return v128.shuffle<i32>(low, high, 1, 3, 5, 7);
}
