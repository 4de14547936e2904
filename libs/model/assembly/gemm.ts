// C (+)= A B with A row-major and read in place, B packed into panels as wide as the tile. Blocks
// of K keep a panel in the L1 cache, blocks of M keep their rows of A in the L2 cache. Every
// element of C is summed in the order of k within a block, for any tile, height of a tile and M,
// so a row of C does not depend on the rows computed with it.
import { K_BLOCK, microKernel, tileColumns, tileRows } from './generated/micro-kernels';
import { madd } from './vector';

const M_BLOCK: i32 = 96;

/**
 * A[M, K] with row length lda, panels of B[K, N], N a multiple of tileColumns, C[M, N] with row
 * length ldc; floats. Unless `second` is 0, also adds the product times `sign` to it, a matrix
 * like C.
 */
export function gemm(
  tile: i32, m: i32, n: i32, k: i32, a: usize, lda: i32, panels: usize, c: usize, ldc: i32, accumulate: bool,
  second: usize, sign: f32,
): void {
  for (let k0 = 0; k0 < k; k0 += K_BLOCK) {
    const depth = min(K_BLOCK, k - k0);
    for (let m0 = 0; m0 < m; m0 += M_BLOCK) {
      const rows = min(M_BLOCK, m - m0);
      const offset: usize = 4 * <usize>m0 * ldc;
      const other: usize = second == 0 ? 0 : second + offset;
      block(
        tile, rows, n, depth, a + 4 * (<usize>m0 * lda + k0), 4 * lda, panels, c + offset, 4 * ldc, accumulate, other, sign,
      );
    }
    panels += 4 * <usize>depth * n;
    accumulate = true;
  }
}

/**
 * Divides rows evenly (16 rows in tiles of 6: 6, 5, 5), because a tile of one or two rows cannot
 * fill the pipelines.
 */
function block(
  tile: i32, m: i32, n: i32, k: i32, a: usize, lda: usize, panel: usize, c: usize, ldc: usize, accumulate: bool,
  second: usize, sign: f32,
): void {
  const columns = tileColumns(tile);
  const tiles = (m + tileRows(tile) - 1) / tileRows(tile);
  const height = m / tiles;
  const taller = m % tiles;
  for (let n0 = 0; n0 < n; n0 += columns) {
    let rowA = a;
    let rowC = c + 4 * n0;
    let rowSecond: usize = second == 0 ? 0 : second + 4 * n0;
    for (let t = 0; t < tiles; t++) {
      const rows = height + i32(t < taller);
      microKernel(tile, rows, k, rowA, lda, panel, rowC, ldc, accumulate, rowSecond, sign);
      rowA += <usize>rows * lda;
      rowC += <usize>rows * ldc;
      if (second != 0) rowSecond += <usize>rows * ldc;
    }
    panel += 4 * <usize>k * columns;
  }
}

/**
 * Packs B[K, N], element (k, n) at source[k * rowStride + n * columnStride], into panels of
 * [depth, tileColumns] for each block of K; columns from N to `padded` (a multiple of tileColumns)
 * become zero. Fills 4 * K * padded bytes.
 */
export function packPanels(
  tile: i32, source: usize, rowStride: i32, columnStride: i32, k: i32, n: i32, padded: i32, panels: usize,
): void {
  const columns = tileColumns(tile);
  for (let k0 = 0; k0 < k; k0 += K_BLOCK) {
    const depth = min(K_BLOCK, k - k0);
    for (let n0 = 0; n0 < padded; n0 += columns) {
      const from = source + 4 * (<usize>k0 * rowStride + <usize>n0 * columnStride);
      const valid = min(columns, n - n0);
      if (columnStride == 1 && valid == columns) copyPanel(columns, from, 4 * rowStride, depth, panels);
      else if (rowStride == 1 && valid == columns) transposePanel(columns, from, 4 * columnStride, depth, panels);
      else gatherPanel(columns, from, 4 * rowStride, 4 * columnStride, depth, valid, panels);
      panels += 4 * depth * columns;
    }
  }
}

function copyPanel(columns: i32, source: usize, rowStride: usize, depth: i32, panel: usize): void {
  for (let k = 0; k < depth; k++) {
    for (let j = 0; j < 4 * columns; j += 16) v128.store(panel + j, v128.load(source + j));
    panel += 4 * columns;
    source += rowStride;
  }
}

/**
 * Packs source + sign * other, both B[K, N] with rows of rowStride floats, N a multiple of
 * tileColumns and K at most K_BLOCK.
 */
export function packSums(
  tile: i32, source: usize, other: usize, sign: f32, rowStride: i32, k: i32, n: i32, panels: usize,
): void {
  const columns = tileColumns(tile);
  const factor = f32x4.splat(sign);
  for (let n0 = 0; n0 < n; n0 += columns) {
    let from = source + 4 * n0;
    let added = other + 4 * n0;
    for (let i = 0; i < k; i++) {
      for (let j = 0; j < 4 * columns; j += 16) {
        v128.store(panels + j, madd(v128.load(added + j), factor, v128.load(from + j)));
      }
      panels += 4 * columns;
      from += 4 * rowStride;
      added += 4 * rowStride;
    }
  }
}

function transposePanel(columns: i32, source: usize, columnStride: usize, depth: i32, panel: usize): void {
  const row: usize = 4 * columns;
  const whole = depth & ~3;
  for (let j = 0; j < columns; j += 4) {
    let from = source;
    let to = panel + 4 * j;
    for (let k = 0; k < whole; k += 4) {
      const c0 = v128.load(from);
      const c1 = v128.load(from + columnStride);
      const c2 = v128.load(from + 2 * columnStride);
      const c3 = v128.load(from + 3 * columnStride);
      storeTransposed(c0, c1, c2, c3, to, row);
      from += 16;
      to += 4 * row;
    }
    source += 4 * columnStride;
  }
  if (whole == depth) return;
  source -= <usize>columns * columnStride;
  gatherPanel(columns, source + 4 * whole, 4, columnStride, depth - whole, columns, panel + row * whole);
}

/** The transpose of four vectors, in rows of `row` bytes. */
// @ts-ignore: decorator
@inline
export function storeTransposed(r0: v128, r1: v128, r2: v128, r3: v128, to: usize, row: usize): void {
  const low01 = v128.shuffle<f32>(r0, r1, 0, 4, 1, 5);
  const high01 = v128.shuffle<f32>(r0, r1, 2, 6, 3, 7);
  const low23 = v128.shuffle<f32>(r2, r3, 0, 4, 1, 5);
  const high23 = v128.shuffle<f32>(r2, r3, 2, 6, 3, 7);
  v128.store(to, v128.shuffle<f32>(low01, low23, 0, 1, 4, 5));
  v128.store(to + row, v128.shuffle<f32>(low01, low23, 2, 3, 6, 7));
  v128.store(to + 2 * row, v128.shuffle<f32>(high01, high23, 0, 1, 4, 5));
  v128.store(to + 3 * row, v128.shuffle<f32>(high01, high23, 2, 3, 6, 7));
}

function gatherPanel(columns: i32, source: usize, rowStride: usize, columnStride: usize, depth: i32, valid: i32, panel: usize): void {
  for (let k = 0; k < depth; k++) {
    let from = source;
    for (let j = 0; j < columns; j++) {
      store<f32>(panel, j < valid ? load<f32>(from) : 0);
      panel += 4;
      from += columnStride;
    }
    source += rowStride;
  }
}

/**
 * target[columns, depth] = transpose of source[depth, columns] (row length `stride`); adds each
 * column's sum to sums[columns], unless that is 0. Columns a multiple of 4.
 */
export function transpose(source: usize, stride: i32, depth: i32, columns: i32, target: usize, sums: usize): void {
  transposeRows(false, source, 0, f32x4.splat(0), stride, depth, columns, target, sums);
}

/** Like transpose, of source + sign * other. */
export function transposeSums(
  source: usize, other: usize, sign: f32, stride: i32, depth: i32, columns: i32, target: usize, sums: usize,
): void {
  transposeRows(true, source, other - source, f32x4.splat(sign), stride, depth, columns, target, sums);
}

// @ts-ignore: decorator
@inline
function transposeRows(
  both: bool, source: usize, distance: usize, factor: v128, stride: i32, depth: i32, columns: i32, target: usize, sums: usize,
): void {
  const row: usize = 4 * stride;
  const targetRow: usize = 4 * depth;
  for (let j = 0; j < columns; j += 4) {
    let from = source;
    let to = target;
    let sum = f32x4.splat(0);
    let k = 0;
    for (; k + 4 <= depth; k += 4) {
      const r0 = summands(both, from, distance, factor);
      const r1 = summands(both, from + row, distance, factor);
      const r2 = summands(both, from + 2 * row, distance, factor);
      const r3 = summands(both, from + 3 * row, distance, factor);
      sum = f32x4.add(sum, f32x4.add(f32x4.add(r0, r1), f32x4.add(r2, r3)));
      storeTransposed(r0, r1, r2, r3, to, targetRow);
      from += 4 * row;
      to += 16;
    }
    for (; k < depth; k++) {
      const r = summands(both, from, distance, factor);
      sum = f32x4.add(sum, r);
      f32.store(to, f32x4.extract_lane(r, 0));
      f32.store(to + targetRow, f32x4.extract_lane(r, 1));
      f32.store(to + 2 * targetRow, f32x4.extract_lane(r, 2));
      f32.store(to + 3 * targetRow, f32x4.extract_lane(r, 3));
      from += row;
      to += 4;
    }
    if (sums != 0) {
      v128.store(sums, f32x4.add(v128.load(sums), sum));
      sums += 16;
    }
    source += 16;
    target += 4 * targetRow;
  }
}

// @ts-ignore: decorator
@inline
function summands(both: bool, from: usize, distance: usize, factor: v128): v128 {
  if (both) return madd(v128.load(from + distance), factor, v128.load(from));
  return v128.load(from);
}

/** target[rows, length] = source[rows, length], each with its own row length. */
export function copyRows(rows: i32, length: i32, source: usize, sourceStride: i32, target: usize, targetStride: i32): void {
  for (let r = 0; r < rows; r++) {
    memory.copy(target, source, 4 * length);
    source += 4 * <usize>sourceStride;
    target += 4 * <usize>targetStride;
  }
}
