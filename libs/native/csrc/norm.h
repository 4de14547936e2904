/*
 * Layer normalisation (Ba, Kiros & Hinton 2016): y = (x - mean) / sqrt(variance + epsilon) *
 * weight + bias over the H units of a row.
 */
#ifndef TROUPE_NORM_H
#define TROUPE_NORM_H

#include <math.h>
#include "panels.h"

#define NORM_EPSILON 1e-5f

/* weight and bias [H'], 0 in the padding; `used` is 1 for the H units and 0 in the padding. */
typedef struct {
  int hidden, panels;
  const float *weight, *bias, *used;
} Norm;

typedef struct {
  float mean, inverseDeviation;
} Moments;

/* In two passes, so that a mean far from zero costs the variance no precision. */
static Moments momentsOf(const Norm *norm, const float *x, size_t stride) {
  vf sum = {0}, squares = {0};
  for (int p = 0; p < norm->panels; p++) {
    for (int j = 0; j < PANEL; j += LANES) sum += load(x + p * stride + j);
  }
  const float mean = sumOf(sum) / norm->hidden;
  for (int p = 0; p < norm->panels; p++) {
    for (int j = 0; j < PANEL; j += LANES) {
      const vf d = (load(x + p * stride + j) - splat(mean)) * load(norm->used + p * PANEL + j);
      squares = FMA(d, d, squares);
    }
  }
  return (Moments){mean, 1.0f / sqrtf(sumOf(squares) / norm->hidden + NORM_EPSILON)};
}

/* x and y are panelled: rows are PANEL floats apart. */
static void normalise(const Norm *norm, int rows, size_t stride, const float *x, float *y) {
  for (int row = 0; row < rows; row++, x += PANEL, y += PANEL) {
    const Moments moments = momentsOf(norm, x, stride);
    for (int p = 0; p < norm->panels; p++) {
      for (int j = 0; j < PANEL; j += LANES) {
        const int unit = p * PANEL + j;
        const vf standard = (load(x + p * stride + j) - splat(moments.mean)) * splat(moments.inverseDeviation);
        store(y + p * stride + j, FMA(standard, load(norm->weight + unit), load(norm->bias + unit)));
      }
    }
  }
}

/* Turns dy into dx; adds to the gradients of weight and bias [H']. */
static void normaliseBackward(const Norm *norm, int rows, size_t stride, const float *x, float *dy, float *weightGradient,
                              float *biasGradient) {
  for (int row = 0; row < rows; row++, x += PANEL, dy += PANEL) {
    const Moments moments = momentsOf(norm, x, stride);
    const vf mean = splat(moments.mean), inverse = splat(moments.inverseDeviation);
    vf sum = {0}, projection = {0};
    for (int unit = 0; unit < norm->panels * PANEL; unit += LANES) {
      const size_t at = unit / PANEL * stride + unit % PANEL;
      const vf standard = (load(x + at) - mean) * inverse, d = load(dy + at), scaled = d * load(norm->weight + unit);
      sum += scaled;
      projection = FMA(scaled, standard, projection);
      store(weightGradient + unit, FMA(d, standard, load(weightGradient + unit)));
      store(biasGradient + unit, load(biasGradient + unit) + d);
    }
    const vf common = splat(sumOf(sum) / norm->hidden), along = splat(sumOf(projection) / norm->hidden);
    for (int unit = 0; unit < norm->panels * PANEL; unit += LANES) {
      const size_t at = unit / PANEL * stride + unit % PANEL;
      const vf standard = (load(x + at) - mean) * inverse;
      const vf d = load(dy + at) * load(norm->weight + unit) - common - standard * along;
      store(dy + at, d * inverse * load(norm->used + unit));
    }
  }
}

#endif
