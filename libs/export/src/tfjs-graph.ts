/** One time step of a model as nodes of a TensorFlow graph, in the JSON that TensorFlow.js reads. */
import { CELL_SHAPES, LAYER_NORM_EPSILON, type Cell, type ModelConfig } from '@troupe/model';
import { transposed, type Weight } from './weights.js';

export interface TfjsNode {
  readonly name: string;
  readonly op: string;
  readonly input: readonly string[];
  readonly attr: Readonly<Record<string, object>>;
}

/** A constant of the graph; its node has the same name. */
export interface TfjsConstant {
  readonly name: string;
  readonly shape: readonly number[];
  readonly values: Float32Array | Int32Array;
}

/** Builds a graph. Values are named by strings; "name:1" is the second output of a node. */
class GraphBuilder {
  readonly nodes: TfjsNode[] = [];
  readonly constants: TfjsConstant[] = [];
  readonly #weights: ReadonlyMap<string, Weight>;
  #count = 0;

  constructor(weights: ReadonlyMap<string, Weight>) {
    this.#weights = weights;
  }

  placeholder(name: string, type: 'DT_INT32' | 'DT_FLOAT', sizes: readonly number[]): string {
    const shape = { dim: sizes.map((size) => ({ size: String(size) })) };
    return this.#add({ name, op: 'Placeholder', input: [], attr: { dtype: { type }, shape: { shape } } });
  }

  constant(name: string, shape: readonly number[], values: TfjsConstant['values']): string {
    if (this.constants.some((constant) => constant.name === name)) return name;
    this.constants.push({ name, shape, values });
    const dtype = values instanceof Int32Array ? 'DT_INT32' : 'DT_FLOAT';
    const tensorShape = { dim: shape.map((size) => ({ size: String(size) })) };
    return this.#add({
      name,
      op: 'Const',
      input: [],
      attr: { dtype: { type: dtype }, value: { tensor: { dtype, tensorShape } } },
    });
  }

  /** A tensor of the model. */
  weight(name: string): string {
    const { shape, values } = this.#weights.get(name)!;
    return this.constant(name, shape, values);
  }

  /** A matrix of the model with its rows as columns. */
  turned(name: string): string {
    const { shape, values } = transposed(this.#weights.get(name)!);
    return this.constant(`${name}.transposed`, shape, values);
  }

  /** A node whose element type is float32. */
  apply(op: string, input: readonly string[], attr: TfjsNode['attr'] = {}, name = `${op}_${this.#count++}`): string {
    return this.#add({ name, op, input, attr: { T: { type: 'DT_FLOAT' }, ...attr } });
  }

  matMul(x: string, matrix: string): string {
    return this.apply('MatMul', [x, matrix], { transpose_a: { b: false }, transpose_b: { b: false } });
  }

  /** x [m, n * size] -> n values [m, size] */
  split(x: string, parts: number): string[] {
    if (parts === 1) return [x];
    const node = this.apply('Split', [this.#axis(), x], { num_split: { i: String(parts) } });
    return Array.from({ length: parts }, (_, i) => (i === 0 ? node : `${node}:${i}`));
  }

  join(values: readonly string[], name?: string): string {
    const attr = { N: { i: String(values.length) }, Tidx: { type: 'DT_INT32' } };
    return this.apply('ConcatV2', [...values, this.#axis()], attr, name);
  }

  /** Rows of a matrix. */
  gather(matrix: string, ids: string): string {
    const axis = this.constant('axis_0', [], Int32Array.of(0));
    const attr = { Tparams: { type: 'DT_FLOAT' }, Tindices: { type: 'DT_INT32' }, Taxis: { type: 'DT_INT32' } };
    return this.apply('GatherV2', [matrix, ids, axis], attr);
  }

  mean(x: string): string {
    return this.apply('Mean', [x, this.#axis()], { keep_dims: { b: true }, Tidx: { type: 'DT_INT32' } });
  }

  #axis(): string {
    return this.constant('axis_1', [], Int32Array.of(1));
  }

  #add(node: TfjsNode): string {
    this.nodes.push(node);
    return node.name;
  }
}

export function stepGraph(
  model: ModelConfig,
  weights: ReadonlyMap<string, Weight>,
): { readonly nodes: readonly TfjsNode[]; readonly constants: readonly TfjsConstant[] } {
  const { cell, layers: L, hidden: H, embedding = 0 } = model;
  const { module, stateVectors: S } = CELL_SHAPES[cell];
  const graph = new GraphBuilder(weights);
  const ids = graph.placeholder('ids', 'DT_INT32', [-1]);
  const before = graph.split(graph.placeholder('state', 'DT_FLOAT', [-1, L * S * H]), L * S);
  let x = embedding > 0 ? graph.gather(graph.weight('embedding.weight'), ids) : '';
  const after: string[] = [];
  for (let k = 0; k < L; k++) {
    const matrix = graph.turned(`${module}.weight_ih_l${k}`);
    // The product of a one-hot vector and a matrix is a row of the matrix.
    const product = x === '' ? graph.gather(matrix, ids) : graph.matMul(x, matrix);
    const fromInput = graph.apply('AddV2', [product, graph.weight(`${module}.bias_ih_l${k}`)]);
    const states = STEPS[cell](graph, { module, k, fromInput, states: before.slice(k * S, (k + 1) * S) });
    after.push(...states);
    x = model.layerNorm ? normalised(graph, states[0], k) : states[0];
  }
  graph.join(after, 'next_state');
  const products = graph.matMul(x, graph.turned('linear.weight'));
  graph.apply('AddV2', [products, graph.weight('linear.bias')], {}, 'logits');
  return graph;
}

interface CellStep {
  readonly module: string;
  readonly k: number;
  /** [B, G]: the product of the input, and the bias. */
  readonly fromInput: string;
  /** [B, H] each: h, and for an LSTM c. */
  readonly states: readonly string[];
}

/** The states after a step. */
const STEPS: Readonly<Record<Cell, (graph: GraphBuilder, step: CellStep) => readonly string[]>> = {
  lstm: (graph, { module, k, fromInput, states: [h, c] }) => {
    const sum = graph.apply('AddV2', [fromInput, graph.matMul(h, graph.turned(`${module}.weight_hh_l${k}`))]);
    const [i, f, g, o] = graph.split(sum, 4);
    const kept = graph.apply('Mul', [graph.apply('Sigmoid', [f]), c]);
    const added = graph.apply('Mul', [graph.apply('Sigmoid', [i]), graph.apply('Tanh', [g])]);
    const cell = graph.apply('AddV2', [kept, added]);
    return [graph.apply('Mul', [graph.apply('Sigmoid', [o]), graph.apply('Tanh', [cell])]), cell];
  },
  gru: (graph, { module, k, fromInput, states: [h] }) => {
    const [inR, inZ, inN] = graph.split(fromInput, 3);
    const [forR, forZ, forN] = graph.split(graph.turned(`${module}.weight_hh_l${k}`), 3);
    const gate = (input: string, matrix: string) =>
      graph.apply('Sigmoid', [graph.apply('AddV2', [input, graph.matMul(h, matrix)])]);
    const reset = graph.apply('Mul', [gate(inR, forR), h]);
    const candidate = graph.apply('Tanh', [graph.apply('AddV2', [inN, graph.matMul(reset, forN)])]);
    return [blended(graph, gate(inZ, forZ), candidate, h)];
  },
  'gru-reset-after': (graph, { module, k, fromInput, states: [h] }) => {
    const [inR, inZ, inN] = graph.split(fromInput, 3);
    const [r, z, n] = graph.split(graph.matMul(h, graph.turned(`${module}.weight_hh_l${k}`)), 3);
    const gate = (input: string, product: string) => graph.apply('Sigmoid', [graph.apply('AddV2', [input, product])]);
    const projected = graph.apply('AddV2', [n, graph.weight(`${module}.bias_hn_l${k}`)]);
    const reset = graph.apply('Mul', [gate(inR, r), projected]);
    const candidate = graph.apply('Tanh', [graph.apply('AddV2', [inN, reset])]);
    return [blended(graph, gate(inZ, z), candidate, h)];
  },
  'rnn-tanh': (graph, step) => [simple(graph, step, 'Tanh')],
  'rnn-relu': (graph, step) => [simple(graph, step, 'Relu')],
};

function simple(graph: GraphBuilder, { module, k, fromInput, states: [h] }: CellStep, activation: 'Tanh' | 'Relu'): string {
  const product = graph.matMul(h, graph.turned(`${module}.weight_hh_l${k}`));
  return graph.apply(activation, [graph.apply('AddV2', [fromInput, product])]);
}

/** (1 - z) * n + z * h, as n + z * (h - n). */
function blended(graph: GraphBuilder, z: string, n: string, h: string): string {
  return graph.apply('AddV2', [n, graph.apply('Mul', [z, graph.apply('Sub', [h, n])])]);
}

/** [B, H] -> [B, H] */
function normalised(graph: GraphBuilder, x: string, k: number): string {
  const mean = graph.mean(x);
  const variance = graph.mean(graph.apply('SquaredDifference', [x, mean]));
  const epsilon = graph.constant('epsilon', [], Float32Array.of(LAYER_NORM_EPSILON));
  const scale = graph.apply('Rsqrt', [graph.apply('AddV2', [variance, epsilon])]);
  const standard = graph.apply('Mul', [graph.apply('Sub', [x, mean]), scale]);
  const scaled = graph.apply('Mul', [standard, graph.weight(`norms.${k}.weight`)]);
  return graph.apply('AddV2', [scaled, graph.weight(`norms.${k}.bias`)]);
}
