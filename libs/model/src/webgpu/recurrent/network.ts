/// <reference types="@webgpu/types" />
import { ELEMENTWISE_THREADS } from '../kernels.js';
import { createContext, FLOAT, type Network } from '../network.js';
import { createOutputLayer, type OutputLayer } from '../output.js';
import { affine, columnSums, inputGradient, weightGradient, windowRows, type Matrix } from '../products.js';
import type { Program, Stage, Task } from '../program.js';
import { packVector, packWeights, unpackGradient } from '../tensors.js';
import { spread, type Features } from '../wgsl.js';
import { backwardKernels, forwardKernels } from './cells.js';
import { loadStatesKernel, storeStatesKernel } from './kernels.js';
import {
  cellTensor,
  createLayer,
  gateColumns,
  gateTensor,
  outputOf,
  unitTensor,
  type Layer,
  type RecurrentContext,
} from './layer.js';
import { isNormalised, normBackward, normForward, packNorm } from './norm.js';
import { stateVectors, type RecurrentPlan } from './plan.js';
import { stepGroups } from './step.js';
import { createTable, type CharacterTable } from './table.js';

/** @throws EngineError `unsupported` when a buffer is larger than the device can bind. */
export function buildRecurrent(plan: RecurrentPlan, program: Program, features: Features): Network {
  return new Recurrent(createContext(plan, program, features)).build();
}

/** Layers between the table of characters and the output layer, and the passes over them. */
class Recurrent {
  readonly #context: RecurrentContext;
  /** Gradients of a layer's output, [T * B, H]. */
  readonly #dAbove: Matrix;
  /** [B, H]; see backwardKernels. */
  readonly #carry: GPUBuffer;
  readonly #table: CharacterTable;
  readonly #output: OutputLayer;
  readonly #layers: readonly Layer[];

  constructor(context: RecurrentContext) {
    const { plan, program } = context;
    const { rows, hidden: H, limits, config } = plan;
    this.#context = context;
    this.#dAbove = { buffer: program.buffer('gradients of a layer', rows * H * FLOAT), columns: H };
    this.#carry = program.buffer('gradients of the states', limits.maxStreams * H * FLOAT);
    this.#table = createTable(context);
    this.#output = createOutputLayer(context, H);
    this.#layers = Array.from({ length: config.layers }, (_, k) => createLayer(context, k));
  }

  build(): Network {
    return {
      ...this.#context.buffers,
      pack: this.#pack(),
      forward: this.#forward(),
      loss: [this.#output.loss()],
      backward: this.#backward(),
    };
  }

  get #top(): Matrix {
    return outputOf(this.#context, this.#layers[this.#layers.length - 1]);
  }

  // ---- parameters in ----

  #pack(): Stage[] {
    return [
      ...this.#output.pack(),
      ...this.#layers.flatMap((layer) => this.#packLayer(layer)),
      ...this.#table.pack(this.#layers[0]),
    ];
  }

  #packLayer(layer: Layer): Task[] {
    const context = this.#context;
    const { config, hidden: H, embedding: E, gates } = context.plan;
    const k = layer.index;
    const inputs = k === 0 ? E : H;
    const recurrent = (gates.blocks - gates.recurrentFrom) * H;
    const rows = (part: string, order: readonly number[]) => gateTensor(context, part, k, order);
    return [
      ...packWeights(context, rows('weight_hh', gates.recurrentOrder), layer.recurrent, H, recurrent),
      packVector(context, rows('bias_ih', gates.inputOrder), layer.bias),
      ...(config.cell === 'gru-reset-after' ? [packVector(context, this.#resetBias(k), layer.bias, 3 * H)] : []),
      ...(isNormalised(layer) ? packNorm(context, layer) : []),
      ...(layer.input ? packWeights(context, rows('weight_ih', gates.inputOrder), layer.input, inputs, gates.input * H) : []),
    ];
  }

  /**
   * The bias inside the reset gate, which only a `gru-reset-after` has: block 3 of the layer's
   * bias.
   */
  #resetBias(layer: number) {
    return unitTensor(this.#context, cellTensor(this.#context.plan, 'bias_hn', layer));
  }

  // ---- forward ----

  #forward(): Stage[] {
    return [
      ...this.#layers.map((layer) => this.#loadStates(layer)),
      ...this.#layers.flatMap((layer) => this.#layerForward(layer)),
      this.#output.forward(this.#top),
      ...this.#layers.map((layer) => this.#storeStates(layer)),
    ];
  }

  #layerForward(layer: Layer): Stage[] {
    const kind = { bottom: layer.index === 0, dropped: layer.isDropped && !layer.norm };
    const kernels = forwardKernels(this.#context.plan, kind);
    return [
      ...(layer.index > 0 ? [this.#projection(layer)] : []),
      { tasks: this.#stepTasks(layer, kernels, layer.recurrent.forward), direction: 'forward' },
      ...(isNormalised(layer) ? [normForward(this.#context, layer)] : []),
    ];
  }

  /** Gates of all rows from the output of the layer below. */
  #projection(layer: Layer): Task {
    const context = this.#context;
    const { plan } = context;
    const below = outputOf(context, this.#layers[layer.index - 1]);
    const gates = gateColumns(context, layer, 0, plan.gates.input);
    return affine(context, windowRows(plan), below, layer.input!, layer.bias, gates);
  }

  #loadStates({ index, h, cell }: Layer): Task {
    const { plan, buffers } = this.#context;
    const { states, flags } = buffers;
    return {
      source: loadStatesKernel(stateVectors(plan)),
      buffers: cell ? [states, flags, h, cell] : [states, flags, h],
      fields: this.#stateFields(index),
      groups: ({ streams }) => spread((streams * plan.hidden) / 4, ELEMENTWISE_THREADS),
    };
  }

  #storeStates({ index, h, cell }: Layer): Task {
    const { plan, buffers } = this.#context;
    return {
      source: storeStatesKernel(stateVectors(plan)),
      buffers: cell ? [buffers.results, h, cell] : [buffers.results, h],
      fields: this.#stateFields(index),
      groups: ({ streams }) => spread(streams * plan.config.hidden, ELEMENTWISE_THREADS),
    };
  }

  #stateFields(layer: number) {
    const { plan, buffers } = this.#context;
    const { config, hidden: H } = plan;
    const fields = {
      layer,
      layers: config.layers,
      vectors: stateVectors(plan),
      units: config.hidden,
      quads: H / 4,
      offset: buffers.statesOffset,
    };
    return () => fields;
  }

  /** The kernels of a time step, bound to the layer's buffers by the names of their bindings. */
  #stepTasks(layer: Layer, kernels: ReturnType<typeof forwardKernels>, weights: GPUBuffer): Task[] {
    const { plan, buffers } = this.#context;
    const { h, cell, reset, output, gates, bias } = layer;
    const own = { h, cell, reset, dropped: output, gates, bias, weights };
    const shared = { table: this.#table.buffer, ids: buffers.ids, dAbove: this.#dAbove.buffer, carry: this.#carry };
    const named: Readonly<Record<string, GPUBuffer | undefined>> = { ...own, ...shared };
    return kernels.map((source) => ({
      source,
      buffers: source.bindings.map(({ name }) => named[name]!),
      fields: () => ({ layer: layer.index, quads: plan.hidden / 4 }),
      groups: ({ streams }) => stepGroups(plan, streams),
    }));
  }

  // ---- backward ----

  #backward(): Stage[] {
    const { plan, program } = this.#context;
    const { rows, hidden: H, config } = plan;
    const output = this.#output.backward(this.#top, this.#dAbove);
    const products = config.layerNorm ? program.buffer('gradients of a normalisation', rows * 2 * H * FLOAT) : undefined;
    return [...output, ...[...this.#layers].reverse().flatMap((layer) => this.#layerBackward(layer, products))];
  }

  /** `normProducts`: buffer for the backward pass of a normalisation. */
  #layerBackward(layer: Layer, normProducts: GPUBuffer | undefined): Stage[] {
    const context = this.#context;
    const kernels = backwardKernels(context.plan, layer.isDropped && !layer.norm);
    return [
      ...(isNormalised(layer) ? normBackward(context, layer, this.#dAbove.buffer, normProducts!) : []),
      { tasks: this.#stepTasks(layer, kernels, layer.recurrent.backward), direction: 'backward' },
      ...(layer.index > 0 ? [this.#gradientBelow(layer)] : []),
      ...this.#layerGradients(layer),
    ];
  }

  #gradientBelow(layer: Layer): Task {
    const context = this.#context;
    const dGates = gateColumns(context, layer, 0, context.plan.gates.input);
    return inputGradient(context, windowRows(context.plan), dGates, layer.input!, this.#dAbove);
  }

  #layerGradients(layer: Layer): Task[] {
    const context = this.#context;
    const { config, hidden: H, gates } = context.plan;
    const k = layer.index;
    const bias = columnSums(context, layer.gates, gates.blocks * H);
    const inputBias = gateTensor(context, 'bias_ih', k, gates.inputOrder);
    return [
      ...this.#recurrentGradient(layer),
      bias.task,
      unpackGradient(context, inputBias, bias.sums),
      ...(k === 0 ? this.#table.backward(layer) : this.#inputWeightGradient(layer)),
      ...(config.cell === 'gru-reset-after' ? [unpackGradient(context, this.#resetBias(k), { ...bias.sums, base: 3 * H })] : []),
    ];
  }

  #recurrentGradient(layer: Layer): Task[] {
    const context = this.#context;
    const { plan } = context;
    const { blocks, recurrentFrom, recurrentOrder } = plan.gates;
    const rows = windowRows(plan);
    const h: Matrix = { buffer: layer.h, columns: plan.hidden };
    const weights = (order: readonly number[]) => gateTensor(context, 'weight_hh', layer.index, order);
    if (!layer.reset) {
      const dGates = gateColumns(context, layer, recurrentFrom, blocks - recurrentFrom);
      return weightGradient(context, rows, dGates, h, weights(recurrentOrder));
    }
    // The factor of a GRU's candidate is not h but r * h. PyTorch's rows are r, z, n; the blocks
    // of gates are n, r, z.
    const units = plan.config.hidden;
    const gates = { ...weights([0, 1]), range: { first: 0, count: 2 * units } };
    const candidate = { ...weights([0]), range: { first: 2 * units, count: units } };
    return [
      ...weightGradient(context, rows, gateColumns(context, layer, 1, 2), h, gates),
      ...weightGradient(context, rows, gateColumns(context, layer, 0, 1), { ...h, buffer: layer.reset }, candidate),
    ];
  }

  #inputWeightGradient(layer: Layer): Task[] {
    const context = this.#context;
    const { plan } = context;
    const below = outputOf(context, this.#layers[layer.index - 1]);
    const weights = gateTensor(context, 'weight_ih', layer.index, plan.gates.inputOrder);
    return weightGradient(context, windowRows(plan), gateColumns(context, layer, 0, plan.gates.input), below, weights);
  }
}
