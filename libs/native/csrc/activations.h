/* Elementwise functions. All of them propagate NaN, so that the final check finds it. */
#ifndef TROUPE_ACTIVATIONS_H
#define TROUPE_ACTIVATIONS_H

#include "simd.h"

/* Beyond +-87 e^x leaves the normal range of float32. */
INLINE vf clamp(vf x) { return AT_LEAST(splat(-87.0f), AT_MOST(splat(87.0f), x)); }

/*
 * e^x = 2^n e^r, n = round(x / ln 2), |r| <= ln(2) / 2; returns e^r - 1, for |x| <= 87. Adding 1.5
 * * 2^23 rounds to a whole number and leaves n in the low bits, ready to be shifted into an
 * exponent. ln 2 is subtracted in two parts (Cody & Waite 1980) so that r keeps its digits. (e^r -
 * 1) / r is a polynomial of degree 5, Chebyshev interpolation, relative error 2.5e-8.
 */
INLINE vf splitExponential(vf x, vf *power) {
  const vf round = splat(12582912.0f);
  const vf shifted = FMA(x, splat(1.44269504f), round);
  const vf n = shifted - round;
  vf r = FMA(n, splat(-0.693359375f), x);
  r = FMA(n, splat(2.1219444e-4f), r);
  vf p = FMA(r, splat(0.0013933649752289057f), splat(0.00836915522813797f));
  p = FMA(r, p, splat(0.04166646674275398f));
  p = FMA(r, p, splat(0.16666504740715027f));
  p = FMA(r, p, splat(0.5f));
  p = FMA(r, p, splat(1.0f));
  *power = (vf)(((vu)shifted << 23) + splatBits(0x3f800000));
  return p * r;
}

/* e^x; x is clamped to |x| <= 87. */
INLINE vf exponential(vf x) {
  vf power;
  const vf rest = splitExponential(clamp(x), &power);
  return FMA(power, rest, power);
}

/* 1 / (1 + e^-x), with a small relative error even far below zero. */
INLINE vf sigmoid(vf x) { return splat(1.0f) / (splat(1.0f) + exponential(-x)); }

/* tanh x = (1 - e^-2x) / (1 + e^-2x), computed from e^-2x - 1 so that nothing cancels near zero. */
INLINE vf hyperbolicTangent(vf x) {
  vf power;
  const vf rest = splitExponential(clamp(x * splat(-2.0f)), &power);
  const vf e = FMA(power, rest, power - splat(1.0f));
  return -e / (splat(2.0f) + e);
}

INLINE vf rectified(vf x) { return AT_LEAST(splat(0.0f), x); }

/*
 * The slope of `rectified`, from its value: 1 where that is above 0. NaN has slope 0, but has
 * already made the loss NaN.
 */
INLINE vf slopeOfRectified(vf x) { return (vf)((vu)(x > splat(0.0f)) & splatBits(0x3f800000)); }

#endif
