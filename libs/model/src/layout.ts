import { CELL_SHAPES, type ModelConfig } from './config.js';

/**
 * The one table that carves the flat parameter vector. Names and shapes are those of the PyTorch
 * state dict of a module with `embedding = nn.Embedding(V, E)` (if E > 0), `lstm = nn.LSTM(E or V,
 * H, L)` (or `gru`, `rnn`) and `linear = nn.Linear(H, V)`. Rows of gates are in PyTorch's order.
 * Layer normalisation is `norms = nn.ModuleList(nn.LayerNorm(H))`, one for each layer's output.
 *
 * Differences: PyTorch has two biases per layer, of which only the sum matters. Here there is one,
 * `bias_ih_l{k}`, and checkpoints write `bias_hh_l{k}` as zeros. The candidate of a
 * `gru-reset-after` is the exception, because the reset gate multiplies its recurrent bias:
 * `gru.bias_hn_l{k}` [H], the last third of PyTorch's `bias_hh_l{k}`. With tied weights
 * `linear.weight` is `embedding.weight` and has no entry of its own.
 */
export interface TensorSpec {
  readonly name: string;
  /** Row-major. */
  readonly shape: readonly number[];
  /** First element in the flat vector. */
  readonly offset: number;
  readonly size: number;
}

export interface ParameterLayout {
  readonly tensors: readonly TensorSpec[];
  /** P, the number of parameters. */
  readonly size: number;
  /**
   * Identifies names, shapes, order and the cell that uses them; part of the handshake. 16 hex
   * digits.
   */
  readonly hash: string;
}

/**
 * In this order: embedding.weight [V, E] if E > 0; per layer k weight_ih [G, k ? H : E or V],
 * weight_hh [G, H], bias_ih [G], for a gru-reset-after bias_hn [H], with layer normalisation
 * norms.{k}.weight [H] and norms.{k}.bias [H]; linear.weight [V, H] unless tied; linear.bias [V].
 */
export function createLayout(config: ModelConfig): ParameterLayout {
  const tensors: TensorSpec[] = [];
  let offset = 0;
  for (const [name, shape] of shapesOf(config)) {
    const size = shape.reduce((product, dimension) => product * dimension, 1);
    tensors.push({ name, shape, offset, size });
    offset += size;
  }
  return { tensors, size: offset, hash: layoutHash(config, tensors) };
}

function shapesOf(config: ModelConfig): [string, number[]][] {
  const { cell, layers, hidden: H, vocabulary: V, embedding = 0, tied = false, layerNorm = false } = config;
  const { module, gates } = CELL_SHAPES[cell];
  const G = gates * H;
  const shapes: [string, number[]][] = [];
  if (embedding > 0) shapes.push(['embedding.weight', [V, embedding]]);
  for (let k = 0; k < layers; k++) {
    shapes.push(
      [`${module}.weight_ih_l${k}`, [G, k === 0 ? embedding || V : H]],
      [`${module}.weight_hh_l${k}`, [G, H]],
      [`${module}.bias_ih_l${k}`, [G]],
    );
    if (cell === 'gru-reset-after') shapes.push([`${module}.bias_hn_l${k}`, [H]]);
    if (layerNorm) shapes.push([`norms.${k}.weight`, [H]], [`norms.${k}.bias`, [H]]);
  }
  if (!tied) shapes.push(['linear.weight', [V, H]]);
  shapes.push(['linear.bias', [V]]);
  return shapes;
}

/** P, the layout's size, without creating the layout. */
export function parameterCount(config: ModelConfig): number {
  const { cell, layers: L, hidden: H, vocabulary: V, embedding: E = 0, tied = false, layerNorm = false } = config;
  const G = CELL_SHAPES[cell].gates * H;
  const perLayer = G * H + G + (cell === 'gru-reset-after' ? H : 0) + (layerNorm ? 2 * H : 0);
  return V * E + G * (E || V) + G * H * (L - 1) + perLayer * L + (tied ? 0 : V * H) + V;
}

/** Floats of hidden state per stream: L * S * H. */
export function stateSize({ cell, layers, hidden }: Pick<ModelConfig, 'cell' | 'layers' | 'hidden'>): number {
  return layers * CELL_SHAPES[cell].stateVectors * hidden;
}

/** Engines round, and tanh may come out above 1. */
const STATE_SLACK = 1.001;

/**
 * A magnitude that no hidden state exceeds `steps` time steps after it was zero; 0: there is no bound. h is a tanh, or a mean of such
 * values. The c of an LSTM grows by at most 1 a step: its gates and candidate are at most 1.
 */
export function largestState({ cell }: Pick<ModelConfig, 'cell'>, steps: number): number {
  if (cell === 'rnn-relu') return 0;
  return (cell === 'lstm' ? steps : 1) * STATE_SLACK;
}

/**
 * FNV-1a, two lanes, over the cell, because two cells may have the same tensors, and "name:shape;"
 * of every tensor in order.
 */
function layoutHash({ cell }: ModelConfig, tensors: readonly TensorSpec[]): string {
  let low = 0x811c9dc5;
  let high = 0x1000193;
  for (const text of [`${cell};`, ...tensors.map(({ name, shape }) => `${name}:${shape.join('x')};`)]) {
    for (const character of text) {
      const code = character.codePointAt(0)!;
      low = Math.imul(low ^ code, 0x01000193);
      high = Math.imul(high ^ (code + 0x9e37), 0x01000193);
    }
  }
  return [high, low].map((word) => (word >>> 0).toString(16).padStart(8, '0')).join('');
}
