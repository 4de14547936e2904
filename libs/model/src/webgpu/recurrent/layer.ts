/// <reference types="@webgpu/types" />
import { CELL_SHAPES } from '../../config.js';
import { dropoutOf } from '../../dropout.js';
import { createWeights, FLOAT, type Context, type Weights } from '../network.js';
import type { Matrix } from '../products.js';
import { blockedRows, plainRows, type TensorRows } from '../tensors.js';
import type { RecurrentPlan } from './plan.js';

export type RecurrentContext = Context<RecurrentPlan>;

/**
 * Buffers of a layer. Activations and gates are [T, B, ...]; h and cell begin with the state
 * before the window.
 */
export interface Layer {
  readonly index: number;
  /** [T + 1, B, H], stored. */
  readonly h: GPUBuffer;
  /** C of an LSTM, [T + 1, B, H]. */
  readonly cell: GPUBuffer | undefined;
  /** r * h of a GRU that resets before the product, [T, B, H], stored. */
  readonly reset: GPUBuffer | undefined;
  /** The layer's output, [T, B, H], stored, if it is not h itself. */
  readonly output: GPUBuffer | undefined;
  /** Weight and bias of the layer's normalisation, [2, H]. */
  readonly norm: GPUBuffer | undefined;
  readonly isDropped: boolean;
  /** [T, B, blocks * H]; the backward pass replaces them by their gradients. */
  readonly gates: GPUBuffer;
  readonly bias: GPUBuffer;
  readonly recurrent: Weights;
  /** Absent in layer 0 of a model without an embedding. */
  readonly input: Weights | undefined;
}

export function createLayer(context: RecurrentContext, index: number): Layer {
  const { program, stored } = context;
  const { rows, hidden: H, gates, embedding: E, limits, config } = context.plan;
  const window = (rows + limits.maxStreams) * H;
  const isDropped = dropoutOf(config, index) > 0;
  const inputs = index === 0 ? E : H;
  return {
    index,
    h: program.buffer('outputs of a layer', window * stored),
    cell: config.cell === 'lstm' ? program.buffer('cells of a layer', window * FLOAT) : undefined,
    reset: config.cell === 'gru' ? program.buffer('reset states of a layer', rows * H * stored) : undefined,
    output: isDropped || config.layerNorm ? program.buffer('outputs of a layer', rows * H * stored) : undefined,
    norm: config.layerNorm ? program.buffer('weights of the normalisation', 2 * H * FLOAT) : undefined,
    isDropped,
    gates: program.buffer('gates of a layer', rows * gates.blocks * H * FLOAT),
    bias: program.buffer('biases', gates.blocks * H * FLOAT),
    recurrent: createWeights(context, 'recurrent weights', H, (gates.blocks - gates.recurrentFrom) * H),
    input: inputs > 0 ? createWeights(context, 'input weights', inputs, gates.input * H) : undefined,
  };
}

/** The layer's output, [T * B, H]. */
export function outputOf({ plan }: RecurrentContext, { h, output }: Layer): Matrix {
  return output
    ? { buffer: output, columns: plan.hidden }
    : { buffer: h, columns: plan.hidden, fromRow: ({ streams }) => streams };
}

/** `count` blocks of a layer's gates, from block `from`: [T * B, count * H]. */
export function gateColumns({ plan }: RecurrentContext, { gates }: Layer, from: number, count: number): Matrix {
  const H = plan.hidden;
  return { buffer: gates, columns: count * H, stride: plan.gates.blocks * H, fromColumn: from * H };
}

/**
 * A tensor of layer `layer` whose rows are gates in PyTorch's order; `order` lists their blocks in
 * the kernels' form.
 */
export function gateTensor({ plan }: RecurrentContext, part: string, layer: number, order: readonly number[]): TensorRows {
  return { tensor: cellTensor(plan, part, layer), rows: blockedRows(order, plan.config.hidden, plan.hidden) };
}

/** A tensor with one row per unit. */
export function unitTensor({ plan }: RecurrentContext, tensor: string): TensorRows {
  return { tensor, rows: plainRows(plan.config.hidden) };
}

export function cellTensor({ config }: RecurrentPlan, part: string, layer: number): string {
  return `${CELL_SHAPES[config.cell].module}.${part}_l${layer}`;
}
