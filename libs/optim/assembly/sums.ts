// What the kernels of every number format need: sums in float64, and the largest magnitude.

/** Adds four floats to four float64 at `sum`. */
// @ts-ignore: decorator
@inline
export function addFour(sum: usize, x: v128): void {
  v128.store(sum, f64x2.add(v128.load(sum), f64x2.promote_low_f32x4(x)));
  v128.store(sum, f64x2.add(v128.load(sum, 16), f64x2.promote_low_f32x4(v128.shuffle<f32>(x, x, 2, 3, 2, 3))), 16);
}

/** Like addFour to zeros, which turn -0 into 0. */
// @ts-ignore: decorator
@inline
export function storeFour(sum: usize, x: v128): void {
  const zeros = f64x2.splat(0);
  v128.store(sum, f64x2.add(zeros, f64x2.promote_low_f32x4(x)));
  v128.store(sum, f64x2.add(zeros, f64x2.promote_low_f32x4(v128.shuffle<f32>(x, x, 2, 3, 2, 3))), 16);
}

/**
 * Bits of the largest |x|. As integers they are ordered like the floats, with infinity and then
 * NaN above all others.
 */
export function maxMagnitude(source: usize, n: i32): i32 {
  const mask = i32x4.splat(0x7fffffff);
  let most = i32x4.splat(0);
  let i = 0;
  for (; i + 4 <= n; i += 4) most = i32x4.max_s(most, v128.and(v128.load(source + ((<usize>i) << 2)), mask));
  for (; i < n; i++) most = i32x4.max_s(most, v128.and(v128.load32_zero(source + ((<usize>i) << 2)), mask));
  most = i32x4.max_s(most, v128.shuffle<i32>(most, most, 2, 3, 0, 1));
  return max(i32x4.extract_lane(most, 0), i32x4.extract_lane(most, 1));
}
