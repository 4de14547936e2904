/// <reference types="@webgpu/types" />
import { CELL_SHAPES } from '../config.js';
import { createLayout, stateSize, type TensorSpec } from '../layout.js';
import { USAGE } from './device.js';
import { gemmGroups, gemmKernel, gemmParts, gemmTile, type GemmFields, type GemmKind } from './gemm.js';
import {
  ELEMENTWISE_THREADS,
  loadStatesKernel,
  NO_BIAS,
  normBackwardKernel,
  normKernel,
  packKernel,
  rowsPerGroup,
  softmaxKernel,
  storeStatesKernel,
  SUM_COLUMNS,
  sumKernel,
  UNPACK_KERNEL,
  type PackFields,
  type RowLanes,
  type UnpackFields,
} from './kernels.js';
import { stateVectors, type Plan } from './plan.js';
import type { Program, Shape, Stage, Task } from './program.js';
import { backwardKernels, forwardKernels, stepGroups } from './step.js';
import { spread, type ElementType, type Features } from './wgsl.js';

const FLOAT = 4;

/** A buffer of parameters in a form that a product can read, or of a gradient in parts. */
interface Packed {
  readonly buffer: GPUBuffer;
  readonly rowStride: number;
  readonly columnStride: number;
}

/** The stages of a call and the buffers that it writes and reads. */
export interface Network {
  /** From the flat parameters to what the kernels read. */
  readonly pack: readonly Stage[];
  /** States and characters to logits and end states. */
  readonly forward: readonly Stage[];
  readonly loss: readonly Stage[];
  readonly backward: readonly Stage[];
  /** [P] */
  readonly parameters: GPUBuffer;
  /** Ids [T, B], targets [T, B], their positions in order of id [T, B], starts of ids in it [V + 1], numbers of streams [B]. */
  readonly ids: GPUBuffer;
  /** [B, L, S, H] */
  readonly states: GPUBuffer;
  /** Gradient [P], end states [B, L, S, H], loss of each character [T, B]: floats from which each begins. */
  readonly results: GPUBuffer;
  readonly statesOffset: number;
  readonly lossOffset: number;
  /** [T, B, padded V] */
  readonly logits: GPUBuffer;
  readonly flags: GPUBuffer;
}

export function tasksOf(stages: readonly Stage[]): Task[] {
  return stages.flatMap((stage) => ('tasks' in stage ? stage.tasks : stage));
}

/** @throws EngineError `unsupported` when a buffer is larger than the device can bind. */
export function buildNetwork(plan: Plan, program: Program, features: Features): Network {
  return new Builder(plan, program, features).build();
}

interface Layer {
  readonly index: number;
  readonly h: GPUBuffer;
  readonly cell: GPUBuffer | undefined;
  readonly reset: GPUBuffer | undefined;
  /** What the layer hands up, [T, B, H], when that is not h as it is. */
  readonly up: GPUBuffer | undefined;
  /** Weight and bias of the layer's normalisation, [2, H]. */
  readonly norm: GPUBuffer | undefined;
  readonly isDropped: boolean;
  readonly gates: GPUBuffer;
  readonly bias: GPUBuffer;
  /** Weights as the forward pass reads them, [in, out], and as the backward pass does, [out, in]. */
  readonly recurrent: { readonly forward: GPUBuffer; readonly backward: GPUBuffer };
  readonly input: { readonly forward: GPUBuffer; readonly backward: GPUBuffer } | undefined;
}

/** Row, in what a layer hands up, of the first time step: h begins with the state before it. */
const firstRowUp = ({ up }: Layer, { streams }: Shape): number => (up ? 0 : streams);

const rowsOf = ({ streams, window }: Shape): number => streams * window;

class Builder {
  readonly plan: Plan;
  readonly program: Program;
  readonly features: Features;
  readonly tensors: ReadonlyMap<string, TensorSpec>;
  /** Bytes of a stored number. */
  readonly stored: number;
  readonly lanes: RowLanes;
  readonly fixed;
  readonly table: GPUBuffer;
  readonly embedding: GPUBuffer | undefined;
  readonly linear: { readonly forward: GPUBuffer; readonly backward: GPUBuffer; readonly bias: GPUBuffer };
  readonly layers: readonly Layer[];
  normProducts: GPUBuffer | undefined;

  constructor(plan: Plan, program: Program, features: Features) {
    this.plan = plan;
    this.program = program;
    this.features = features;
    this.lanes = { cooperative: plan.cooperative, subgroups: features.subgroups };
    this.stored = features.f16 ? 2 : FLOAT;
    const layout = createLayout(plan.config);
    this.tensors = new Map(layout.tensors.map((tensor) => [tensor.name, tensor]));
    const { rows, hidden: H, vocabulary: V, embedding: E, limits } = plan;
    const states = limits.maxStreams * stateSize(plan.config);
    const source = USAGE.storage | USAGE.copySource;
    const target = USAGE.storage | USAGE.copyTarget;
    this.fixed = {
      parameters: program.buffer('the parameters', layout.size * FLOAT, target),
      ids: program.buffer('characters', (3 * rows + plan.config.vocabulary + 1 + limits.maxStreams) * 4, target),
      states: program.buffer('hidden states', states * FLOAT, target),
      results: program.buffer('gradient and end states', (layout.size + states + rows) * FLOAT, source),
      statesOffset: layout.size,
      lossOffset: layout.size + states,
      logits: program.buffer('logits', rows * V * FLOAT, source),
      flags: program.buffer('flags', 8, source | target),
      dAbove: program.buffer('gradients of a layer', rows * H * FLOAT),
      carry: program.buffer('gradients of the states', limits.maxStreams * H * FLOAT),
    };
    this.table = program.buffer('the table of characters', plan.config.vocabulary * plan.gates.input * H * FLOAT);
    this.embedding = E > 0 ? program.buffer('the embedding', plan.config.vocabulary * E * this.stored) : undefined;
    this.linear = {
      ...this.weights('the output layer', H, V),
      bias: program.buffer('the output bias', V * FLOAT),
    };
    this.layers = Array.from({ length: plan.config.layers }, (_, k) => this.layer(k));
  }

  weights(what: string, inputs: number, outputs: number) {
    const bytes = inputs * outputs * this.stored;
    return { forward: this.program.buffer(what, bytes), backward: this.program.buffer(what, bytes) };
  }

  layer(index: number): Layer {
    const { rows, hidden: H, gates, embedding: E, limits, config } = this.plan;
    const { program, stored } = this;
    const window = (rows + limits.maxStreams) * H;
    const isDropped = (config.dropout ?? 0) > 0 && index < config.layers - 1;
    const inputs = index === 0 ? E : H;
    return {
      index,
      h: program.buffer('outputs of a layer', window * stored),
      cell: config.cell === 'lstm' ? program.buffer('cells of a layer', window * FLOAT) : undefined,
      reset: config.cell === 'gru' ? program.buffer('reset states of a layer', rows * H * stored) : undefined,
      up: isDropped || config.layerNorm ? program.buffer('outputs of a layer', rows * H * stored) : undefined,
      norm: config.layerNorm ? program.buffer('weights of the normalisation', 2 * H * FLOAT) : undefined,
      isDropped,
      gates: program.buffer('gates of a layer', rows * gates.blocks * H * FLOAT),
      bias: program.buffer('biases', gates.blocks * H * FLOAT),
      recurrent: this.weights('recurrent weights', H, (gates.blocks - gates.recurrentFrom) * H),
      input: inputs > 0 ? this.weights('input weights', inputs, gates.input * H) : undefined,
    };
  }

  build(): Network {
    return { ...this.fixed, pack: this.pack(), forward: this.forward(), loss: [this.loss()], backward: this.backward() };
  }

  name(part: string, layer: number): string {
    return `${CELL_SHAPES[this.plan.config.cell].module}.${part}_l${layer}`;
  }

  // ---- parameters in, gradients out ----

  /** `blockRows`, `blockStride` and `order` of a tensor whose rows are gates. */
  gateRows(order: readonly number[], from = 0) {
    const packed = order.reduce((bits, block, i) => bits | ((block + from) << (4 * i)), 0);
    return { blockRows: this.plan.config.hidden, blockStride: this.plan.hidden, order: packed };
  }

  flatRows(rows: number) {
    return { blockRows: rows, blockStride: 0, order: 0 };
  }

  /** Rows of the tensor, as a map has it. */
  shapeOf(name: string) {
    const { shape, offset, size } = this.tensors.get(name)!;
    return { count: size, columns: shape[1] ?? 1, offset, base: 0 };
  }

  packTask(buffer: GPUBuffer, type: 'f32' | 'storedScalar', fields: Omit<PackFields, 'bias'> & { bias?: number }): Task {
    const { parameters, flags } = this.fixed;
    const all: PackFields = { bias: NO_BIAS, ...fields };
    return {
      source: packKernel(type),
      buffers: [parameters, buffer, flags],
      fields: () => all,
      groups: () => spread(all.count, ELEMENTWISE_THREADS),
    };
  }

  /** Both forms of a weight matrix with `outputs` x `inputs` (padded) numbers. */
  packWeights(
    name: string,
    { forward, backward }: Layer['recurrent'],
    rows: ReturnType<Builder['flatRows']>,
    inputs: number,
    outputs: number,
  ): Task[] {
    const fields = { ...this.shapeOf(name), ...rows };
    return [
      this.packTask(forward, 'storedScalar', { ...fields, rowStride: 1, columnStride: outputs }),
      this.packTask(backward, 'storedScalar', { ...fields, rowStride: inputs, columnStride: 1 }),
    ];
  }

  packVector(name: string, buffer: GPUBuffer, rows: ReturnType<Builder['flatRows']>, base = 0): Task {
    return this.packTask(buffer, 'f32', { ...this.shapeOf(name), ...rows, rowStride: 1, columnStride: 0, base });
  }

  pack(): Stage[] {
    const { config, hidden: H, vocabulary: V, gates } = this.plan;
    const linearName = config.tied ? 'embedding.weight' : 'linear.weight';
    return [
      ...this.packWeights(linearName, this.linear, this.flatRows(config.vocabulary), H, V),
      this.packVector('linear.bias', this.linear.bias, this.flatRows(config.vocabulary)),
      ...this.layers.flatMap((layer) => {
        const k = layer.index;
        const inputs = k === 0 ? this.plan.embedding : H;
        const recurrent = (gates.blocks - gates.recurrentFrom) * H;
        return [
          ...this.packWeights(this.name('weight_hh', k), layer.recurrent, this.gateRows(gates.recurrentOrder), H, recurrent),
          this.packVector(this.name('bias_ih', k), layer.bias, this.gateRows(gates.inputOrder)),
          ...(config.cell === 'gru-reset-after'
            ? [this.packVector(this.name('bias_hn', k), layer.bias, this.flatRows(config.hidden), 3 * H)]
            : []),
          ...(layer.norm ? this.packNorm(k, layer.norm) : []),
          ...(layer.input
            ? this.packWeights(this.name('weight_ih', k), layer.input, this.gateRows(gates.inputOrder), inputs, gates.input * H)
            : []),
        ];
      }),
      ...this.packTable(),
    ];
  }

  packNorm(layer: number, norm: GPUBuffer): Task[] {
    const { config, hidden: H } = this.plan;
    const units = this.flatRows(config.hidden);
    return [this.packVector(`norms.${layer}.weight`, norm, units), this.packVector(`norms.${layer}.bias`, norm, units, H)];
  }

  /** What layer 0 adds to the gates for each character, [V, G]: a row of weights, or of embedding times weights, and the bias. */
  packTable(): Task[] {
    const { config, hidden: H, embedding: E, gates } = this.plan;
    const width = gates.input * H;
    const input = this.name('weight_ih', 0);
    if (!this.embedding) {
      const fields = { ...this.shapeOf(input), ...this.gateRows(gates.inputOrder), rowStride: 1, columnStride: width };
      return [this.packTask(this.table, 'f32', { ...fields, bias: this.tensors.get(this.name('bias_ih', 0))!.offset })];
    }
    const rows = { ...this.shapeOf('embedding.weight'), ...this.flatRows(config.vocabulary), rowStride: E, columnStride: 1 };
    const V = config.vocabulary;
    return [
      this.packTask(this.embedding, 'storedScalar', rows),
      this.product({ transposed: false, a: 'stored', b: 'stored', bias: true }, V, width, {
        buffers: [this.embedding, this.layers[0].input!.forward, this.table, this.layers[0].bias],
        fields: () => ({ m: V, k: E, lda: E, ldb: width, ldc: width }),
      }),
    ];
  }

  /** A gradient in the form of `parts`, added up into the flat one. */
  unpack(
    name: string,
    { buffer, rowStride, columnStride }: Packed,
    rows: ReturnType<Builder['flatRows']>,
    more: Partial<UnpackFields> = {},
  ): Task {
    const fields: UnpackFields = {
      ...this.shapeOf(name),
      ...rows,
      rowStride,
      columnStride,
      parts: 1,
      partStride: 0,
      add: 0,
      ...more,
    };
    return {
      source: UNPACK_KERNEL,
      buffers: [buffer, this.fixed.results, this.fixed.flags],
      fields: () => fields,
      groups: () => spread(fields.count, ELEMENTWISE_THREADS),
    };
  }

  // ---- products ----

  /** C [m, n] = A B; sizes in numbers, `n` padded. `mMost` is the greatest m, by which the tile is chosen. */
  product(
    kind: Omit<GemmKind, 'tile' | 'shared'>,
    mMost: number,
    n: number,
    { buffers, fields }: { buffers: readonly GPUBuffer[]; fields: (shape: Shape) => ProductFields },
    parts = 1,
  ): Task {
    const tile = gemmTile(mMost, n, this.plan.cooperative);
    return {
      source: gemmKernel({ ...kind, tile, shared: this.plan.cooperative }),
      buffers,
      fields: (shape) => gemmFields(n, parts, fields(shape)),
      groups: (shape) => gemmGroups(tile, fields(shape).m, n, parts),
    };
  }

  /** dW = dGates^T x over all rows, and its way into the flat gradient. `a`, `b` tell where their columns and rows begin. */
  weightGradient(
    names: {
      readonly tensor: string;
      readonly rows: ReturnType<Builder['flatRows']>;
      readonly add?: boolean;
      readonly firstRow?: number;
    },
    a: { buffer: GPUBuffer; stride: number; from: number; columns: number },
    b: { buffer: GPUBuffer; columns: number; type: ElementType; fromRow: (shape: Shape) => number },
    rowsOfShape: (shape: Shape) => number = rowsOf,
    rowsMost = this.plan.rows,
  ): Task[] {
    const [m, n] = [a.columns, b.columns];
    const parts = gemmParts(gemmTile(m, n, this.plan.cooperative), m, n, rowsMost);
    const buffer = this.program.buffer('parts of a gradient', parts * m * n * FLOAT);
    const kind = { transposed: true, a: 'vec4<f32>', b: b.type, bias: false } as const;
    const product = this.product(
      kind,
      m,
      n,
      {
        buffers: [a.buffer, b.buffer, buffer],
        fields: (shape) => ({
          m,
          k: rowsOfShape(shape),
          lda: a.stride,
          ldb: n,
          ldc: n,
          fromA: a.from,
          fromB: b.fromRow(shape) * n,
        }),
      },
      parts,
    );
    const packed: Packed = { buffer, rowStride: n, columnStride: 1 };
    const sums = { parts, partStride: m * n, add: names.add ? 1 : 0 };
    return [product, this.unpack(names.tensor, packed, names.rows, sums)];
  }

  /** Sums over all rows of [T * B, columns], in parts. */
  rowSums(values: GPUBuffer, columns: number) {
    const { program, plan } = this;
    const parts = Math.max(1, Math.min(8, Math.floor(plan.rows / 256)));
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
    return { task, packed: { buffer, rowStride: 1, columnStride: 0 }, more: { parts, partStride: columns } };
  }

  // ---- passes ----

  stateFields(layer: number) {
    const { config, hidden: H } = this.plan;
    const fields = {
      layer,
      layers: config.layers,
      vectors: stateVectors(this.plan),
      units: config.hidden,
      quads: H / 4,
      offset: this.fixed.statesOffset,
    };
    return () => fields;
  }

  forward(): Stage[] {
    const { config } = this.plan;
    return [
      ...this.layers.map((layer) => this.loadStates(layer)),
      ...this.layers.flatMap((layer) => [
        ...(layer.index > 0 ? [this.projection(layer, this.layers[layer.index - 1])] : []),
        { tasks: this.forwardSteps(layer), direction: 'forward' as const },
        ...(layer.norm ? [this.normalisation(layer, layer.norm)] : []),
      ]),
      this.outputs(this.layers[config.layers - 1]),
      ...this.layers.map((layer) => this.storeStates(layer)),
    ];
  }

  loadStates({ index, h, cell }: Layer): Task {
    const { states, flags } = this.fixed;
    return {
      source: loadStatesKernel(stateVectors(this.plan)),
      buffers: cell ? [states, flags, h, cell] : [states, flags, h],
      fields: this.stateFields(index),
      groups: ({ streams }) => spread((streams * this.plan.hidden) / 4, ELEMENTWISE_THREADS),
    };
  }

  storeStates({ index, h, cell }: Layer): Task {
    const { results } = this.fixed;
    return {
      source: storeStatesKernel(stateVectors(this.plan)),
      buffers: cell ? [results, h, cell] : [results, h],
      fields: this.stateFields(index),
      groups: ({ streams }) => spread(streams * this.plan.config.hidden, ELEMENTWISE_THREADS),
    };
  }

  /** Gates of all rows from the output of the layer below. */
  projection(layer: Layer, below: Layer): Task {
    const { rows, hidden: H, gates } = this.plan;
    const width = gates.input * H;
    return this.product({ transposed: false, a: 'stored', b: 'stored', bias: true }, rows, width, {
      buffers: [below.up ?? below.h, layer.input!.forward, layer.gates, layer.bias],
      fields: (shape) => ({
        m: rowsOf(shape),
        k: H,
        lda: H,
        ldb: width,
        ldc: gates.blocks * H,
        fromA: firstRowUp(below, shape) * H,
      }),
    });
  }

  stepTasks(layer: Layer, sources: ReturnType<typeof forwardKernels>, weights: GPUBuffer): Task[] {
    const { ids, dAbove, carry } = this.fixed;
    const { h, cell, reset, up, gates, bias } = layer;
    const own = { h, cell, reset, dropped: up, gates, bias, weights };
    const named: Readonly<Record<string, GPUBuffer | undefined>> = { ...own, table: this.table, ids, dAbove, carry };
    return sources.map((source) => ({
      source,
      buffers: source.bindings.map(({ name }) => named[name]!),
      fields: () => ({ layer: layer.index, quads: this.plan.hidden / 4 }),
      groups: ({ streams }) => stepGroups(this.plan, streams),
    }));
  }

  forwardSteps(layer: Layer): Task[] {
    const kind = { bottom: layer.index === 0, dropped: layer.isDropped && !layer.norm };
    return this.stepTasks(layer, forwardKernels(this.plan, kind), layer.recurrent.forward);
  }

  normFields({ index }: Layer) {
    const fields = { layer: index, quads: this.plan.hidden / 4, units: this.plan.config.hidden };
    return () => fields;
  }

  normalisation(layer: Layer, norm: GPUBuffer): Task {
    return {
      source: normKernel(this.lanes, layer.isDropped),
      buffers: [layer.h, norm, layer.up!, ...(layer.isDropped ? [this.fixed.ids] : [])],
      fields: this.normFields(layer),
      groups: (shape) => [Math.ceil(rowsOf(shape) / rowsPerGroup(this.lanes))],
    };
  }

  normalisationBackward(layer: Layer, norm: GPUBuffer): Task[] {
    const { rows, hidden: H, config } = this.plan;
    this.normProducts ??= this.program.buffer('gradients of a normalisation', rows * 2 * H * FLOAT);
    const { ids, dAbove } = this.fixed;
    const sums = this.rowSums(this.normProducts, 2 * H);
    const unit = this.flatRows(config.hidden);
    return [
      {
        source: normBackwardKernel(this.lanes, layer.isDropped),
        buffers: [layer.h, norm, dAbove, this.normProducts, ...(layer.isDropped ? [ids] : [])],
        fields: this.normFields(layer),
        groups: (shape) => [Math.ceil(rowsOf(shape) / rowsPerGroup(this.lanes))],
      },
      sums.task,
      this.unpack(`norms.${layer.index}.weight`, sums.packed, unit, sums.more),
      this.unpack(`norms.${layer.index}.bias`, sums.packed, unit, { ...sums.more, base: H }),
    ];
  }

  outputs(top: Layer): Task {
    const { rows, hidden: H, vocabulary: V } = this.plan;
    return this.product({ transposed: false, a: 'stored', b: 'stored', bias: true }, rows, V, {
      buffers: [top.up ?? top.h, this.linear.forward, this.fixed.logits, this.linear.bias],
      fields: (shape) => ({ m: rowsOf(shape), k: H, lda: H, ldb: V, ldc: V, fromA: firstRowUp(top, shape) * H }),
    });
  }

  loss(): Task {
    const { ids, results, flags, logits, lossOffset } = this.fixed;
    const fields = { quads: this.plan.vocabulary / 4, offset: lossOffset };
    return {
      source: softmaxKernel(this.lanes),
      buffers: [logits, ids, results, flags],
      fields: () => fields,
      groups: (shape) => [Math.ceil(rowsOf(shape) / rowsPerGroup(this.lanes))],
    };
  }

  /** dAbove = dOut W, from [T * B, outputs] to the outputs of the layer that gave the input. */
  inputGradient(dOut: GPUBuffer, stride: number, depth: number, weights: GPUBuffer): Task {
    const { rows, hidden: H } = this.plan;
    return this.product({ transposed: false, a: 'vec4<f32>', b: 'stored', bias: false }, rows, H, {
      buffers: [dOut, weights, this.fixed.dAbove],
      fields: (shape) => ({ m: rowsOf(shape), k: depth, lda: stride, ldb: H, ldc: H }),
    });
  }

  backward(): Stage[] {
    const { hidden: H, vocabulary: V, gates } = this.plan;
    const width = gates.blocks * H;
    return [
      ...this.linearGradients(this.layers[this.layers.length - 1]),
      this.inputGradient(this.fixed.logits, V, V, this.linear.backward),
      ...[...this.layers]
        .reverse()
        .flatMap((layer): Stage[] => [
          ...(layer.norm ? this.normalisationBackward(layer, layer.norm) : []),
          { tasks: this.backwardSteps(layer), direction: 'backward' },
          ...(layer.index > 0 ? [this.inputGradient(layer.gates, width, gates.input * H, layer.input!.backward)] : []),
          ...this.layerGradients(layer),
        ]),
    ];
  }

  backwardSteps(layer: Layer): Task[] {
    return this.stepTasks(layer, backwardKernels(this.plan, layer.isDropped && !layer.norm), layer.recurrent.backward);
  }

  linearGradients(top: Layer): Task[] {
    const { config, hidden: H, vocabulary: V } = this.plan;
    const { logits } = this.fixed;
    const rows = this.flatRows(config.vocabulary);
    const bias = this.rowSums(logits, V);
    return [
      ...this.weightGradient(
        { tensor: config.tied ? 'embedding.weight' : 'linear.weight', rows },
        { buffer: logits, stride: V, from: 0, columns: V },
        { buffer: top.up ?? top.h, columns: H, type: 'stored', fromRow: (shape) => firstRowUp(top, shape) },
      ),
      bias.task,
      this.unpack('linear.bias', bias.packed, rows, bias.more),
    ];
  }

  layerGradients(layer: Layer): Task[] {
    const { config, hidden: H, gates } = this.plan;
    const k = layer.index;
    const bias = this.rowSums(layer.gates, gates.blocks * H);
    const tasks = [
      ...this.recurrentGradient(layer),
      bias.task,
      this.unpack(this.name('bias_ih', k), bias.packed, this.gateRows(gates.inputOrder), bias.more),
      ...(k === 0 ? this.tableGradients(layer) : this.inputWeightGradient(layer, this.layers[k - 1])),
    ];
    if (config.cell === 'gru-reset-after') {
      const more = { ...bias.more, base: 3 * H };
      tasks.push(this.unpack(this.name('bias_hn', k), bias.packed, this.flatRows(config.hidden), more));
    }
    return tasks;
  }

  recurrentGradient(layer: Layer): Task[] {
    const { hidden: H, gates } = this.plan;
    const stride = gates.blocks * H;
    const names = { tensor: this.name('weight_hh', layer.index), rows: this.gateRows(gates.recurrentOrder) };
    const from = gates.recurrentFrom * H;
    const columns = stride - from;
    const h = { buffer: layer.h, columns: H, type: 'stored', fromRow: () => 0 } as const;
    if (!layer.reset) return this.weightGradient(names, { buffer: layer.gates, stride, from, columns }, h);
    // What a GRU's candidate was multiplied with is not h but r * h.
    const { shape, offset, size } = this.tensors.get(names.tensor)!;
    const third = { count: size / 3, columns: shape[1] };
    const [gatesTasks, candidateTasks] = [
      this.weightGradient({ ...names, rows: this.gateRows([0, 1]) }, { buffer: layer.gates, stride, from: H, columns: 2 * H }, h),
      this.weightGradient(
        { ...names, rows: this.gateRows([0]) },
        { buffer: layer.gates, stride, from: 0, columns: H },
        { ...h, buffer: layer.reset },
      ),
    ];
    return [
      ...withFields(gatesTasks, { count: 2 * third.count }),
      ...withFields(candidateTasks, { count: third.count, offset: offset + 2 * third.count }),
    ];
  }

  inputWeightGradient(layer: Layer, below: Layer): Task[] {
    const { hidden: H, gates } = this.plan;
    return this.weightGradient(
      { tensor: this.name('weight_ih', layer.index), rows: this.gateRows(gates.inputOrder) },
      { buffer: layer.gates, stride: gates.blocks * H, from: 0, columns: gates.input * H },
      {
        buffer: below.up ?? below.h,
        columns: H,
        type: 'stored',
        fromRow: (shape) => firstRowUp(below, shape),
      },
    );
  }

  /** Rows of gate gradients summed by character are the gradient of the table, [V, G]. */
  tableGradients({ gates: values }: Layer): Task[] {
    const { config, hidden: H, gates } = this.plan;
    const width = gates.input * H;
    const buffer = this.program.buffer('gradients of the table', config.vocabulary * width * FLOAT);
    const fields = { columns: width / 4, stride: (gates.blocks * H) / 4, outStride: width / 4, rows: 0, partRows: 0 };
    const sum: Task = {
      source: sumKernel('tokens', this.plan.cooperative),
      buffers: [values, buffer, this.fixed.ids],
      fields: () => fields,
      groups: () => [Math.ceil(width / 4 / SUM_COLUMNS), config.vocabulary],
    };
    if (this.embedding) return [sum, ...this.embeddingGradients(buffer, this.embedding)];
    const packed = { buffer, rowStride: 1, columnStride: width };
    return [sum, this.unpack(this.name('weight_ih', 0), packed, this.gateRows(gates.inputOrder))];
  }

  embeddingGradients(table: GPUBuffer, embedding: GPUBuffer): Task[] {
    const { config, hidden: H, embedding: E, gates } = this.plan;
    const V = config.vocabulary;
    const width = gates.input * H;
    const buffer = this.program.buffer('gradients of the embedding', V * E * FLOAT);
    return [
      this.product({ transposed: false, a: 'vec4<f32>', b: 'stored', bias: false }, V, E, {
        buffers: [table, this.layers[0].input!.backward, buffer],
        fields: () => ({ m: V, k: width, lda: width, ldb: E, ldc: E }),
      }),
      this.unpack('embedding.weight', { buffer, rowStride: E, columnStride: 1 }, this.flatRows(V), { add: config.tied ? 1 : 0 }),
      ...this.weightGradient(
        { tensor: this.name('weight_ih', 0), rows: this.gateRows(gates.inputOrder) },
        { buffer: table, stride: width, from: 0, columns: width },
        { buffer: embedding, columns: E, type: 'stored', fromRow: () => 0 },
        () => V,
        V,
      ),
    ];
  }
}

type ProductFields = Pick<GemmFields, 'm' | 'k' | 'lda' | 'ldb' | 'ldc'> & { fromA?: number; fromB?: number };

/** From sizes in numbers to the kernel's, in vectors. */
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

/** The last of the tasks, with some of its fields replaced. */
function withFields(tasks: readonly Task[], fields: Readonly<Record<string, number>>): Task[] {
  const last = tasks[tasks.length - 1];
  return [...tasks.slice(0, -1), { ...last, fields: (shape) => ({ ...last.fields(shape), ...fields }) }];
}
