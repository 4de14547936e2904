/**
 * Flat-vector kernels in 128-bit SIMD. They use no relaxed instructions, so every lane follows
 * IEEE 754 exactly and every host computes the same bits. src/scalar-kernels.ts does the same
 * arithmetic in TypeScript; tests compare the two. Arguments are byte addresses in the imported
 * memory; n counts elements. A tail shorter than a vector runs the same vector code, one lane at a
 * time.
 */
import { addFour, storeFour } from './sums';

export { addInt8, encodeInt8, maxMagnitudeInt8, storeInt8 } from './int8';
export { maxMagnitude } from './sums';

/** Converts magnitudes below `TOO_LARGE` to halves without sign. */
// @ts-ignore: decorator
@inline
function magnitudeToHalf(magnitude: v128): v128 {
  // Normal halves: move the exponent's bias from 127 to 15, round to nearest even at bit 13.
  const odd = v128.and(i32x4.shr_u(magnitude, 13), i32x4.splat(1));
  const normal = i32x4.shr_u(i32x4.add(i32x4.add(magnitude, i32x4.splat(0xc8000fff)), odd), 13);
  // Subnormal halves: adding 0.5 lets the FPU round at 2^-24, the last bit of a subnormal half.
  const subnormal = i32x4.sub(f32x4.add(magnitude, f32x4.splat(0.5)), i32x4.splat(0x3f000000));
  return v128.bitselect(normal, subnormal, i32x4.ge_s(magnitude, i32x4.splat(0x38800000)));
}

/** Bits of the smallest magnitude that becomes an infinity. */
const TOO_LARGE = 0x477ff000;

function toHalf(x: v128): v128 {
  const magnitude = v128.and(x, i32x4.splat(0x7fffffff));
  const sign = v128.and(i32x4.shr_u(x, 16), i32x4.splat(0x8000));
  let half = v128.bitselect(i32x4.splat(0x7c00), magnitudeToHalf(magnitude), i32x4.ge_s(magnitude, i32x4.splat(TOO_LARGE)));
  half = v128.or(half, sign);
  // The sign of a NaN differs between CPUs, so all become the same NaN.
  return v128.bitselect(i32x4.splat(0x7e00), half, i32x4.gt_s(magnitude, i32x4.splat(0x7f800000)));
}

/**
 * Converts eight floats to halves. A value too large for a half is rare, so that case takes a
 * slower path.
 */
// @ts-ignore: decorator
@inline
function toHalves(low: v128, high: v128): v128 {
  const mask = i32x4.splat(0x7fffffff);
  const a = v128.and(low, mask);
  const b = v128.and(high, mask);
  if (v128.any_true(i32x4.ge_s(i32x4.max_s(a, b), i32x4.splat(TOO_LARGE)))) {
    return i16x8.narrow_i32x4_u(toHalf(low), toHalf(high));
  }
  const magnitudes = i16x8.narrow_i32x4_u(magnitudeToHalf(a), magnitudeToHalf(b));
  // Narrowing saturates floats as integers; only the sign of the saturated value is used.
  const signs = v128.and(i16x8.narrow_i32x4_s(low, high), i16x8.splat(-0x8000));
  return v128.or(magnitudes, signs);
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

/**
 * Converts the lower four of eight finite halves; fromHalf without the case of infinities and
 * NaNs.
 */
// @ts-ignore: decorator
@inline
function finiteLow(halves: v128): v128 {
  const bits = v128.and(i32x4.shl(i32x4.extend_low_i16x8_s(halves), 13), i32x4.splat(0x8fffe000));
  return f32x4.mul(bits, f32x4.splat(reinterpret<f32>(0x77800000)));
}

/** Converts the upper four. */
// @ts-ignore: decorator
@inline
function finiteHigh(halves: v128): v128 {
  const bits = v128.and(i32x4.shl(i32x4.extend_high_i16x8_s(halves), 13), i32x4.splat(0x8fffe000));
  return f32x4.mul(bits, f32x4.splat(reinterpret<f32>(0x77800000)));
}

export function encodeHalf(source: usize, n: i32, scale: f32, target: usize): void {
  const factor = f32x4.splat(scale);
  let i = 0;
  for (; i + 8 <= n; i += 8) {
    const low = f32x4.mul(v128.load(source + ((<usize>i) << 2)), factor);
    const high = f32x4.mul(v128.load(source + ((<usize>i) << 2), 16), factor);
    v128.store(target + ((<usize>i) << 1), toHalves(low, high));
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

/** The half at `source` times `scale`, in lane 0. */
function oneHalf(source: usize, scale: v128): v128 {
  return f32x4.mul(fromHalf(i32x4.splat(<i32>load<u16>(source))), scale);
}

export function addHalf(sum: usize, source: usize, n: i32, scale: f32): void {
  const factor = f32x4.splat(scale);
  let i = 0;
  for (; i + 8 <= n; i += 8) {
    const halves = v128.load(source + ((<usize>i) << 1));
    const address = sum + ((<usize>i) << 3);
    addFour(address, f32x4.mul(finiteLow(halves), factor));
    addFour(address + 32, f32x4.mul(finiteHigh(halves), factor));
  }
  for (; i < n; i++) {
    const address = sum + ((<usize>i) << 3);
    store<f64>(address, load<f64>(address) + <f64>f32x4.extract_lane(oneHalf(source + ((<usize>i) << 1), factor), 0));
  }
}

/** Like addHalf to zeros; overwrites the sum. */
export function storeHalf(sum: usize, source: usize, n: i32, scale: f32): void {
  const factor = f32x4.splat(scale);
  let i = 0;
  for (; i + 8 <= n; i += 8) {
    const halves = v128.load(source + ((<usize>i) << 1));
    const address = sum + ((<usize>i) << 3);
    storeFour(address, f32x4.mul(finiteLow(halves), factor));
    storeFour(address + 32, f32x4.mul(finiteHigh(halves), factor));
  }
  for (; i < n; i++) {
    store<f64>(sum + ((<usize>i) << 3), 0.0 + <f64>f32x4.extract_lane(oneHalf(source + ((<usize>i) << 1), factor), 0));
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

/** Like addFloat to zeros; overwrites the sum. */
export function storeFloat(sum: usize, source: usize, n: i32): void {
  let i = 0;
  for (; i + 4 <= n; i += 4) storeFour(sum + ((<usize>i) << 3), v128.load(source + ((<usize>i) << 2)));
  for (; i < n; i++) store<f64>(sum + ((<usize>i) << 3), 0.0 + <f64>load<f32>(source + ((<usize>i) << 2)));
}

/** Like maxMagnitude, for halves. */
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

/**
 * Adds x^2 of element i to partial sum i mod 4 of `squares`. Returns the largest |x|. All x are
 * finite.
 */
export function measure(source: usize, n: i32, squares: usize): f64 {
  let low = v128.load(squares);
  let high = v128.load(squares, 16);
  let mostLow = f64x2.splat(0);
  let mostHigh = f64x2.splat(0);
  let i = 0;
  for (; i + 4 <= n; i += 4) {
    const a = v128.load(source + ((<usize>i) << 3));
    const b = v128.load(source + ((<usize>i) << 3), 16);
    low = f64x2.add(low, f64x2.mul(a, a));
    high = f64x2.add(high, f64x2.mul(b, b));
    mostLow = f64x2.pmax(mostLow, f64x2.abs(a));
    mostHigh = f64x2.pmax(mostHigh, f64x2.abs(b));
  }
  v128.store(squares, low);
  v128.store(squares, high, 16);
  mostLow = f64x2.pmax(mostLow, mostHigh);
  let most = max(f64x2.extract_lane(mostLow, 0), f64x2.extract_lane(mostLow, 1));
  for (; i < n; i++) {
    const x = load<f64>(source + ((<usize>i) << 3));
    const partial = squares + ((<usize>(i & 3)) << 3);
    store<f64>(partial, load<f64>(partial) + x * x);
    most = max(most, abs(x));
  }
  return most;
}

/** Four elements of a sum times `factor`, rounded to float32. */
function meanFour(source: usize, factor: v128): v128 {
  const low = f32x4.demote_f64x2_zero(f64x2.mul(v128.load(source), factor));
  const high = f32x4.demote_f64x2_zero(f64x2.mul(v128.load(source, 16), factor));
  return v128.shuffle<f32>(low, high, 0, 1, 4, 5);
}

export function scaleToFloat(source: usize, n: i32, factor: f64, target: usize): void {
  const factors = f64x2.splat(factor);
  let i = 0;
  for (; i + 4 <= n; i += 4) v128.store(target + ((<usize>i) << 2), meanFour(source + ((<usize>i) << 3), factors));
  for (; i < n; i++) store<f32>(target + ((<usize>i) << 2), <f32>(load<f64>(source + ((<usize>i) << 3)) * factor));
}

/** scaleToFloat followed by encodeHalf, without storing the floats. */
export function scaleToHalf(source: usize, n: i32, factor: f64, scale: f32, target: usize): void {
  const factors = f64x2.splat(factor);
  const scales = f32x4.splat(scale);
  let i = 0;
  for (; i + 8 <= n; i += 8) {
    const address = source + ((<usize>i) << 3);
    const low = f32x4.mul(meanFour(address, factors), scales);
    const high = f32x4.mul(meanFour(address + 32, factors), scales);
    v128.store(target + ((<usize>i) << 1), toHalves(low, high));
  }
  for (; i < n; i++) {
    const mean = f32x4.splat(<f32>(load<f64>(source + ((<usize>i) << 3)) * factor));
    v128.store16_lane(target + ((<usize>i) << 1), toHalf(f32x4.mul(mean, scales)), 0);
  }
}

function digestFour(state: v128, words: v128): v128 {
  const sum = i32x4.add(state, i32x4.mul(words, i32x4.splat(0x85ebca77)));
  return i32x4.mul(v128.or(i32x4.shl(sum, 13), i32x4.shr_u(sum, 19)), i32x4.splat(0x9e3779b1));
}

/**
 * Absorbs word i into lane i mod 16 of `state`, sixteen 32-bit lanes with the step of xxHash32
 * (Collet).
 */
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

// @ts-ignore: decorator
@inline
function sgdDirection(p: v128, velocity: v128, update: v128, decay: v128, keep: v128, take: v128): v128 {
  return f32x4.add(f32x4.mul(keep, velocity), f32x4.mul(take, f32x4.add(update, f32x4.mul(decay, p))));
}

function sgdFour(p: usize, velocity: usize, update: v128, rate: v128, momentum: v128, decay: v128, keep: v128, take: v128): void {
  const x = v128.load(p);
  const v = sgdVelocity(x, v128.load(velocity), update, momentum, decay);
  v128.store(velocity, v);
  v128.store(p, f32x4.sub(x, f32x4.mul(rate, sgdDirection(x, v, update, decay, keep, take))));
}

function sgdOne(p: usize, velocity: usize, update: v128, rate: v128, momentum: v128, decay: v128, keep: v128, take: v128): void {
  const x = v128.load32_zero(p);
  const v = sgdVelocity(x, v128.load32_zero(velocity), update, momentum, decay);
  v128.store32_lane(velocity, v, 0);
  v128.store32_lane(p, f32x4.sub(x, f32x4.mul(rate, sgdDirection(x, v, update, decay, keep, take))), 0);
}

/** `c`: address of float32 rate, momentum, decay, keep, take. */
export function sgdStep(p: usize, velocity: usize, update: usize, n: i32, c: usize): void {
  const rate = v128.load32_splat(c);
  const momentum = v128.load32_splat(c, 4);
  const decay = v128.load32_splat(c, 8);
  const keep = v128.load32_splat(c, 12);
  const take = v128.load32_splat(c, 16);
  let i = 0;
  for (; i + 4 <= n; i += 4) {
    const at = (<usize>i) << 2;
    sgdFour(p + at, velocity + at, v128.load(update + at), rate, momentum, decay, keep, take);
  }
  for (; i < n; i++) {
    const at = (<usize>i) << 2;
    sgdOne(p + at, velocity + at, v128.load32_zero(update + at), rate, momentum, decay, keep, take);
  }
}

/** decodeHalf followed by sgdStep, without storing the floats. */
export function sgdStepHalf(p: usize, velocity: usize, update: usize, n: i32, scale: f32, c: usize): void {
  const scales = f32x4.splat(scale);
  const rate = v128.load32_splat(c);
  const momentum = v128.load32_splat(c, 4);
  const decay = v128.load32_splat(c, 8);
  const keep = v128.load32_splat(c, 12);
  const take = v128.load32_splat(c, 16);
  let i = 0;
  for (; i + 8 <= n; i += 8) {
    const at = (<usize>i) << 2;
    const halves = v128.load(update + ((<usize>i) << 1));
    const low = f32x4.mul(finiteLow(halves), scales);
    const high = f32x4.mul(finiteHigh(halves), scales);
    sgdFour(p + at, velocity + at, low, rate, momentum, decay, keep, take);
    sgdFour(p + at + 16, velocity + at + 16, high, rate, momentum, decay, keep, take);
  }
  for (; i < n; i++) {
    const at = (<usize>i) << 2;
    sgdOne(p + at, velocity + at, oneHalf(update + ((<usize>i) << 1), scales), rate, momentum, decay, keep, take);
  }
}

function blend(keep: v128, old: v128, take: v128, fresh: v128): v128 {
  return f32x4.add(f32x4.mul(keep, old), f32x4.mul(take, fresh));
}

// @ts-ignore: decorator
@inline
function adamFour(
  p: usize,
  first: usize,
  second: usize,
  update: v128,
  keep1: v128,
  take1: v128,
  keep2: v128,
  take2: v128,
  penalty: v128,
  shrink: v128,
  stepSize: v128,
  rootScale: v128,
  epsilon: v128,
): void {
  const x = v128.load(p);
  const g = f32x4.add(update, f32x4.mul(penalty, x));
  const m = blend(keep1, v128.load(first), take1, g);
  const v = blend(keep2, v128.load(second), take2, f32x4.mul(g, g));
  v128.store(first, m);
  v128.store(second, v);
  const denominator = f32x4.add(f32x4.mul(f32x4.sqrt(v), rootScale), epsilon);
  v128.store(p, f32x4.sub(f32x4.mul(x, shrink), f32x4.mul(stepSize, f32x4.div(m, denominator))));
}

// @ts-ignore: decorator
@inline
function adamOne(
  p: usize,
  first: usize,
  second: usize,
  update: v128,
  keep1: v128,
  take1: v128,
  keep2: v128,
  take2: v128,
  penalty: v128,
  shrink: v128,
  stepSize: v128,
  rootScale: v128,
  epsilon: v128,
): void {
  const x = v128.load32_zero(p);
  const g = f32x4.add(update, f32x4.mul(penalty, x));
  const m = blend(keep1, v128.load32_zero(first), take1, g);
  const v = blend(keep2, v128.load32_zero(second), take2, f32x4.mul(g, g));
  v128.store32_lane(first, m, 0);
  v128.store32_lane(second, v, 0);
  const denominator = f32x4.add(f32x4.mul(f32x4.sqrt(v), rootScale), epsilon);
  v128.store32_lane(p, f32x4.sub(f32x4.mul(x, shrink), f32x4.mul(stepSize, f32x4.div(m, denominator))), 0);
}

/**
 * `c`: address of float32 keep1, take1, keep2, take2, penalty, shrink, stepSize, rootScale,
 * epsilon.
 */
export function adamStep(p: usize, first: usize, second: usize, update: usize, n: i32, c: usize): void {
  const k1 = v128.load32_splat(c);
  const t1 = v128.load32_splat(c, 4);
  const k2 = v128.load32_splat(c, 8);
  const t2 = v128.load32_splat(c, 12);
  const penalty = v128.load32_splat(c, 16);
  const shrink = v128.load32_splat(c, 20);
  const step = v128.load32_splat(c, 24);
  const root = v128.load32_splat(c, 28);
  const epsilon = v128.load32_splat(c, 32);
  let i = 0;
  for (; i + 4 <= n; i += 4) {
    const at = (<usize>i) << 2;
    adamFour(p + at, first + at, second + at, v128.load(update + at), k1, t1, k2, t2, penalty, shrink, step, root, epsilon);
  }
  for (; i < n; i++) {
    const at = (<usize>i) << 2;
    adamOne(p + at, first + at, second + at, v128.load32_zero(update + at), k1, t1, k2, t2, penalty, shrink, step, root, epsilon);
  }
}

/** decodeHalf followed by adamStep, without storing the floats. */
export function adamStepHalf(p: usize, first: usize, second: usize, update: usize, n: i32, scale: f32, c: usize): void {
  const k1 = v128.load32_splat(c);
  const t1 = v128.load32_splat(c, 4);
  const k2 = v128.load32_splat(c, 8);
  const t2 = v128.load32_splat(c, 12);
  const penalty = v128.load32_splat(c, 16);
  const shrink = v128.load32_splat(c, 20);
  const step = v128.load32_splat(c, 24);
  const root = v128.load32_splat(c, 28);
  const epsilon = v128.load32_splat(c, 32);
  const scales = f32x4.splat(scale);
  let i = 0;
  for (; i + 8 <= n; i += 8) {
    const at = (<usize>i) << 2;
    const halves = v128.load(update + ((<usize>i) << 1));
    const low = f32x4.mul(finiteLow(halves), scales);
    adamFour(p + at, first + at, second + at, low, k1, t1, k2, t2, penalty, shrink, step, root, epsilon);
    const high = f32x4.mul(finiteHigh(halves), scales);
    adamFour(p + at + 16, first + at + 16, second + at + 16, high, k1, t1, k2, t2, penalty, shrink, step, root, epsilon);
  }
  for (; i < n; i++) {
    const at = (<usize>i) << 2;
    adamOne(p + at, first + at, second + at, oneHalf(update + ((<usize>i) << 1), scales), k1, t1, k2, t2, penalty, shrink, step, root, epsilon);
  }
}

/** average += take * (p - average). */
export function averageStep(average: usize, p: usize, n: i32, take: f32): void {
  const takes = f32x4.splat(take);
  let i = 0;
  for (; i + 4 <= n; i += 4) {
    const at = (<usize>i) << 2;
    const old = v128.load(average + at);
    v128.store(average + at, f32x4.add(old, f32x4.mul(takes, f32x4.sub(v128.load(p + at), old))));
  }
  for (; i < n; i++) {
    const at = (<usize>i) << 2;
    const old = v128.load32_zero(average + at);
    v128.store32_lane(average + at, f32x4.add(old, f32x4.mul(takes, f32x4.sub(v128.load32_zero(p + at), old))), 0);
  }
}
