/// <reference types="@webgpu/types" />
import { rowsPerGroup } from '../kernels.js';
import { rowsOf } from '../network.js';
import { columnSums } from '../products.js';
import type { Task } from '../program.js';
import { packVector, unpackGradient } from '../tensors.js';
import { normBackwardKernel, normKernel } from './kernels.js';
import { unitTensor, type Layer, type RecurrentContext } from './layer.js';

/** A layer whose output is normalised. */
export type NormalisedLayer = Layer & { readonly norm: GPUBuffer; readonly output: GPUBuffer };

export const isNormalised = (layer: Layer): layer is NormalisedLayer => layer.norm !== undefined;

const weightRows = (context: RecurrentContext, layer: Layer) => unitTensor(context, `norms.${layer.index}.weight`);
const biasRows = (context: RecurrentContext, layer: Layer) => unitTensor(context, `norms.${layer.index}.bias`);

export function packNorm(context: RecurrentContext, layer: NormalisedLayer): Task[] {
  return [
    packVector(context, weightRows(context, layer), layer.norm),
    packVector(context, biasRows(context, layer), layer.norm, context.plan.hidden),
  ];
}

/** From h to the layer's output, dropout included. */
export function normForward(context: RecurrentContext, layer: NormalisedLayer): Task {
  const { h, norm, output, isDropped } = layer;
  const dropout = isDropped ? [context.buffers.ids] : [];
  return byRows(context, layer, normKernel(context.lanes, isDropped), [h, norm, output, ...dropout]);
}

/** Replaces `dAbove` [T * B, H] by the gradient of h; overwrites `products` [T * B, 2H]. */
export function normBackward(context: RecurrentContext, layer: NormalisedLayer, dAbove: GPUBuffer, products: GPUBuffer): Task[] {
  const { hidden: H } = context.plan;
  const { h, norm, isDropped } = layer;
  const dropout = isDropped ? [context.buffers.ids] : [];
  const { task, sums } = columnSums(context, products, 2 * H);
  return [
    byRows(context, layer, normBackwardKernel(context.lanes, isDropped), [h, norm, dAbove, products, ...dropout]),
    task,
    unpackGradient(context, weightRows(context, layer), sums),
    unpackGradient(context, biasRows(context, layer), { ...sums, base: H }),
  ];
}

function byRows(
  { plan, lanes }: RecurrentContext,
  { index }: Layer,
  source: Task['source'],
  buffers: readonly GPUBuffer[],
): Task {
  const fields = { layer: index, quads: plan.hidden / 4, units: plan.config.hidden };
  return {
    source,
    buffers,
    fields: () => fields,
    groups: (shape) => [Math.ceil(rowsOf(shape) / rowsPerGroup(lanes))],
  };
}
