// The element-wise part of an LSTM, fused over the four gates i, f, g, o. Rows are [4H] or [H]
// floats, H a multiple of 8; rows of gates are `stride` floats apart. Two adjacent vectors at a
// time, because some hosts pair them into a wider one.
import { complement, madd, sigmoid, tanh } from './vector';

/**
 * One time step: gates[B, 4H] holds h W_hh (+ x W_ih above layer 0) and receives the activations;
 * table[ids[b], 4H] is added first (layer 0: bias and input weights of the character, above: the
 * bias). Writes C, h and tanh C, each [B, H].
 */
export function lstmForward(
  streams: i32, hidden: i32, stride: i32, gates: usize, table: usize, ids: usize, before: usize, cell: usize, h: usize, tanhCell: usize,
): void {
  const row: usize = 4 * hidden;
  for (let b = 0; b < streams; b++) {
    let added = table + 4 * row * load<u32>(ids + 4 * b);
    const end = gates + row;
    for (; gates < end; gates += 32) {
      const i0 = sigmoid(f32x4.add(v128.load(gates), v128.load(added)));
      const i1 = sigmoid(f32x4.add(v128.load(gates, 16), v128.load(added, 16)));
      const f0 = sigmoid(f32x4.add(v128.load(gates + row), v128.load(added + row)));
      const f1 = sigmoid(f32x4.add(v128.load(gates + row, 16), v128.load(added + row, 16)));
      const g0 = tanh(f32x4.add(v128.load(gates + 2 * row), v128.load(added + 2 * row)));
      const g1 = tanh(f32x4.add(v128.load(gates + 2 * row, 16), v128.load(added + 2 * row, 16)));
      const o0 = sigmoid(f32x4.add(v128.load(gates + 3 * row), v128.load(added + 3 * row)));
      const o1 = sigmoid(f32x4.add(v128.load(gates + 3 * row, 16), v128.load(added + 3 * row, 16)));
      const c0 = madd(f0, v128.load(before), f32x4.mul(i0, g0));
      const c1 = madd(f1, v128.load(before, 16), f32x4.mul(i1, g1));
      const t0 = tanh(c0);
      const t1 = tanh(c1);
      v128.store(gates, i0);
      v128.store(gates, i1, 16);
      v128.store(gates + row, f0);
      v128.store(gates + row, f1, 16);
      v128.store(gates + 2 * row, g0);
      v128.store(gates + 2 * row, g1, 16);
      v128.store(gates + 3 * row, o0);
      v128.store(gates + 3 * row, o1, 16);
      v128.store(cell, c0);
      v128.store(cell, c1, 16);
      v128.store(tanhCell, t0);
      v128.store(tanhCell, t1, 16);
      v128.store(h, f32x4.mul(o0, t0));
      v128.store(h, f32x4.mul(o1, t1), 16);
      added += 32;
      before += 32;
      cell += 32;
      h += 32;
      tanhCell += 32;
    }
    gates += 4 * <usize>stride - row;
  }
}

/**
 * One time step back: gates[B, 4H] holds the activations and receives the gradient of the
 * pre-activations. dh[B, H] is the complete gradient of h. dc[B, H] is the gradient of C from the
 * next step, replaced by that for the previous step.
 */
export function lstmBackward(
  streams: i32, hidden: i32, stride: i32, gates: usize, before: usize, tanhCell: usize, dh: usize, dc: usize,
): void {
  const row: usize = 4 * hidden;
  for (let b = 0; b < streams; b++) {
    const end = gates + row;
    for (; gates < end; gates += 32) {
      const i0 = v128.load(gates);
      const i1 = v128.load(gates, 16);
      const f0 = v128.load(gates + row);
      const f1 = v128.load(gates + row, 16);
      const g0 = v128.load(gates + 2 * row);
      const g1 = v128.load(gates + 2 * row, 16);
      const o0 = v128.load(gates + 3 * row);
      const o1 = v128.load(gates + 3 * row, 16);
      const t0 = v128.load(tanhCell);
      const t1 = v128.load(tanhCell, 16);
      const dh0 = v128.load(dh);
      const dh1 = v128.load(dh, 16);
      const dc0 = f32x4.add(v128.load(dc), f32x4.mul(f32x4.mul(dh0, o0), complement(f32x4.mul(t0, t0))));
      const dc1 = f32x4.add(v128.load(dc, 16), f32x4.mul(f32x4.mul(dh1, o1), complement(f32x4.mul(t1, t1))));
      const dcf0 = f32x4.mul(dc0, f0);
      const dcf1 = f32x4.mul(dc1, f1);
      v128.store(dc, dcf0);
      v128.store(dc, dcf1, 16);
      v128.store(gates, f32x4.mul(f32x4.mul(dc0, g0), f32x4.mul(i0, complement(i0))));
      v128.store(gates, f32x4.mul(f32x4.mul(dc1, g1), f32x4.mul(i1, complement(i1))), 16);
      v128.store(gates + row, f32x4.mul(f32x4.mul(dcf0, v128.load(before)), complement(f0)));
      v128.store(gates + row, f32x4.mul(f32x4.mul(dcf1, v128.load(before, 16)), complement(f1)), 16);
      v128.store(gates + 2 * row, f32x4.mul(f32x4.mul(dc0, i0), complement(f32x4.mul(g0, g0))));
      v128.store(gates + 2 * row, f32x4.mul(f32x4.mul(dc1, i1), complement(f32x4.mul(g1, g1))), 16);
      v128.store(gates + 3 * row, f32x4.mul(f32x4.mul(dh0, t0), f32x4.mul(o0, complement(o0))));
      v128.store(gates + 3 * row, f32x4.mul(f32x4.mul(dh1, t1), f32x4.mul(o1, complement(o1))), 16);
      before += 32;
      tanhCell += 32;
      dh += 32;
      dc += 32;
    }
    gates += 4 * <usize>stride - row;
  }
}
