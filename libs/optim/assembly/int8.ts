// The int8 kernels; src/int8.ts describes the format and src/scalar-int8.ts does the same in
// TypeScript. The generator is Philox4x32-7 (Salmon et al. 2011), four counters in parallel.
import { addFour, maxMagnitude, storeFour } from './sums';

/** Values that share an exponent. */
const BLOCK = 256;
/** Values that share four counters: each half of their sixteen words rounds one value. */
const GROUP = 32;
const MIN_EXPONENT = -100;
const MAX_EXPONENT = 120;
const NOT_FINITE: i8 = -128;

const MULTIPLIER_0: i32 = 0xd2511f53;
const MULTIPLIER_1: i32 = 0xcd9e8d57;
const WEYL_0: i32 = 0x9e3779b9;
const WEYL_1: i32 = 0xbb67ae85;
/** Second word of the key: "int8" in ASCII. */
const DOMAIN: i32 = 0x696e7438;
const GENERAL_ROUNDS = 5;

// What `state` holds. The kernel loads constants from there, because V8 builds a constant vector
// again at each use.
const GENERAL_KEYS: usize = 64;
const LANES: usize = 224;
const LOW_BITS: usize = 240;
const TAIL_VALUES: usize = 256;
const TAIL_BYTES: usize = 384;

// @ts-ignore: decorator
@inline
function upperHalves(low: v128, high: v128): v128 {
  return v128.shuffle<i32>(low, high, 1, 3, 5, 7);
}

// @ts-ignore: decorator
@inline
function lowerHalves(low: v128, high: v128): v128 {
  return v128.shuffle<i32>(low, high, 0, 2, 4, 6);
}

/**
 * Counters differ in their first word only, so half of the first two rounds is the same for all
 * and is computed here.
 */
function prepare(seed: i32, round: i32, stream: i32, first: i32, state: usize): void {
  const product1 = <u64>(<u32>stream) * <u64>(<u32>MULTIPLIER_1);
  const word0 = <u32>(product1 >> 32) ^ first ^ seed;
  const product0 = <u64>word0 * <u64>(<u32>MULTIPLIER_0);
  v128.store(state, i32x4.splat(round ^ DOMAIN));
  v128.store(state, i32x4.splat(<i32>product1 ^ (seed + WEYL_0)), 16);
  v128.store(state, i32x4.splat(<i32>(product0 >> 32) ^ (DOMAIN + WEYL_1)), 32);
  v128.store(state, i32x4.splat(<i32>product0), 48);
  for (let i = 0; i < GENERAL_ROUNDS; i++) {
    const keys = state + GENERAL_KEYS + ((<usize>i) << 5);
    v128.store(keys, i32x4.splat(seed + (i + 2) * WEYL_0));
    v128.store(keys, i32x4.splat(DOMAIN + (i + 2) * WEYL_1), 16);
  }
  v128.store(state + LANES, i32x4(0, 1, 2, 3));
  v128.store(state + LOW_BITS, i32x4.splat(0x7fff));
}

/** Eight floats as 16-bit integers: fixed point with 15 binary places, plus noise below 1, cut. */
// @ts-ignore: decorator
@inline
function quantizeEight(source: usize, factor: v128, noiseLow: v128, noiseHigh: v128): v128 {
  // Adding 1.5 * 2^23 lets the FPU round to an integer, which then stands in the lower bits.
  const shift = f32x4.splat(12_582_912);
  const low = f32x4.add(f32x4.mul(v128.load(source), factor), shift);
  const high = f32x4.add(f32x4.mul(v128.load(source, 16), factor), shift);
  const cutLow = i32x4.shr_u(i32x4.add(low, noiseLow), 15);
  const cutHigh = i32x4.shr_u(i32x4.add(high, noiseHigh), 15);
  return i16x8.sub(i16x8.narrow_i32x4_u(cutLow, cutHigh), i16x8.splat(<i16>0x9680));
}

/** Rounds 32 floats times `factor` / 2^15 to int8. */
// @ts-ignore: decorator
@inline
function quantizeGroup(source: usize, factor: v128, counter: i32, m0: v128, m1: v128, state: usize, target: usize): void {
  const counters = i32x4.add(i32x4.splat(counter), v128.load(state + LANES));
  const firstLow = i64x2.extmul_low_i32x4_u(counters, m0);
  const firstHigh = i64x2.extmul_high_i32x4_u(counters, m0);
  let c2 = v128.xor(upperHalves(firstLow, firstHigh), v128.load(state));
  const secondLow = i64x2.extmul_low_i32x4_u(c2, m1);
  const secondHigh = i64x2.extmul_high_i32x4_u(c2, m1);
  let c0 = v128.xor(upperHalves(secondLow, secondHigh), v128.load(state, 16));
  let c1 = lowerHalves(secondLow, secondHigh);
  c2 = v128.xor(lowerHalves(firstLow, firstHigh), v128.load(state, 32));
  let c3 = v128.load(state, 48);
  for (let keys = state + GENERAL_KEYS; keys < state + GENERAL_KEYS + (GENERAL_ROUNDS << 5); keys += 32) {
    const low0 = i64x2.extmul_low_i32x4_u(c0, m0);
    const high0 = i64x2.extmul_high_i32x4_u(c0, m0);
    const low1 = i64x2.extmul_low_i32x4_u(c2, m1);
    const high1 = i64x2.extmul_high_i32x4_u(c2, m1);
    c0 = v128.xor(v128.xor(upperHalves(low1, high1), c1), v128.load(keys));
    c2 = v128.xor(v128.xor(upperHalves(low0, high0), c3), v128.load(keys, 16));
    c1 = lowerHalves(low1, high1);
    c3 = lowerHalves(low0, high0);
  }
  const mask = v128.load(state + LOW_BITS);
  const a = quantizeEight(source, factor, i32x4.shr_u(c0, 17), i32x4.shr_u(c1, 17));
  const b = quantizeEight(source + 32, factor, i32x4.shr_u(c2, 17), i32x4.shr_u(c3, 17));
  v128.store(target, i8x16.narrow_i16x8_s(a, b));
  const c = quantizeEight(source + 64, factor, v128.and(c0, mask), v128.and(c1, mask));
  const d = quantizeEight(source + 96, factor, v128.and(c2, mask), v128.and(c3, mask));
  v128.store(target, i8x16.narrow_i16x8_s(c, d), 16);
}

function quantizeBlock(source: usize, n: i32, factor: f32, counter: i32, state: usize, target: usize): void {
  const factors = f32x4.splat(factor);
  const m0 = i32x4.splat(MULTIPLIER_0);
  const m1 = i32x4.splat(MULTIPLIER_1);
  let i = 0;
  for (; i + GROUP <= n; i += GROUP) {
    quantizeGroup(source + ((<usize>i) << 2), factors, counter + (i >> 3), m0, m1, state, target + i);
  }
  if (i === n) return;
  for (let k = 0; k < GROUP; k++) {
    const value = i + k < n ? load<f32>(source + ((<usize>(i + k)) << 2)) : 0;
    store<f32>(state + TAIL_VALUES + ((<usize>k) << 2), value);
  }
  quantizeGroup(state + TAIL_VALUES, factors, counter + (i >> 3), m0, m1, state, state + TAIL_BYTES);
  for (let k = 0; i + k < n; k++) store<u8>(target + i + k, load<u8>(state + TAIL_BYTES + k));
}

/** The smallest exponent e with a magnitude of at most 127 * 2^e, or NOT_FINITE. */
function exponentFor(magnitudeBits: i32): i8 {
  const exponent = ((magnitudeBits + 0x1ffff) >>> 23) - 133;
  return exponent > MAX_EXPONENT ? NOT_FINITE : <i8>max(exponent, MIN_EXPONENT);
}

/** `index`: place of source[0] in the segment, a multiple of 256. `state`: 416 bytes for the kernel. */
export function encodeInt8(
  source: usize,
  n: i32,
  seed: i32,
  round: i32,
  stream: i32,
  first: i32,
  index: i32,
  exponents: usize,
  values: usize,
  state: usize,
): void {
  prepare(seed, round, stream, first, state);
  for (let from = 0; from < n; from += BLOCK) {
    const count = min(BLOCK, n - from);
    const address = source + ((<usize>from) << 2);
    const exponent = exponentFor(maxMagnitude(address, count));
    store<i8>(exponents++, exponent);
    if (exponent === NOT_FINITE) {
      memory.fill(values + from, 0, count);
      continue;
    }
    const factor = reinterpret<f32>((142 - <i32>exponent) << 23);
    quantizeBlock(address, count, factor, (index + from) >> 3, state, values + from);
  }
}

/** 2^exponent. */
function scaleOf(exponent: usize): f32 {
  return reinterpret<f32>((<i32>load<i8>(exponent) + 127) << 23);
}

// @ts-ignore: decorator
@inline
function decodeFour(words: v128, scale: v128): v128 {
  return f32x4.mul(f32x4.convert_i32x4_s(words), scale);
}

/** Adds n values to a sum; a fresh one counts as zeros. `fresh` is constant at each call. */
// @ts-ignore: decorator
@inline
function sumInt8(sum: usize, exponents: usize, values: usize, n: i32, fresh: bool): void {
  let i = 0;
  while (i < n) {
    const scale = scaleOf(exponents++);
    const scales = f32x4.splat(scale);
    const end = min(n, i + BLOCK);
    for (; i + 8 <= end; i += 8) {
      const words = v128.load8x8_s(values + i);
      const address = sum + ((<usize>i) << 3);
      const low = decodeFour(i32x4.extend_low_i16x8_s(words), scales);
      const high = decodeFour(i32x4.extend_high_i16x8_s(words), scales);
      if (fresh) storeFour(address, low);
      else addFour(address, low);
      if (fresh) storeFour(address + 32, high);
      else addFour(address + 32, high);
    }
    for (; i < end; i++) {
      const address = sum + ((<usize>i) << 3);
      const before = fresh ? 0.0 : load<f64>(address);
      store<f64>(address, before + <f64>(<f32>load<i8>(values + i) * scale));
    }
  }
}

export function addInt8(sum: usize, exponents: usize, values: usize, n: i32): void {
  sumInt8(sum, exponents, values, n, false);
}

/** Like addInt8 to zeros; overwrites the sum. */
export function storeInt8(sum: usize, exponents: usize, values: usize, n: i32): void {
  sumInt8(sum, exponents, values, n, true);
}

/** Largest |x|; 128 tells of a -128, which the format does not use. */
export function maxMagnitudeInt8(source: usize, n: i32): i32 {
  let most = i8x16.splat(0);
  let i = 0;
  for (; i + 16 <= n; i += 16) most = i8x16.max_u(most, i8x16.abs(v128.load(source + i)));
  let result = 0;
  for (; i < n; i++) result = max(result, abs(<i32>load<i8>(source + i)));
  const pairs = i16x8.max_u(i16x8.extend_low_i8x16_u(most), i16x8.extend_high_i8x16_u(most));
  const wide = i32x4.max_s(i32x4.extend_low_i16x8_u(pairs), i32x4.extend_high_i16x8_u(pairs));
  result = max(result, max(i32x4.extract_lane(wide, 0), i32x4.extract_lane(wide, 1)));
  return max(result, max(i32x4.extract_lane(wide, 2), i32x4.extract_lane(wide, 3)));
}
