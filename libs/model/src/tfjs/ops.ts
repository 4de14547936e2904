import type * as tfjs from '@tensorflow/tfjs';

/**
 * What the engine uses of TensorFlow.js. The namespace of `@tensorflow/tfjs`,
 * `@tensorflow/tfjs-node` or `@tensorflow/tfjs-core` satisfies it; take the one that registered
 * the backend.
 */
export type TfjsApi = Pick<
  typeof tfjs,
  | 'add'
  | 'backend'
  | 'concat'
  | 'dispose'
  | 'env'
  | 'fused'
  | 'getBackend'
  | 'keep'
  | 'logSoftmax'
  | 'matMul'
  | 'mean'
  | 'mul'
  | 'neg'
  | 'ones'
  | 'ready'
  | 'relu'
  | 'reshape'
  | 'rsqrt'
  | 'scalar'
  | 'setBackend'
  | 'sigmoid'
  | 'softmax'
  | 'split'
  | 'step'
  | 'sub'
  | 'sum'
  | 'tanh'
  | 'tensor1d'
  | 'tensor2d'
  | 'tidy'
  | 'transpose'
  | 'unstack'
  | 'zeros'
>;

/** A tfjs whose backend is released when nothing uses it. */
export type LentTfjs = TfjsApi & {
  /**
   * Called for every engine that is opened; the returned function is called when that engine is
   * disposed, or does not open.
   */
  readonly hold?: () => () => void;
};

export type Matrix = tfjs.Tensor2D;
export type Vector = tfjs.Tensor1D;
export type Tensor = tfjs.Tensor;
export type { Rank } from '@tensorflow/tfjs';

/** The rows [B, N] of a time step. */
export type Rows = (t: number) => Matrix;

/**
 * Operations whose best form depends on where tensors live. A backend in host memory (`cpu`,
 * `wasm`) copies a whole tensor to slice it and multiplies transposed matrices slowly, but returns
 * values immediately; a device works best with few, large operations.
 */
export interface Ops {
  readonly tf: TfjsApi;
  /** Tensors lie in the memory of the process and are read synchronously. */
  readonly inHost: boolean;
  /** The number 1, as a tensor that lives as long as the engine. */
  readonly one: Tensor;
  tanh(x: Matrix): Matrix;
  transpose(x: Matrix): Matrix;
  /** a^T b: [M, I], [M, N] -> [I, N]. */
  transposedProduct(a: Matrix, b: Matrix): Matrix;
  /** Sum over rows: [M, N] -> [1, N]. */
  columnSums(x: Matrix): Matrix;
  /**
   * [T*B, N] -> t -> [B, N], the rows of time step t. They live until the end of the tidy in which
   * they are requested.
   */
  unstack(x: Matrix, T: number): Rows;
}

export function createOps(tf: TfjsApi): Ops {
  const inHost = tf.getBackend() === 'cpu' || tf.getBackend() === 'wasm';
  const one = tf.keep(tf.scalar(1));
  const shared = { tf, one, columnSums: (x: Matrix): Matrix => tf.matMul(tf.ones<tfjs.Rank.R2>([1, x.shape[0]]), x) };
  return inHost ? { ...shared, inHost, ...hostOps(tf, one) } : { ...shared, inHost, ...deviceOps(tf) };
}

type Placed = Pick<Ops, 'tanh' | 'transpose' | 'transposedProduct' | 'unstack'>;

function deviceOps(tf: TfjsApi): Placed {
  return {
    tanh: (x) => tf.tanh(x),
    transpose: (x) => tf.transpose(x),
    transposedProduct: (a, b) => tf.matMul(a, b, true),
    unstack(x, T) {
      const steps = tf.unstack(tf.reshape(x, [T, x.shape[0] / T, x.shape[1]])) as Matrix[];
      return (t) => steps[t];
    },
  };
}

function hostOps(tf: TfjsApi, one: Tensor): Placed {
  const transpose = (x: Matrix) => tf.tensor2d(transposed(x.dataSync<'float32'>(), x.shape), [x.shape[1], x.shape[0]]);
  return {
    tanh: tf.getBackend() === 'wasm' ? (x) => tanhBySigmoid(tf, one, x) : (x) => tf.tanh(x),
    transpose,
    transposedProduct(a, b) {
      const [rows, I] = a.shape;
      const N = b.shape[1];
      return rows * I <= N * (rows + I) ? tf.matMul(transpose(a), b) : transpose(tf.matMul(transpose(b), a));
    },
    unstack(x, T) {
      const [rows, columns] = [x.shape[0] / T, x.shape[1]];
      const values = x.dataSync<'float32'>();
      return (t) => tf.tensor2d(values.subarray(t * rows * columns, (t + 1) * rows * columns), [rows, columns]);
    },
  };
}

/**
 * tanh x = 2 sigmoid(2x) - 1, because the wasm backend vectorises sigmoid but calls the C
 * library's tanh for each number.
 */
function tanhBySigmoid(tf: TfjsApi, one: Tensor, x: Matrix): Matrix {
  const half = tf.sigmoid(tf.add(x, x));
  return tf.sub(tf.add(half, half), one);
}

/** Side of square blocks that stay in the L1 cache while they are transposed. */
const BLOCK = 32;

/** [M, N] -> [N, M] */
export function transposed(values: Float32Array, [M, N]: readonly number[]): Float32Array {
  const out = new Float32Array(M * N);
  for (let top = 0; top < M; top += BLOCK) {
    const bottom = Math.min(top + BLOCK, M);
    for (let left = 0; left < N; left += BLOCK) {
      const right = Math.min(left + BLOCK, N);
      for (let n = left; n < right; n++) {
        for (let m = top; m < bottom; m++) out[n * M + m] = values[m * N + n];
      }
    }
  }
  return out;
}
