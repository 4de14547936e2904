import type { Cell } from '../config.js';
import type { Matrix, Ops } from './ops.js';

/**
 * What a recurrent cell does in one time step of B streams; matrices are [B, H] unless a shape is
 * given. Gates whose recurrent weights multiply the same vector form a group, and groups are in
 * the order of PyTorch's rows: (i, f, g, o) of an LSTM, (r, z) and (n) of a GRU.
 */
export interface TfjsCell {
  /** Gates in each group. */
  readonly groups: readonly number[];
  /** `before` and the result's `after` hold S matrices; the first is h. */
  forward(ops: Ops, sums: GateSums, before: readonly Matrix[]): CellStep;
  /** d(loss)/d(after) -> d(loss)/d(gate sums) and d(loss)/d(before). */
  backward(
    ops: Ops,
    step: CellStep & { readonly before: readonly Matrix[] },
    dAfter: readonly Matrix[],
    back: Back,
  ): CellGradient;
  /** What the recurrent weights of each group were multiplied by, [B, H] each. */
  recurrentInputs(step: CellStep, before: readonly Matrix[]): readonly Matrix[];
}

/** The gates of a group before their non-linearity, [B, H] each. */
export interface GateSums {
  /** weight_ih x + bias */
  fromInput(group: number): Matrix[];
  /** weight_hh v, plus the recurrent bias if there is one. */
  fromHidden(group: number, v: Matrix): Matrix[];
  /** The sum of both. */
  whole(group: number, v: Matrix): Matrix[];
}

/** d(loss)/d(gate sums of a group) [B, gates * H] -> d(loss)/dv. */
export type Back = (group: number, dSums: Matrix) => Matrix;

export interface CellStep {
  readonly after: Matrix[];
  /** What backward() needs again. */
  readonly saved: Matrix[];
}

export interface CellGradient {
  /** d(loss)/d(fromInput) for each group, [B, gates * H]. */
  readonly dInput: Matrix[];
  /**
   * d(loss)/d(fromHidden) for each group; the same tensors as fromInput unless the cell separates
   * the two.
   */
  readonly dHidden: Matrix[];
  readonly dBefore: Matrix[];
}

const lstm: TfjsCell = {
  groups: [4],

  forward({ tf, tanh }, sums, [h, memory]) {
    const [sumI, sumF, sumG, sumO] = sums.whole(0, h);
    const [i, f, g, o] = [tf.sigmoid(sumI), tf.sigmoid(sumF), tanh(sumG), tf.sigmoid(sumO)];
    const written = tf.mul<Matrix>(i, g);
    const retained = tf.mul<Matrix>(f, memory);
    const after = tf.add<Matrix>(retained, written);
    const squashed = tanh(after);
    return { after: [tf.mul(o, squashed), after], saved: [i, f, g, o, written, retained, squashed] };
  },

  backward({ tf, one }, { after, saved }, [dH, dAfter], back) {
    const [i, f, g, o, written, retained, squashed] = saved;
    const dMemory = tf.add<Matrix>(dAfter, tf.mul(dH, tf.sub(o, tf.mul(after[0], squashed))));
    const dSums = tf.concat(
      [
        tf.mul<Matrix>(dMemory, tf.mul(written, tf.sub(one, i))),
        tf.mul<Matrix>(dMemory, tf.mul(retained, tf.sub(one, f))),
        tf.mul<Matrix>(dMemory, tf.sub(i, tf.mul(written, g))),
        tf.mul<Matrix>(dH, tf.mul(after[0], tf.sub(one, o))),
      ],
      1,
    );
    return { dInput: [dSums], dHidden: [dSums], dBefore: [back(0, dSums), tf.mul(dMemory, f)] };
  },

  recurrentInputs: (_, [h]) => [h],
};

const gru: TfjsCell = {
  groups: [2, 1],

  forward({ tf, tanh }, sums, [h]) {
    const [r, z] = sums.whole(0, h).map((sum) => tf.sigmoid(sum));
    const reset = tf.mul<Matrix>(r, h);
    const n = tanh(sums.whole(1, reset)[0]);
    const difference = tf.sub<Matrix>(h, n);
    return { after: [tf.add(n, tf.mul(z, difference))], saved: [r, z, n, difference, reset] };
  },

  backward(ops, { saved }, [dH], back) {
    const { tf, one } = ops;
    const [r, z, n, difference, reset] = saved;
    const dN = candidateGradient(ops, dH, z, n);
    const dReset = back(1, dN);
    const dR = tf.mul<Matrix>(dReset, tf.mul(reset, tf.sub(one, r)));
    const dGates = tf.concat([dR, updateGradient(ops, dH, z, difference)], 1);
    const dBefore = tf.add<Matrix>(tf.add(tf.mul(dH, z), tf.mul(dReset, r)), back(0, dGates));
    return { dInput: [dGates, dN], dHidden: [dGates, dN], dBefore: [dBefore] };
  },

  recurrentInputs: ({ saved }, [h]) => [h, saved[4]],
};

const gruResetAfter: TfjsCell = {
  groups: [2, 1],

  forward({ tf, tanh }, sums, [h]) {
    const [r, z] = sums.whole(0, h).map((sum) => tf.sigmoid(sum));
    const [q] = sums.fromHidden(1, h);
    const n = tanh(tf.add(sums.fromInput(1)[0], tf.mul(r, q)));
    const difference = tf.sub<Matrix>(h, n);
    return { after: [tf.add(n, tf.mul(z, difference))], saved: [r, z, n, difference, q] };
  },

  backward(ops, { saved }, [dH], back) {
    const { tf, one } = ops;
    const [r, z, n, difference, q] = saved;
    const dN = candidateGradient(ops, dH, z, n);
    const dQ = tf.mul<Matrix>(dN, r);
    const dR = tf.mul<Matrix>(tf.mul(dQ, q), tf.sub(one, r));
    const dGates = tf.concat([dR, updateGradient(ops, dH, z, difference)], 1);
    const dBefore = tf.add<Matrix>(tf.add(tf.mul(dH, z), back(0, dGates)), back(1, dQ));
    return { dInput: [dGates, dN], dHidden: [dGates, dQ], dBefore: [dBefore] };
  },

  recurrentInputs: (_, [h]) => [h, h],
};

/** d(loss)/d(sum) of h' = (1 - z) * n + z * h with n = tanh(sum). */
function candidateGradient({ tf, one }: Ops, dH: Matrix, z: Matrix, n: Matrix): Matrix {
  return tf.mul(tf.mul(dH, tf.sub(one, z)), tf.sub(one, tf.mul(n, n)));
}

/** d(loss)/d(sum) of h' = n + z * difference with z = sigmoid(sum). */
function updateGradient({ tf, one }: Ops, dH: Matrix, z: Matrix, difference: Matrix): Matrix {
  return tf.mul(tf.mul(dH, difference), tf.mul(z, tf.sub(one, z)));
}

/** h' = f(sum); `slope` gives f' from h'. */
function elman(f: (ops: Ops, sum: Matrix) => Matrix, slope: (ops: Ops, h: Matrix) => Matrix): TfjsCell {
  return {
    groups: [1],
    forward: (ops, sums, [h]) => ({ after: [f(ops, sums.whole(0, h)[0])], saved: [] }),
    backward(ops, { after }, [dH], back) {
      const dSum = ops.tf.mul<Matrix>(dH, slope(ops, after[0]));
      return { dInput: [dSum], dHidden: [dSum], dBefore: [back(0, dSum)] };
    },
    recurrentInputs: (_, [h]) => [h],
  };
}

export const tfjsCells: Readonly<Record<Cell, TfjsCell>> = {
  lstm,
  gru,
  'gru-reset-after': gruResetAfter,
  'rnn-tanh': elman(
    ({ tanh }, sum) => tanh(sum),
    ({ tf, one }, h) => tf.sub(one, tf.mul(h, h)),
  ),
  'rnn-relu': elman(
    ({ tf }, sum) => tf.relu(sum),
    ({ tf }, h) => tf.step(h),
  ),
};
