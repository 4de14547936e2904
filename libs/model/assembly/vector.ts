// Vector arithmetic on four float32 lanes. Every function propagates NaN, so that the final check
// finds it.

/**
 * a * b + c, rounded once in the relaxed build (where the hardware has FMA), twice in the portable
 * one.
 */
// @ts-ignore: decorator
@inline
export function madd(a: v128, b: v128, c: v128): v128 {
  if (ASC_FEATURE_RELAXED_SIMD) return f32x4.relaxed_madd(a, b, c);
  return f32x4.add(f32x4.mul(a, b), c);
}

// e^x = 2^n e^r with n = round(x / ln 2) and |r| <= ln(2)/2. Adding 1.5 * 2^23 rounds to a whole
// number and leaves n in the low bits, ready to be shifted into an exponent. ln 2 is subtracted in
// two parts (Cody & Waite 1980) so that r keeps its digits. (e^r - 1)/r is a polynomial of degree
// 5, Chebyshev interpolation, relative error 2.5e-8.
//
// The constants are read from memory: V8 builds a vector constant from two general registers and
// an insert at each use, while a broadcasting load is a single instruction (measured on Node 24:
// the gates take a third of the time).
const CONSTANTS: usize = memory.data<f32>(
  [
    87, -87, 1.44269504, 12582912, -0.693359375, 2.1219444e-4, 0.0013933649752289057, 0.00836915522813797, 0.04166646674275398,
    0.16666504740715027, 0.5, 1, 2, -2,
  ],
  64,
);
/** Beyond +-87 e^x leaves the normal range of float32. */
const MOST: usize = 0;
const LEAST: usize = 4;
const LOG2_E: usize = 8;
const ROUND: usize = 12;
const MINUS_LN2_HIGH: usize = 16;
const MINUS_LN2_LOW: usize = 20;
const P5: usize = 24;
const P4: usize = 28;
const P3: usize = 32;
const P2: usize = 36;
const P1: usize = 40;
const ONE: usize = 44;
const TWO: usize = 48;
const MINUS_TWO: usize = 52;

// @ts-ignore: decorator
@inline
function clamp(x: v128): v128 {
  return f32x4.pmax(f32x4.pmin(x, v128.load32_splat(CONSTANTS, MOST)), v128.load32_splat(CONSTANTS, LEAST));
}

/** n + 1.5 * 2^23. */
// @ts-ignore: decorator
@inline
function exponent(x: v128): v128 {
  return madd(x, v128.load32_splat(CONSTANTS, LOG2_E), v128.load32_splat(CONSTANTS, ROUND));
}

/** 2^n, from exponent's result; the 1 is added to its bits. */
// @ts-ignore: decorator
@inline
function power(n: v128): v128 {
  return i32x4.add(i32x4.shl(n, 23), v128.load32_splat(CONSTANTS, ONE));
}

/** e^r - 1. */
// @ts-ignore: decorator
@inline
function reduced(x: v128, shifted: v128): v128 {
  const n = f32x4.sub(shifted, v128.load32_splat(CONSTANTS, ROUND));
  let r = madd(n, v128.load32_splat(CONSTANTS, MINUS_LN2_HIGH), x);
  r = madd(n, v128.load32_splat(CONSTANTS, MINUS_LN2_LOW), r);
  let p = madd(r, v128.load32_splat(CONSTANTS, P5), v128.load32_splat(CONSTANTS, P4));
  p = madd(r, p, v128.load32_splat(CONSTANTS, P3));
  p = madd(r, p, v128.load32_splat(CONSTANTS, P2));
  p = madd(r, p, v128.load32_splat(CONSTANTS, P1));
  p = madd(r, p, v128.load32_splat(CONSTANTS, ONE));
  return f32x4.mul(p, r);
}

/** e^x; x is clamped to |x| <= 87. */
// @ts-ignore: decorator
@inline
export function exp(x: v128): v128 {
  x = clamp(x);
  const n = exponent(x);
  const s = power(n);
  return madd(s, reduced(x, n), s);
}

/** 1 / (1 + e^-x), with a small relative error even far below zero. */
// @ts-ignore: decorator
@inline
export function sigmoid(x: v128): v128 {
  const one = v128.load32_splat(CONSTANTS, ONE);
  return f32x4.div(one, f32x4.add(one, exp(f32x4.neg(x))));
}

/**
 * tanh x = (1 - e^-2x) / (1 + e^-2x), computed from e^-2x - 1 so that nothing cancels near zero.
 */
// @ts-ignore: decorator
@inline
export function tanh(x: v128): v128 {
  x = clamp(f32x4.mul(x, v128.load32_splat(CONSTANTS, MINUS_TWO)));
  const n = exponent(x);
  const s = power(n);
  const e = madd(s, reduced(x, n), f32x4.sub(s, v128.load32_splat(CONSTANTS, ONE)));
  return f32x4.div(f32x4.neg(e), f32x4.add(e, v128.load32_splat(CONSTANTS, TWO)));
}

/** max(0, x). */
// @ts-ignore: decorator
@inline
export function relu(x: v128): v128 {
  return f32x4.pmax(x, f32x4.splat(0));
}

/** 1 - x. */
// @ts-ignore: decorator
@inline
export function complement(x: v128): v128 {
  return f32x4.sub(v128.load32_splat(CONSTANTS, ONE), x);
}
