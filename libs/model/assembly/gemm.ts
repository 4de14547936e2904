// C (+)= A B with A row-major and read in place, B packed into panels as wide as the tile. Blocks of K keep a panel in the first
// cache, blocks of M keep their rows of A in the second. Every element of C is summed in the order of k within a block whatever
// the tile, the height of the tile and M are, so a row of C does not depend on the rows computed with it.
import { K_BLOCK, microKernel, tileColumns, tileRows } from './generated/micro-kernels';

const M_BLOCK: i32 = 96;

/** A[M, K] with row length lda, panels of B[K, N], N a multiple of tileColumns, C[M, N] with row length ldc; floats. */
export function gemm(
  tile: i32, m: i32, n: i32, k: i32, a: usize, lda: i32, panels: usize, c: usize, ldc: i32, accumulate: bool,
): void {
  for (let k0 = 0; k0 < k; k0 += K_BLOCK) {
    const depth = min(K_BLOCK, k - k0);
    for (let m0 = 0; m0 < m; m0 += M_BLOCK) {
      const rows = min(M_BLOCK, m - m0);
      block(tile, rows, n, depth, a + 4 * (<usize>m0 * lda + k0), 4 * lda, panels, c + 4 * <usize>m0 * ldc, 4 * ldc, accumulate);
    }
    panels += 4 * <usize>depth * n;
    accumulate = true;
  }
}

/** Rows are dealt out evenly (16 rows in tiles of 6: 6, 5, 5), as a tile of one or two rows cannot fill the pipelines. */
function block(
  tile: i32, m: i32, n: i32, k: i32, a: usize, lda: usize, panel: usize, c: usize, ldc: usize, accumulate: bool,
): void {
  const columns = tileColumns(tile);
  const tiles = (m + tileRows(tile) - 1) / tileRows(tile);
  const height = m / tiles;
  const taller = m % tiles;
  for (let n0 = 0; n0 < n; n0 += columns) {
    let rowA = a;
    let rowC = c + 4 * n0;
    for (let t = 0; t < tiles; t++) {
      const rows = height + i32(t < taller);
      microKernel(tile, rows, k, rowA, lda, panel, rowC, ldc, accumulate);
      rowA += <usize>rows * lda;
      rowC += <usize>rows * ldc;
    }
    panel += 4 * <usize>k * columns;
  }
}

/**
 * Packs B[K, N], element (k, n) at source[k * rowStride + n * columnStride], into panels of [depth, tileColumns] for each block of
 * K; columns from N to `padded` (a multiple of tileColumns) become zero. Fills 4 * K * padded bytes.
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
 * target[columns, depth] = transpose of source[depth, columns] (row length `stride`); adds each column's sum to sums[columns].
 * Columns a multiple of 4.
 */
export function transpose(source: usize, stride: i32, depth: i32, columns: i32, target: usize, sums: usize): void {
  const row: usize = 4 * stride;
  const targetRow: usize = 4 * depth;
  for (let j = 0; j < columns; j += 4) {
    let from = source;
    let to = target;
    let sum = f32x4.splat(0);
    let k = 0;
    for (; k + 4 <= depth; k += 4) {
      const r0 = v128.load(from);
      const r1 = v128.load(from + row);
      const r2 = v128.load(from + 2 * row);
      const r3 = v128.load(from + 3 * row);
      sum = f32x4.add(sum, f32x4.add(f32x4.add(r0, r1), f32x4.add(r2, r3)));
      const low01 = v128.shuffle<f32>(r0, r1, 0, 4, 1, 5);
      const high01 = v128.shuffle<f32>(r0, r1, 2, 6, 3, 7);
      const low23 = v128.shuffle<f32>(r2, r3, 0, 4, 1, 5);
      const high23 = v128.shuffle<f32>(r2, r3, 2, 6, 3, 7);
      v128.store(to, v128.shuffle<f32>(low01, low23, 0, 1, 4, 5));
      v128.store(to + targetRow, v128.shuffle<f32>(low01, low23, 2, 3, 6, 7));
      v128.store(to + 2 * targetRow, v128.shuffle<f32>(high01, high23, 0, 1, 4, 5));
      v128.store(to + 3 * targetRow, v128.shuffle<f32>(high01, high23, 2, 3, 6, 7));
      from += 4 * row;
      to += 16;
    }
    for (; k < depth; k++) {
      const r = v128.load(from);
      sum = f32x4.add(sum, r);
      f32.store(to, f32x4.extract_lane(r, 0));
      f32.store(to + targetRow, f32x4.extract_lane(r, 1));
      f32.store(to + 2 * targetRow, f32x4.extract_lane(r, 2));
      f32.store(to + 3 * targetRow, f32x4.extract_lane(r, 3));
      from += row;
      to += 4;
    }
    v128.store(sums, f32x4.add(v128.load(sums), sum));
    sums += 16;
    source += 16;
    target += 4 * targetRow;
  }
}

/** target[rows, length] = source[rows, length], each with its own row length. */
export function copyRows(rows: i32, length: i32, source: usize, sourceStride: i32, target: usize, targetStride: i32): void {
  for (let r = 0; r < rows; r++) {
    memory.copy(target, source, 4 * length);
    source += 4 * <usize>sourceStride;
    target += 4 * <usize>targetStride;
  }
}
