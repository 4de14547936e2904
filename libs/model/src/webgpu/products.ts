/// <reference types="@webgpu/types" />
import { gemmGroups, gemmKernel, gemmParts, gemmTile, type GemmFields, type GemmKind } from './gemm.js';
import { SUM_COLUMNS, sumKernel } from './kernels.js';
import { FLOAT, rowsOf, type Context, type Weights } from './network.js';
import type { Plan } from './plan.js';
import type { Shape, Task } from './program.js';
import { unpackGradient, type GradientParts, type TensorRows } from './tensors.js';

/** Matrix products and column sums of a linear layer y = x W + b, forward and backward. */

/** A row-major matrix, or some columns of one. All sizes are in numbers, padded. */
export interface Matrix {
  readonly buffer: GPUBuffer;
  readonly columns: number;
  /** Numbers from one row to the next. Absent: columns. */
  readonly stride?: number;
  /** Its first column in a row of the buffer. Absent: 0. */
  readonly fromColumn?: number;
  /** Its first row in the buffer, in a call of this shape. Absent: 0. */
  readonly fromRow?: (shape: Shape) => number;
}

/** Rows of a product: the greatest number, which decides the tile, and the number in a call. */
export interface Rows {
  readonly most: number;
  readonly of: (shape: Shape) => number;
}

/** One row for every character of the call, T * B. */
export const windowRows = ({ rows }: Plan): Rows => ({ most: rows, of: rowsOf });

/** One row for every character of the vocabulary, V. */
export const vocabularyRows = ({ config }: Plan): Rows => ({ most: config.vocabulary, of: () => config.vocabulary });

const strideOf = ({ stride, columns }: Matrix): number => stride ?? columns;

function startOf(matrix: Matrix, shape: Shape): number {
  const { fromRow, fromColumn = 0 } = matrix;
  return (fromRow?.(shape) ?? 0) * strideOf(matrix) + fromColumn;
}

/** y = x W + b. x is stored, y float32. */
export function affine(context: Context, rows: Rows, x: Matrix, weights: Weights, bias: GPUBuffer, y: Matrix): Task {
  const kind = { transposed: false, a: 'stored', b: 'stored', bias: true } as const;
  return product(context, kind, rows.most, y.columns, [x.buffer, weights.forward, y.buffer, bias], (shape) => ({
    m: rows.of(shape),
    k: x.columns,
    lda: strideOf(x),
    ldb: y.columns,
    ldc: strideOf(y),
    fromA: startOf(x, shape),
  }));
}

/** dx = dy W^T, both float32. */
export function inputGradient(context: Context, rows: Rows, dy: Matrix, weights: Weights, dx: Matrix): Task {
  const kind = { transposed: false, a: 'vec4<f32>', b: 'stored', bias: false } as const;
  return product(context, kind, rows.most, dx.columns, [dy.buffer, weights.backward, dx.buffer], (shape) => ({
    m: rows.of(shape),
    k: dy.columns,
    lda: strideOf(dy),
    ldb: dx.columns,
    ldc: strideOf(dx),
    fromA: startOf(dy, shape),
  }));
}

/** dW = dy^T x over all rows, and its unpacking into the flat gradient. dy is float32, x stored. */
export function weightGradient(
  context: Context,
  rows: Rows,
  dy: Matrix,
  x: Matrix,
  target: TensorRows,
  add = false,
): [product: Task, unpack: Task] {
  const { plan, program } = context;
  const [m, n] = [dy.columns, x.columns];
  const parts = gemmParts(gemmTile(m, n, plan.cooperative), m, n, rows.most);
  const buffer = program.buffer('parts of a gradient', parts * m * n * FLOAT);
  const kind = { transposed: true, a: 'vec4<f32>', b: 'stored', bias: false } as const;
  const fields = (shape: Shape): ProductFields => ({
    m,
    k: rows.of(shape),
    lda: strideOf(dy),
    ldb: strideOf(x),
    ldc: n,
    fromA: startOf(dy, shape),
    fromB: startOf(x, shape),
  });
  const gradient = { buffer, rowStride: n, columnStride: 1, parts, partStride: m * n };
  return [
    product(context, kind, m, n, [dy.buffer, x.buffer, buffer], fields, parts),
    unpackGradient(context, target, gradient, add),
  ];
}

type ProductFields = Pick<GemmFields, 'm' | 'k' | 'lda' | 'ldb' | 'ldc'> & { fromA?: number; fromB?: number };

/**
 * C [m, n] = A B; sizes in numbers, `n` padded. `mMost` is the greatest m, which decides the tile.
 */
function product(
  { plan }: Context,
  kind: Omit<GemmKind, 'tile' | 'shared'>,
  mMost: number,
  n: number,
  buffers: readonly GPUBuffer[],
  fields: (shape: Shape) => ProductFields,
  parts = 1,
): Task {
  const tile = gemmTile(mMost, n, plan.cooperative);
  return {
    source: gemmKernel({ ...kind, tile, shared: plan.cooperative }),
    buffers,
    fields: (shape) => gemmFields(n, parts, fields(shape)),
    groups: (shape) => gemmGroups(tile, fields(shape).m, n, parts),
  };
}

/** Converts sizes in numbers to the kernel's, in vectors. */
function gemmFields(n: number, parts: number, { m, k, lda, ldb, ldc, fromA = 0, fromB = 0 }: ProductFields): GemmFields {
  const partK = Math.ceil(k / parts / 16) * 16;
  return {
    m,
    n4: n / 4,
    k,
    lda: lda / 4,
    ldb: ldb / 4,
    ldc: ldc / 4,
    fromA: fromA / 4,
    fromB: fromB / 4,
    fromC: 0,
    partK,
    partC: (m * n) / 4,
  };
}

/** Greatest number of parts of a sum over all rows, and smallest number of rows per part. */
const SUM_PARTS = 8;
const SUM_PART_ROWS = 256;

/** Sums over all rows of [T * B, columns], float32: the gradient of a bias. */
export function columnSums({ plan, program }: Context, values: GPUBuffer, columns: number): { task: Task; sums: GradientParts } {
  const parts = Math.max(1, Math.min(SUM_PARTS, Math.floor(plan.rows / SUM_PART_ROWS)));
  const buffer = program.buffer('parts of a bias', parts * columns * FLOAT);
  const quads = columns / 4;
  const task: Task = {
    source: sumKernel('parts', plan.cooperative),
    buffers: [values, buffer],
    fields: (shape) => ({
      columns: quads,
      stride: quads,
      outStride: quads,
      rows: rowsOf(shape),
      partRows: Math.ceil(rowsOf(shape) / parts),
    }),
    groups: () => [Math.ceil(quads / SUM_COLUMNS), parts],
  };
  return { task, sums: { buffer, rowStride: 1, columnStride: 0, parts, partStride: columns } };
}

/** Sums the rows of each character: from [T * B, columns] to `sums` [V, columns], both float32. */
export function tokenSums({ plan, buffers }: Context, values: Matrix, sums: GPUBuffer): Task {
  const quads = values.columns / 4;
  const fields = { columns: quads, stride: strideOf(values) / 4, outStride: quads, rows: 0, partRows: 0 };
  return {
    source: sumKernel('tokens', plan.cooperative),
    buffers: [values.buffer, sums, buffers.ids],
    fields: () => fields,
    groups: () => [Math.ceil(quads / SUM_COLUMNS), plan.config.vocabulary],
  };
}
