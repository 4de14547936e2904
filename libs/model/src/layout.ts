import type { ModelConfig } from './config.js';

/**
 * The one table that carves the flat parameter vector. Names and shapes are those of the PyTorch state dict of a module with
 * `lstm = nn.LSTM(V, H, L)` and `linear = nn.Linear(H, V)`; gate rows stand in PyTorch's order i, f, g, o. One difference:
 * PyTorch keeps two biases per LSTM layer whose sum is all that counts; here there is one, `lstm.bias_ih_l{k}`, and checkpoints
 * write `lstm.bias_hh_l{k}` as zeros.
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
  /** Parameters in all. */
  readonly size: number;
  /** Identifies names, shapes and order; goes into the handshake. 16 hex digits. */
  readonly hash: string;
}

/** LSTM, in this order: per layer k weight_ih [4H, k ? H : V], weight_hh [4H, H], bias_ih [4H]; then linear.weight [V, H], linear.bias [V]. */
export function createLayout(config: ModelConfig): ParameterLayout {
  const { layers, hidden: H, vocabulary: V } = config;
  const shapes: [string, number[]][] = [];
  for (let k = 0; k < layers; k++) {
    shapes.push(
      [`lstm.weight_ih_l${k}`, [4 * H, k === 0 ? V : H]],
      [`lstm.weight_hh_l${k}`, [4 * H, H]],
      [`lstm.bias_ih_l${k}`, [4 * H]],
    );
  }
  shapes.push(['linear.weight', [V, H]], ['linear.bias', [V]]);
  const tensors: TensorSpec[] = [];
  let offset = 0;
  for (const [name, shape] of shapes) {
    const size = shape.reduce((product, dimension) => product * dimension, 1);
    tensors.push({ name, shape, offset, size });
    offset += size;
  }
  return { tensors, size: offset, hash: layoutHash(tensors) };
}

/** Floats of hidden state per stream: L * S * H. */
export function stateSize(config: ModelConfig): number {
  return config.layers * 2 * config.hidden;
}

/** FNV-1a, two lanes, over "name:shape;" of every tensor in order. */
function layoutHash(tensors: readonly TensorSpec[]): string {
  let low = 0x811c9dc5;
  let high = 0x1000193;
  for (const { name, shape } of tensors) {
    for (const character of `${name}:${shape.join('x')};`) {
      const code = character.codePointAt(0)!;
      low = Math.imul(low ^ code, 0x01000193);
      high = Math.imul(high ^ (code + 0x9e37), 0x01000193);
    }
  }
  return [high, low].map((word) => (word >>> 0).toString(16).padStart(8, '0')).join('');
}
