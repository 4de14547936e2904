/*
 * Matrix products on panels. An activation X [rows, columns] is stored as [columns /
 * PANEL][rows][PANEL]. In this layout it serves, without a copy, as the left factor of X W and as
 * either factor of X^T Y, and a tile of a result is contiguous. Weights are packed likewise; their
 * rows are the summed dimension. `stride` is always the number of floats from one panel to the
 * next.
 */
#ifndef TROUPE_GEMM_H
#define TROUPE_GEMM_H

#include <stdbool.h>
#include <stddef.h>
#include "simd.h"

/*
 * Depth summed at a time: all tiles of a block use a panel of the right factor of this depth while
 * it is cached.
 */
#define BLOCK_DEPTH 512
/* Rows of an untransposed left factor that fit the L2 cache at that depth. */
#define BLOCK_ROWS 112
/* Panels of a transposed left factor that fit it. */
#define BLOCK_PANELS 4

typedef struct {
  const float *data;
  size_t stride;
} Factor;

INLINE int least(int a, int b) { return a < b ? a : b; }

/*
 * Goes through memory once: if a variable indexed the accumulators, they would be in memory all
 * the time.
 */
INLINE void writePart(const int R, vf sum[][VECTORS], float *c, size_t rowLength, int columns, bool accumulate) {
  float values[TILE_ROWS * PANEL];
  UNROLL_ALL
  for (int i = 0; i < R; i++) {
    UNROLL_ALL
    for (int j = 0; j < VECTORS; j++) store(values + i * PANEL + j * LANES, sum[i][j]);
  }
  for (int i = 0; i < R; i++) {
    for (int j = 0; j < columns; j++) {
      float *to = c + i * rowLength + j;
      *to = values[i * PANEL + j] + (accumulate ? *to : 0);
    }
  }
}

/*
 * C [R, columns] (+)= A B over `depth`. Untransposed A: rows are PANEL floats apart, and after
 * PANEL columns the next panel follows. Transposed A: columns are PANEL floats apart. R and
 * `transposed` are constants, so the accumulators are registers.
 */
INLINE void tile(const int R, const bool transposed, Factor a, const float *b, int depth, float *c, size_t rowLength, int columns,
                 bool accumulate) {
  vf sum[TILE_ROWS][VECTORS];
  UNROLL_ALL
  for (int i = 0; i < R; i++) {
    UNROLL_ALL
    for (int j = 0; j < VECTORS; j++) sum[i][j] = (vf){0};
  }
  for (int left = depth; left > 0;) {
    const int chunk = transposed ? left : least(left, PANEL);
    const float *x = a.data;
    UNROLL_TWICE
    for (int k = 0; k < chunk; k++) {
      vf y[VECTORS];
      UNROLL_ALL
      for (int j = 0; j < VECTORS; j++) y[j] = load(b + j * LANES);
      UNROLL_ALL
      for (int i = 0; i < R; i++) addRow(sum[i], x + (transposed ? i : i * PANEL), y);
      x += transposed ? PANEL : 1;
      b += PANEL;
    }
    a.data += a.stride;
    left -= chunk;
  }
  if (columns < PANEL) {
    writePart(R, sum, c, rowLength, columns, accumulate);
    return;
  }
  UNROLL_ALL
  for (int i = 0; i < R; i++) {
    UNROLL_ALL
    for (int j = 0; j < VECTORS; j++) {
      float *to = c + i * rowLength + j * LANES;
      store(to, accumulate ? load(to) + sum[i][j] : sum[i][j]);
    }
  }
}

typedef void Tile(Factor a, const float *b, int depth, float *c, size_t rowLength, int columns, bool accumulate);

#define TILE_PAIR(R)                                                                                                             \
  static void plain##R(Factor a, const float *b, int depth, float *c, size_t rowLength, int columns, bool accumulate) {          \
    tile(R, false, a, b, depth, c, rowLength, columns, accumulate);                                                              \
  }                                                                                                                              \
  static void transposed##R(Factor a, const float *b, int depth, float *c, size_t rowLength, int columns, bool accumulate) {     \
    tile(R, true, a, b, depth, c, rowLength, columns, accumulate);                                                               \
  }
TILE_PAIR(1)
TILE_PAIR(2)
TILE_PAIR(3)
TILE_PAIR(4)
TILE_PAIR(5)
#if TILE_ROWS == 5
#define TILES(kind)                                                                                                              \
  { 0, kind##1, kind##2, kind##3, kind##4, kind##5 }
#elif TILE_ROWS == 6
TILE_PAIR(6)
#define TILES(kind)                                                                                                              \
  { 0, kind##1, kind##2, kind##3, kind##4, kind##5, kind##6 }
#elif TILE_ROWS == 14
TILE_PAIR(6)
TILE_PAIR(7)
TILE_PAIR(8)
TILE_PAIR(9)
TILE_PAIR(10)
TILE_PAIR(11)
TILE_PAIR(12)
TILE_PAIR(13)
TILE_PAIR(14)
#define TILES(kind)                                                                                                              \
  {                                                                                                                              \
    0, kind##1, kind##2, kind##3, kind##4, kind##5, kind##6, kind##7, kind##8, kind##9, kind##10, kind##11, kind##12, kind##13,  \
        kind##14                                                                                                                 \
  }
#endif

static Tile *const PLAIN[TILE_ROWS + 1] = TILES(plain);
static Tile *const TRANSPOSED[TILE_ROWS + 1] = TILES(transposed);

/* Result of a product in panels: rows are PANEL floats apart. */
typedef struct {
  float *data;
  size_t stride;
} Result;

/*
 * A column of tiles of nearly equal height that covers `rows` rows of C. `apart`: floats from one
 * row of A to the next.
 */
INLINE void tileColumn(Tile *const *tiles, int rows, Factor a, size_t apart, const float *b, int depth, float *c,
                       size_t rowLength, int columns, bool accumulate) {
  const int count = (rows + TILE_ROWS - 1) / TILE_ROWS;
  for (int i = 0; i < count; i++) {
    const int height = rows / count + (i < rows % count);
    tiles[height](a, b, depth, c, rowLength, columns, accumulate);
    a.data += height * apart;
    c += height * rowLength;
  }
}

/* C [rows, panels * PANEL] (+)= A [rows, depth] B, B packed. */
static void multiply(int rows, int panels, int depth, Factor a, Factor b, Result c, bool accumulate) {
  for (int k = 0; k < depth; k += BLOCK_DEPTH) {
    const int deep = least(BLOCK_DEPTH, depth - k);
    for (int m = 0; m < rows; m += BLOCK_ROWS) {
      const int high = least(BLOCK_ROWS, rows - m);
      const Factor x = {a.data + k / PANEL * a.stride + (size_t)m * PANEL, a.stride};
      for (int n = 0; n < panels; n++) {
        const float *y = b.data + n * b.stride + (size_t)k * PANEL;
        float *to = c.data + n * c.stride + (size_t)m * PANEL;
        tileColumn(PLAIN, high, x, PANEL, y, deep, to, PANEL, PANEL, accumulate || k > 0);
      }
    }
  }
}

/* C [rows, columns], row-major, (+)= A^T B over `depth` rows of both. */
static void multiplyTransposed(int rows, int columns, int depth, Factor a, Factor b, float *c, bool accumulate) {
  for (int k = 0; k < depth; k += BLOCK_DEPTH) {
    const int deep = least(BLOCK_DEPTH, depth - k);
    for (int block = 0; block < rows; block += BLOCK_PANELS * PANEL) {
      const int end = least(rows, block + BLOCK_PANELS * PANEL);
      for (int n = 0; n < columns; n += PANEL) {
        const float *y = b.data + n / PANEL * b.stride + (size_t)k * PANEL;
        for (int m = block; m < end; m += PANEL) {
          const Factor x = {a.data + m / PANEL * a.stride + (size_t)k * PANEL, 0};
          float *to = c + (size_t)m * columns + n;
          tileColumn(TRANSPOSED, least(PANEL, end - m), x, 1, y, deep, to, columns, columns - n, accumulate || k > 0);
        }
      }
    }
  }
}

#endif
