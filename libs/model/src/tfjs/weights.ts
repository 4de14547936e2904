import { CELL_SHAPES, type ModelConfig } from '../config.js';
import { createLayout, type ParameterLayout } from '../layout.js';
import { tfjsCells } from './cells.js';
import type { NormWeights } from './norm.js';
import type { Matrix, Ops, Tensor, Vector } from './ops.js';

/**
 * Parameters as tensors, in the forms that the forward and backward pass need. Weights of a group
 * of gates are whole, in PyTorch's form, for the backward pass, and transposed and in parts for
 * the forward pass: one part per gate in host memory, where slicing a product by gates costs more
 * than several products; one part for all gates on a device.
 */
export interface Weights {
  readonly layers: readonly LayerWeights[];
  /** [V, E], if characters have embeddings. */
  readonly embedding: Matrix | undefined;
  /** [V, H] */
  readonly linear: Matrix;
  /** [H, V] */
  readonly linearTransposed: Matrix;
  /** [V] */
  readonly linearBias: Vector;
  dispose(): void;
}

export interface LayerWeights {
  readonly groups: readonly GroupWeights[];
  /** Present with layer normalisation. */
  readonly norm: NormWeights | undefined;
}

export interface GroupWeights {
  /** weight_ih [gates * H, I] */
  readonly input: Matrix;
  /** weight_hh [gates * H, H] */
  readonly hidden: Matrix;
  /**
   * weight_ih^T with its bias, in layers above the first; the first has a table of characters
   * instead.
   */
  readonly inputParts: readonly Affine[];
  readonly tables: readonly Table[];
  /** weight_hh^T, with the recurrent bias of the candidate of a gru-reset-after. */
  readonly hiddenParts: readonly Affine[];
}

export interface Affine {
  /** [I, N] */
  readonly weight: Matrix;
  /** [N] */
  readonly bias?: Vector;
}

/** weight_ih x + bias of each character, [V, N]: an array in host memory, a tensor on a device. */
export interface Table {
  readonly width: number;
  readonly values?: Float32Array;
  readonly tensor?: Matrix;
}

/**
 * The tensors live until dispose(). Some backends read `parameters` until then, so they must not
 * change.
 */
export function packWeights(ops: Ops, config: ModelConfig, parameters: Float32Array): Weights {
  const kept: Tensor[] = [];
  const keep = <T extends Tensor>(tensor: T): T => {
    kept.push(ops.tf.keep(tensor));
    return tensor;
  };
  const dispose = () => ops.tf.dispose(kept);
  try {
    const read = new ParameterReader(ops, createLayout(config), parameters);
    let weights: Omit<Weights, 'dispose'> | undefined;
    // Not returned through tidy, which would walk through every number of the tables.
    ops.tf.tidy(() => {
      weights = pack({ ops, config, read, keep });
    });
    return { ...weights!, dispose };
  } catch (error) {
    dispose();
    throw error;
  }
}

interface Packing {
  readonly ops: Ops;
  readonly config: ModelConfig;
  readonly read: ParameterReader;
  readonly keep: <T extends Tensor>(tensor: T) => T;
}

function pack(packing: Packing): Omit<Weights, 'dispose'> {
  const { ops, config, read, keep } = packing;
  const embedding = config.embedding ? keep(read.matrix('embedding.weight')) : undefined;
  const linear = config.tied ? embedding! : keep(read.matrix('linear.weight'));
  return {
    embedding,
    linear,
    linearTransposed: keep(ops.transpose(linear)),
    linearBias: keep(read.vector('linear.bias')),
    layers: Array.from({ length: config.layers }, (_, k) => packLayer(packing, k, embedding)),
  };
}

function packLayer(packing: Packing, k: number, embedding: Matrix | undefined): LayerWeights {
  const { config, ops, read, keep } = packing;
  const gatesOf = tfjsCells[config.cell].groups;
  const groups = gatesOf.map((gates, group) => {
    const first = gatesOf.slice(0, group).reduce((sum, count) => sum + count, 0);
    const width = ops.inHost ? 1 : gates;
    const parts = Array.from({ length: gates / width }, (_, part) => [first + part * width, width] as const);
    return packGroup(packing, k, embedding, [first, gates], parts);
  });
  const vector = (name: string) => keep(read.vector(`norms.${k}.${name}`));
  return { groups, norm: config.layerNorm ? { weight: vector('weight'), bias: vector('bias') } : undefined };
}

/** First gate and number of gates. */
type Gates = readonly [first: number, count: number];

function packGroup(
  packing: Packing,
  k: number,
  embedding: Matrix | undefined,
  all: Gates,
  parts: readonly Gates[],
): GroupWeights {
  const { ops, config, read, keep } = packing;
  const { module } = CELL_SHAPES[config.cell];
  const H = config.hidden;
  const rows = (name: string, [first, count]: Gates) => read.matrix(`${module}.${name}_l${k}`, first * H, count * H);
  const affine = (part: Gates): Affine => ({
    weight: ops.transpose(rows('weight_ih', part)),
    bias: read.vector(`${module}.bias_ih_l${k}`, part[0] * H, part[1] * H),
  });
  const kept = ({ weight, bias }: Affine): Affine => ({ weight: keep(weight), ...(bias && { bias: keep(bias) }) });
  const recurrentBias = config.cell === 'gru-reset-after' && all[0] === 2 && { bias: read.vector(`${module}.bias_hn_l${k}`) };
  return {
    input: keep(rows('weight_ih', all)),
    hidden: keep(rows('weight_hh', all)),
    inputParts: k === 0 ? [] : parts.map((part) => kept(affine(part))),
    tables: k === 0 ? parts.map((part) => tableOf(packing, affine(part), embedding)) : [],
    hiddenParts: parts.map((part) => kept({ weight: ops.transpose(rows('weight_hh', part)), ...recurrentBias })),
  };
}

function tableOf({ ops, keep }: Packing, { weight, bias }: Affine, embedding: Matrix | undefined): Table {
  const { tf, inHost } = ops;
  const table = tf.add<Matrix>(embedding ? tf.matMul(embedding, weight) : weight, bias!);
  const width = table.shape[1];
  return inHost ? { width, values: table.dataSync<'float32'>() } : { width, tensor: keep(table) };
}

/** Reads tensors from the flat vector. */
class ParameterReader {
  readonly #ops: Ops;
  readonly #layout: ParameterLayout;
  readonly #parameters: Float32Array;

  constructor(ops: Ops, layout: ParameterLayout, parameters: Float32Array) {
    this.#ops = ops;
    this.#layout = layout;
    this.#parameters = parameters;
  }

  /** `count` rows from row `first`; all by default. */
  matrix(name: string, first = 0, count?: number): Matrix {
    const { offset, shape } = this.#find(name);
    const columns = shape[1];
    const rows = count ?? shape[0];
    const from = offset + first * columns;
    return this.#ops.tf.tensor2d(this.#parameters.subarray(from, from + rows * columns), [rows, columns]);
  }

  vector(name: string, first = 0, count?: number): Vector {
    const { offset, size } = this.#find(name);
    return this.#ops.tf.tensor1d(this.#parameters.subarray(offset + first, offset + first + (count ?? size)));
  }

  #find(name: string) {
    return this.#layout.tensors.find((tensor) => tensor.name === name)!;
  }
}
