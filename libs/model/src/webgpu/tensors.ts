/// <reference types="@webgpu/types" />
import { ELEMENTWISE_THREADS, NO_BIAS, packKernel, UNPACK_KERNEL, type PackFields, type UnpackFields } from './kernels.js';
import type { Context, Weights } from './network.js';
import type { Task } from './program.js';
import { spread } from './wgsl.js';

/** Parameters from the flat vector into the forms that kernels read, and gradients from theirs into the flat one. */

/** Where the kernels have the rows of a tensor; see MAP_FIELDS. */
export type RowMap = Pick<PackFields, 'blockRows' | 'blockStride' | 'order'>;

/** Rows in the tensor's own order. */
export const plainRows = (rows: number): RowMap => ({ blockRows: rows, blockStride: 0, order: 0 });

/** Rows in blocks of `rows`, each padded to `padded`; the tensor's i-th block is block order[i] of the kernels'. */
export function blockedRows(order: readonly number[], rows: number, padded: number): RowMap {
  return { blockRows: rows, blockStride: padded, order: order.reduce((bits, block, i) => bits | (block << (4 * i)), 0) };
}

/** Rows of a parameter tensor and where the kernels have them. */
export interface TensorRows {
  readonly tensor: string;
  readonly rows: RowMap;
  /** Only `count` of the tensor's rows, from row `first`. Absent: all. */
  readonly range?: { readonly first: number; readonly count: number };
}

/** Where a buffer holds a tensor: numbers from row to row and from column to column, and the number where it begins (default 0). */
export interface Placement {
  readonly buffer: GPUBuffer;
  readonly rowStride: number;
  readonly columnStride: number;
  readonly base?: number;
}

/** A gradient in `parts` of `partStride` numbers, to be added up in order. */
export interface GradientParts extends Placement {
  readonly parts: number;
  readonly partStride: number;
}

function mapFields({ tensors }: Context, { tensor, rows, range }: TensorRows, { rowStride, columnStride, base = 0 }: Placement) {
  const { shape, offset, size } = tensors.get(tensor)!;
  const columns = shape[1] ?? 1;
  const flat = range ? { count: range.count * columns, offset: offset + range.first * columns } : { count: size, offset };
  return { ...flat, columns, ...rows, rowStride, columnStride, base };
}

/** `bias`: name of a vector whose i-th element is added to all of row i. */
export function packTensor(
  context: Context,
  source: TensorRows,
  type: 'f32' | 'storedScalar',
  target: Placement,
  bias?: string,
): Task {
  const { tensors, buffers } = context;
  const fields: PackFields = {
    ...mapFields(context, source, target),
    bias: bias === undefined ? NO_BIAS : tensors.get(bias)!.offset,
  };
  return {
    source: packKernel(type),
    buffers: [buffers.parameters, target.buffer, buffers.flags],
    fields: () => fields,
    groups: () => spread(fields.count, ELEMENTWISE_THREADS),
  };
}

/** Both forms of a weight matrix with `outputs` x `inputs` (padded) numbers. */
export function packWeights(
  context: Context,
  source: TensorRows,
  { forward, backward }: Weights,
  inputs: number,
  outputs: number,
): Task[] {
  return [
    packTensor(context, source, 'storedScalar', { buffer: forward, rowStride: 1, columnStride: outputs }),
    packTensor(context, source, 'storedScalar', { buffer: backward, rowStride: inputs, columnStride: 1 }),
  ];
}

export function packVector(context: Context, source: TensorRows, buffer: GPUBuffer, base = 0): Task {
  return packTensor(context, source, 'f32', { buffer, rowStride: 1, columnStride: 0, base });
}

/** The sum of the parts to its place in the flat gradient; with `add` on top of what stands there. */
export function unpackGradient(context: Context, target: TensorRows, gradient: GradientParts, add = false): Task {
  const { parts, partStride } = gradient;
  const fields: UnpackFields = { ...mapFields(context, target, gradient), parts, partStride, add: add ? 1 : 0 };
  return {
    source: UNPACK_KERNEL,
    buffers: [gradient.buffer, context.buffers.results, context.buffers.flags],
    fields: () => fields,
    groups: () => spread(fields.count, ELEMENTWISE_THREADS),
  };
}
