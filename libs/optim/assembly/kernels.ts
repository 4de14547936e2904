/**
 * Flat-vector kernels in 128-bit SIMD. Only non-relaxed instructions, so every lane is IEEE 754 exact and every host computes
 * the same bits; src/twin.ts is the same arithmetic in TypeScript and tests hold the two together. Arguments are byte addresses
 * in the imported memory; n counts elements. A tail shorter than a vector runs through the same vector code, one lane at a time.
 */

function toHalf(x: v128): v128 {
  const magnitude = v128.and(x, i32x4.splat(0x7fffffff));
  const sign = v128.and(i32x4.shr_u(x, 16), i32x4.splat(0x8000));
  // Normal halves: move the exponent's bias from 127 to 15, round to nearest even at bit 13.
  const odd = v128.and(i32x4.shr_u(magnitude, 13), i32x4.splat(1));
  const normal = i32x4.shr_u(i32x4.add(i32x4.add(magnitude, i32x4.splat(0xc8000fff)), odd), 13);
  // Subnormal halves: adding 0.5 lets the FPU round at 2^-24, the last bit of a subnormal half.
  const subnormal = i32x4.sub(f32x4.add(magnitude, f32x4.splat(0.5)), i32x4.splat(0x3f000000));
  let half = v128.bitselect(normal, subnormal, i32x4.ge_s(magnitude, i32x4.splat(0x38800000)));
  half = v128.bitselect(i32x4.splat(0x7c00), half, i32x4.ge_s(magnitude, i32x4.splat(0x477ff000)));
  half = v128.or(half, sign);
  // The sign of a NaN differs between processors, so there is only one NaN.
  return v128.bitselect(i32x4.splat(0x7e00), half, i32x4.gt_s(magnitude, i32x4.splat(0x7f800000)));
}

function fromHalf(half: v128): v128 {
  const sign = i32x4.shl(v128.and(half, i32x4.splat(0x8000)), 16);
  const shifted = i32x4.shl(v128.and(half, i32x4.splat(0x7fff)), 13);
  // Times 2^112 moves the bias and normalises subnormals, exactly.
  const finite = f32x4.mul(shifted, f32x4.splat(reinterpret<f32>(0x77800000)));
  const special = v128.or(shifted, i32x4.splat(0x7f800000));
  const value = v128.bitselect(special, finite, i32x4.ge_s(shifted, i32x4.splat(0x0f800000)));
  return v128.or(value, sign);
}

export function encodeHalf(source: usize, n: i32, scale: f32, target: usize): void {
  const factor = f32x4.splat(scale);
  let i = 0;
  for (; i + 8 <= n; i += 8) {
    const low = toHalf(f32x4.mul(v128.load(source + ((<usize>i) << 2)), factor));
    const high = toHalf(f32x4.mul(v128.load(source + ((<usize>i) << 2), 16), factor));
    v128.store(target + ((<usize>i) << 1), i16x8.narrow_i32x4_u(low, high));
  }
  for (; i < n; i++) {
    const half = toHalf(f32x4.mul(v128.load32_zero(source + ((<usize>i) << 2)), factor));
    v128.store16_lane(target + ((<usize>i) << 1), half, 0);
  }
}

export function decodeHalf(source: usize, n: i32, scale: f32, target: usize): void {
  const factor = f32x4.splat(scale);
  let i = 0;
  for (; i + 8 <= n; i += 8) {
    const halves = v128.load(source + ((<usize>i) << 1));
    const address = target + ((<usize>i) << 2);
    v128.store(address, f32x4.mul(fromHalf(i32x4.extend_low_i16x8_u(halves)), factor));
    v128.store(address, f32x4.mul(fromHalf(i32x4.extend_high_i16x8_u(halves)), factor), 16);
  }
  for (; i < n; i++) {
    const value = fromHalf(i32x4.splat(<i32>load<u16>(source + ((<usize>i) << 1))));
    v128.store32_lane(target + ((<usize>i) << 2), f32x4.mul(value, factor), 0);
  }
}

function addFour(sum: usize, x: v128): void {
  v128.store(sum, f64x2.add(v128.load(sum), f64x2.promote_low_f32x4(x)));
  v128.store(sum, f64x2.add(v128.load(sum, 16), f64x2.promote_low_f32x4(v128.shuffle<f32>(x, x, 2, 3, 2, 3))), 16);
}

export function addHalf(sum: usize, source: usize, n: i32, scale: f32): void {
  const factor = f32x4.splat(scale);
  let i = 0;
  for (; i + 8 <= n; i += 8) {
    const halves = v128.load(source + ((<usize>i) << 1));
    const address = sum + ((<usize>i) << 3);
    addFour(address, f32x4.mul(fromHalf(i32x4.extend_low_i16x8_u(halves)), factor));
    addFour(address + 32, f32x4.mul(fromHalf(i32x4.extend_high_i16x8_u(halves)), factor));
  }
  for (; i < n; i++) {
    const value = f32x4.mul(fromHalf(i32x4.splat(<i32>load<u16>(source + ((<usize>i) << 1)))), factor);
    const address = sum + ((<usize>i) << 3);
    store<f64>(address, load<f64>(address) + <f64>f32x4.extract_lane(value, 0));
  }
}

export function addFloat(sum: usize, source: usize, n: i32): void {
  let i = 0;
  for (; i + 4 <= n; i += 4) addFour(sum + ((<usize>i) << 3), v128.load(source + ((<usize>i) << 2)));
  for (; i < n; i++) {
    const address = sum + ((<usize>i) << 3);
    store<f64>(address, load<f64>(address) + <f64>load<f32>(source + ((<usize>i) << 2)));
  }
}

/** Bits of the largest |x|. As integers they order like the floats, with infinity and then NaN on top. */
export function maxMagnitude(source: usize, n: i32): i32 {
  const mask = i32x4.splat(0x7fffffff);
  let most = i32x4.splat(0);
  let i = 0;
  for (; i + 4 <= n; i += 4) most = i32x4.max_s(most, v128.and(v128.load(source + ((<usize>i) << 2)), mask));
  for (; i < n; i++) most = i32x4.max_s(most, v128.and(v128.load32_zero(source + ((<usize>i) << 2)), mask));
  most = i32x4.max_s(most, v128.shuffle<i32>(most, most, 2, 3, 0, 1));
  return max(i32x4.extract_lane(most, 0), i32x4.extract_lane(most, 1));
}

/** The same for halves. */
export function maxMagnitudeHalf(source: usize, n: i32): i32 {
  const mask = i16x8.splat(0x7fff);
  let most = i16x8.splat(0);
  let i = 0;
  for (; i + 8 <= n; i += 8) most = i16x8.max_s(most, v128.and(v128.load(source + ((<usize>i) << 1)), mask));
  let result = 0;
  for (; i < n; i++) result = max(result, (<i32>load<u16>(source + ((<usize>i) << 1))) & 0x7fff);
  const wide = i32x4.max_s(i32x4.extend_low_i16x8_u(most), i32x4.extend_high_i16x8_u(most));
  result = max(result, max(i32x4.extract_lane(wide, 0), i32x4.extract_lane(wide, 1)));
  return max(result, max(i32x4.extract_lane(wide, 2), i32x4.extract_lane(wide, 3)));
}

/** Element i adds to partial sum i mod 4; the result is (s0 + s1) + (s2 + s3). */
export function sumOfSquares(source: usize, n: i32): f64 {
  let low = f64x2.splat(0);
  let high = f64x2.splat(0);
  let i = 0;
  for (; i + 4 <= n; i += 4) {
    const a = v128.load(source + ((<usize>i) << 3));
    const b = v128.load(source + ((<usize>i) << 3), 16);
    low = f64x2.add(low, f64x2.mul(a, a));
    high = f64x2.add(high, f64x2.mul(b, b));
  }
  let s0 = f64x2.extract_lane(low, 0);
  let s1 = f64x2.extract_lane(low, 1);
  let s2 = f64x2.extract_lane(high, 0);
  const s3 = f64x2.extract_lane(high, 1);
  for (; i < n; i++) {
    const x = load<f64>(source + ((<usize>i) << 3));
    const lane = i & 3;
    if (lane == 0) s0 += x * x;
    else if (lane == 1) s1 += x * x;
    else s2 += x * x;
  }
  return s0 + s1 + (s2 + s3);
}

export function scaleToFloat(source: usize, n: i32, factor: f64, target: usize): void {
  const factors = f64x2.splat(factor);
  let i = 0;
  for (; i + 4 <= n; i += 4) {
    const low = f32x4.demote_f64x2_zero(f64x2.mul(v128.load(source + ((<usize>i) << 3)), factors));
    const high = f32x4.demote_f64x2_zero(f64x2.mul(v128.load(source + ((<usize>i) << 3), 16), factors));
    v128.store(target + ((<usize>i) << 2), v128.shuffle<f32>(low, high, 0, 1, 4, 5));
  }
  for (; i < n; i++) store<f32>(target + ((<usize>i) << 2), <f32>(load<f64>(source + ((<usize>i) << 3)) * factor));
}

function digestFour(state: v128, words: v128): v128 {
  const sum = i32x4.add(state, i32x4.mul(words, i32x4.splat(0x85ebca77)));
  return i32x4.mul(v128.or(i32x4.shl(sum, 13), i32x4.shr_u(sum, 19)), i32x4.splat(0x9e3779b1));
}

/** Word i goes into lane i mod 16 of `state`, sixteen 32-bit lanes stepped like those of xxHash32 (Collet). */
export function digestWords(state: usize, source: usize, n: i32): void {
  let a = v128.load(state);
  let b = v128.load(state, 16);
  let c = v128.load(state, 32);
  let d = v128.load(state, 48);
  let i = 0;
  for (; i + 16 <= n; i += 16) {
    const address = source + ((<usize>i) << 2);
    a = digestFour(a, v128.load(address));
    b = digestFour(b, v128.load(address, 16));
    c = digestFour(c, v128.load(address, 32));
    d = digestFour(d, v128.load(address, 48));
  }
  v128.store(state, a);
  v128.store(state, b, 16);
  v128.store(state, c, 32);
  v128.store(state, d, 48);
  for (; i < n; i++) {
    const lane = state + ((<usize>(i & 15)) << 2);
    v128.store32_lane(lane, digestFour(v128.load32_zero(lane), v128.load32_zero(source + ((<usize>i) << 2))), 0);
  }
}

function sgdVelocity(p: v128, velocity: v128, update: v128, momentum: v128, decay: v128): v128 {
  return f32x4.add(f32x4.mul(momentum, velocity), f32x4.add(update, f32x4.mul(decay, p)));
}

export function sgdStep(p: usize, velocity: usize, update: usize, n: i32, rate: f32, momentum: f32, decay: f32): void {
  const rates = f32x4.splat(rate);
  const momenta = f32x4.splat(momentum);
  const decays = f32x4.splat(decay);
  let i = 0;
  for (; i + 4 <= n; i += 4) {
    const at = (<usize>i) << 2;
    const x = v128.load(p + at);
    const v = sgdVelocity(x, v128.load(velocity + at), v128.load(update + at), momenta, decays);
    v128.store(velocity + at, v);
    v128.store(p + at, f32x4.sub(x, f32x4.mul(rates, v)));
  }
  for (; i < n; i++) {
    const at = (<usize>i) << 2;
    const x = v128.load32_zero(p + at);
    const v = sgdVelocity(x, v128.load32_zero(velocity + at), v128.load32_zero(update + at), momenta, decays);
    v128.store32_lane(velocity + at, v, 0);
    v128.store32_lane(p + at, f32x4.sub(x, f32x4.mul(rates, v)), 0);
  }
}

function blend(keep: v128, old: v128, take: v128, fresh: v128): v128 {
  return f32x4.add(f32x4.mul(keep, old), f32x4.mul(take, fresh));
}

function adamMove(x: v128, m: v128, v: v128, shrink: v128, stepSize: v128, rootScale: v128, epsilon: v128): v128 {
  const denominator = f32x4.add(f32x4.mul(f32x4.sqrt(v), rootScale), epsilon);
  return f32x4.sub(f32x4.mul(x, shrink), f32x4.mul(stepSize, f32x4.div(m, denominator)));
}

export function adamStep(
  p: usize,
  first: usize,
  second: usize,
  update: usize,
  n: i32,
  keep1: f32,
  take1: f32,
  keep2: f32,
  take2: f32,
  penalty: f32,
  shrink: f32,
  stepSize: f32,
  rootScale: f32,
  epsilon: f32,
): void {
  const k1 = f32x4.splat(keep1);
  const t1 = f32x4.splat(take1);
  const k2 = f32x4.splat(keep2);
  const t2 = f32x4.splat(take2);
  const penalties = f32x4.splat(penalty);
  const shrinks = f32x4.splat(shrink);
  const steps = f32x4.splat(stepSize);
  const roots = f32x4.splat(rootScale);
  const epsilons = f32x4.splat(epsilon);
  let i = 0;
  for (; i + 4 <= n; i += 4) {
    const at = (<usize>i) << 2;
    const x = v128.load(p + at);
    const g = f32x4.add(v128.load(update + at), f32x4.mul(penalties, x));
    const m = blend(k1, v128.load(first + at), t1, g);
    const v = blend(k2, v128.load(second + at), t2, f32x4.mul(g, g));
    v128.store(first + at, m);
    v128.store(second + at, v);
    v128.store(p + at, adamMove(x, m, v, shrinks, steps, roots, epsilons));
  }
  for (; i < n; i++) {
    const at = (<usize>i) << 2;
    const x = v128.load32_zero(p + at);
    const g = f32x4.add(v128.load32_zero(update + at), f32x4.mul(penalties, x));
    const m = blend(k1, v128.load32_zero(first + at), t1, g);
    const v = blend(k2, v128.load32_zero(second + at), t2, f32x4.mul(g, g));
    v128.store32_lane(first + at, m, 0);
    v128.store32_lane(second + at, v, 0);
    v128.store32_lane(p + at, adamMove(x, m, v, shrinks, steps, roots, epsilons), 0);
  }
}
