/// <reference types="@webgpu/types" />
import { ELEMENTWISE_THREADS, NO_BIAS, packKernel, UNPACK_KERNEL, type PackFields, type UnpackFields } from './kernels.js';
import type { Context, Weights } from './network.js';
import type { Task } from './program.js';
import { spread } from './wgsl.js';

/**
 * Packs parameters from the flat vector into the kernels' forms, and unpacks gradients from these
 * into the flat vector.
 */

/** Order and padding of a tensor's rows in the kernels' form; see MAP_FIELDS. */
export type RowMap = Pick<PackFields, 'blockRows' | 'blockStride' | 'order'>;

/** Rows in the tensor's own order. */
export const plainRows = (rows: number): RowMap => ({ blockRows: rows, blockStride: 0, order: 0 });

/**
 * Rows in blocks of `rows`, each padded to `padded`; the tensor's block i is block order[i] of the
 * kernels' form.
 */
export function blockedRows(order: readonly number[], rows: number, padded: number): RowMap {
  return { blockRows: rows, blockStride: padded, order: order.reduce((bits, block, i) => bits | (block << (4 * i)), 0) };
}

/** Rows of a parameter tensor and their order in the kernels' form. */
export interface TensorRows {
  readonly tensor: string;
  readonly rows: RowMap;
  /** Only `count` of the tensor's rows, from row `first`. Absent: all. */
  readonly range?: { readonly first: number; readonly count: number };
}

/**
 * Position of a tensor in a buffer: strides of row and column, and its first element (default 0),
 * in numbers.
 */
export interface Placement {
  readonly buffer: GPUBuffer;
  readonly rowStride: number;
  readonly columnStride: number;
  readonly base?: number;
}

/** A gradient in `parts`, `partStride` numbers apart, that must be added in order. */
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

/** `bias`: name of a vector; its element i is added to all of row i. */
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

/** Writes the sum of the parts to its place in the flat gradient; with `add`, adds it there. */
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
