/* Row-major matrices into panels and back. Padding is zero. */
#ifndef TROUPE_PANELS_H
#define TROUPE_PANELS_H

#include <string.h>
#include "gemm.h"

INLINE int panelsOf(int columns) { return (columns + PANEL - 1) / PANEL; }

/*
 * Elements of a cache line of a matrix; they are moved together, so that no line is fetched twice.
 */
#define STRIP 16

/* Packs the transpose of W [rows, depth] as a right factor [rows / PANEL][depth][PANEL]. */
static void packTransposed(const float *w, int rows, int depth, float *to) {
  for (int first = 0; first < rows; first += PANEL, to += (size_t)depth * PANEL) {
    const int used = least(PANEL, rows - first);
    if (used < PANEL) memset(to, 0, (size_t)depth * PANEL * sizeof(float));
    for (int k = 0; k < depth; k += STRIP) {
      const int strip = least(STRIP, depth - k);
      for (int j = 0; j < used; j++) {
        const float *from = w + (size_t)(first + j) * depth + k;
        for (int i = 0; i < strip; i++) to[(size_t)(k + i) * PANEL + j] = from[i];
      }
    }
  }
}

/* Packs X [rows, columns] into [columns / PANEL][rows][PANEL], panels `stride` apart. */
static void packRows(const float *x, int rows, int columns, float *to, size_t stride) {
  for (int first = 0; first < columns; first += PANEL, to += stride) {
    const int used = least(PANEL, columns - first);
    for (int row = 0; row < rows; row++) {
      float *out = to + (size_t)row * PANEL;
      memcpy(out, x + (size_t)row * columns + first, used * sizeof(float));
      if (used < PANEL) memset(out + used, 0, (PANEL - used) * sizeof(float));
    }
  }
}

/* The reverse: X [rows, columns] (+)= panels. */
static void unpackRows(const float *from, size_t stride, int rows, int columns, float *x, bool accumulate) {
  for (int column = 0; column < columns; column++) {
    const float *in = from + (size_t)(column / PANEL) * stride + column % PANEL;
    float *out = x + column;
    for (int row = 0; row < rows; row++) {
      const float value = in[(size_t)row * PANEL];
      out[(size_t)row * columns] = accumulate ? out[(size_t)row * columns] + value : value;
    }
  }
}

#endif
