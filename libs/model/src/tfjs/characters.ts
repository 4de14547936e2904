import type { Batch } from '../engine.js';
import type { Matrix, Ops, Rows } from './ops.js';
import type { Table } from './weights.js';

/** Character ids of a window, time-major [T, B]. */
export interface Window {
  readonly B: number;
  readonly T: number;
  readonly inputs: Int32Array;
  readonly targets: Int32Array;
}

/** Splits tokens [B, T+1] into inputs and targets. */
export function windowOf({ streams: B, window: T, tokens }: Batch): Window {
  const inputs = new Int32Array(T * B);
  const targets = new Int32Array(T * B);
  for (let b = 0; b < B; b++) {
    for (let t = 0; t < T; t++) {
      inputs[t * B + b] = tokens[b * (T + 1) + t];
      targets[t * B + b] = tokens[b * (T + 1) + t + 1];
    }
  }
  return { B, T, inputs, targets };
}

/**
 * [T*B, V]. Not with tf.oneHot, because that of the wasm backend returns integers even if asked
 * for floats.
 */
export function oneHot({ tf }: Ops, ids: Int32Array, V: number): Matrix {
  const rows = new Float32Array(ids.length * V);
  ids.forEach((id, row) => (rows[row * V + id] = 1));
  return tf.tensor2d(rows, [ids.length, V]);
}

/** Carries the characters of a window into the first layer, and gradients back to the tables. */
export interface Characters {
  /** For each time step the table's rows of its characters, [B, N]. */
  lookUp(table: Table): Rows;
  /**
   * d(loss)/d(rows) [T*B, N] -> d(loss)/d(table) [V, N]: the sum of the rows of equal characters.
   */
  collect(dRows: Matrix): Matrix;
}

/**
 * In host memory plain loops copy and add rows, whatever the vocabulary's size. A device
 * multiplies by one-hot rows.
 */
export function createCharacters(ops: Ops, window: Window, V: number): Characters {
  return ops.inHost ? hostCharacters(ops, window, V) : deviceCharacters(ops, window, V);
}

function hostCharacters({ tf }: Ops, { inputs, B }: Window, V: number): Characters {
  return {
    lookUp({ values, width }) {
      return (t) => {
        const rows = new Float32Array(B * width);
        for (let b = 0; b < B; b++) {
          const from = inputs[t * B + b] * width;
          rows.set(values!.subarray(from, from + width), b * width);
        }
        return tf.tensor2d(rows, [B, width]);
      };
    },
    collect(dRows) {
      const width = dRows.shape[1];
      const values = dRows.dataSync<'float32'>();
      const sums = new Float32Array(V * width);
      for (let row = 0; row < inputs.length; row++) {
        const to = inputs[row] * width;
        const from = row * width;
        for (let i = 0; i < width; i++) sums[to + i] += values[from + i];
      }
      return tf.tensor2d(sums, [V, width]);
    },
  };
}

function deviceCharacters(ops: Ops, { inputs, T }: Window, V: number): Characters {
  const { tf } = ops;
  const rows = oneHot(ops, inputs, V);
  return {
    lookUp: ({ tensor }) => ops.unstack(tf.matMul(rows, tensor!), T),
    collect: (dRows) => ops.transposedProduct(rows, dRows),
  };
}
