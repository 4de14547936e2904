// The element-wise part of Elman's network. Rows of gates are [H] floats, `stride` floats apart; H
// a multiple of 8.
import { relu, tanh } from './vector';

/** One time step: h[B, H] = tanh(gates + table[ids[b]]). */
export function rnnTanhForward(streams: i32, hidden: i32, stride: i32, gates: usize, table: usize, ids: usize, h: usize): void {
  const row: usize = 4 * hidden;
  for (let b = 0; b < streams; b++) {
    const added = table + row * load<u32>(ids + 4 * b);
    for (let j: usize = 0; j < row; j += 32) {
      const h0 = tanh(f32x4.add(v128.load(gates + j), v128.load(added + j)));
      const h1 = tanh(f32x4.add(v128.load(gates + j, 16), v128.load(added + j, 16)));
      v128.store(h + j, h0);
      v128.store(h + j, h1, 16);
    }
    h += row;
    gates += 4 * <usize>stride;
  }
}

/** One time step: h[B, H] = max(0, gates + table[ids[b]]). */
export function rnnReluForward(streams: i32, hidden: i32, stride: i32, gates: usize, table: usize, ids: usize, h: usize): void {
  const row: usize = 4 * hidden;
  for (let b = 0; b < streams; b++) {
    const added = table + row * load<u32>(ids + 4 * b);
    for (let j: usize = 0; j < row; j += 16) v128.store(h + j, relu(f32x4.add(v128.load(gates + j), v128.load(added + j))));
    h += row;
    gates += 4 * <usize>stride;
  }
}

/**
 * gates[B, H] = gradient of the pre-activations, from h[B, H] after the step and its complete
 * gradient dh[B, H].
 */
export function rnnTanhBackward(streams: i32, hidden: i32, stride: i32, gates: usize, h: usize, dh: usize): void {
  const row: usize = 4 * hidden;
  for (let b = 0; b < streams; b++) {
    for (let j: usize = 0; j < row; j += 16) {
      const y = v128.load(h + j);
      v128.store(gates + j, f32x4.mul(v128.load(dh + j), f32x4.sub(f32x4.splat(1), f32x4.mul(y, y))));
    }
    h += row;
    dh += row;
    gates += 4 * <usize>stride;
  }
}

/** Like rnnTanhBackward; the slope is 0 where h is 0. */
export function rnnReluBackward(streams: i32, hidden: i32, stride: i32, gates: usize, h: usize, dh: usize): void {
  const row: usize = 4 * hidden;
  for (let b = 0; b < streams; b++) {
    for (let j: usize = 0; j < row; j += 16) {
      v128.store(gates + j, v128.and(v128.load(dh + j), f32x4.gt(v128.load(h + j), f32x4.splat(0))));
    }
    h += row;
    dh += row;
    gates += 4 * <usize>stride;
  }
}
