// The element-wise part of both gated recurrent units. Columns of gates: r, z, n and, if the reset
// gate acts after the product, q = U_n h + b_hn; each [H] floats, rows `stride` floats apart, H a
// multiple of 8. Two adjacent vectors at a time, because some hosts pair them into a wider one.
import { complement, madd, sigmoid, tanh } from './vector';

/**
 * Reset before the product, first half of a time step: r and z from gates + table[ids[b], 3H], and
 * reset[B, H] = r * before[B, H].
 */
export function gruResetForward(
  streams: i32, hidden: i32, stride: i32, gates: usize, table: usize, ids: usize, before: usize, reset: usize,
): void {
  const row: usize = 4 * hidden;
  for (let b = 0; b < streams; b++) {
    let added = table + 3 * row * load<u32>(ids + 4 * b);
    const end = gates + row;
    for (; gates < end; gates += 32) {
      const r0 = sigmoid(f32x4.add(v128.load(gates), v128.load(added)));
      const r1 = sigmoid(f32x4.add(v128.load(gates, 16), v128.load(added, 16)));
      const z0 = sigmoid(f32x4.add(v128.load(gates + row), v128.load(added + row)));
      const z1 = sigmoid(f32x4.add(v128.load(gates + row, 16), v128.load(added + row, 16)));
      v128.store(gates, r0);
      v128.store(gates, r1, 16);
      v128.store(gates + row, z0);
      v128.store(gates + row, z1, 16);
      v128.store(reset, f32x4.mul(r0, v128.load(before)));
      v128.store(reset, f32x4.mul(r1, v128.load(before, 16)), 16);
      added += 32;
      before += 32;
      reset += 32;
    }
    gates += 4 * <usize>stride - row;
  }
}

/**
 * Second half, after U_n (r * h) was added to the gates: n from gates + table, and h[B, H] = n + z
 * (before - n).
 */
export function gruCandidateForward(
  streams: i32, hidden: i32, stride: i32, gates: usize, table: usize, ids: usize, before: usize, h: usize,
): void {
  const row: usize = 4 * hidden;
  for (let b = 0; b < streams; b++) {
    let added = table + 3 * row * load<u32>(ids + 4 * b) + 2 * row;
    const end = gates + row;
    for (; gates < end; gates += 32) {
      const n0 = tanh(f32x4.add(v128.load(gates + 2 * row), v128.load(added)));
      const n1 = tanh(f32x4.add(v128.load(gates + 2 * row, 16), v128.load(added, 16)));
      v128.store(gates + 2 * row, n0);
      v128.store(gates + 2 * row, n1, 16);
      v128.store(h, madd(v128.load(gates + row), f32x4.sub(v128.load(before), n0), n0));
      v128.store(h, madd(v128.load(gates + row, 16), f32x4.sub(v128.load(before, 16), n1), n1), 16);
      added += 32;
      before += 32;
      h += 32;
    }
    gates += 4 * <usize>stride - row;
  }
}

/**
 * One time step back, first half: from dh[B, H], the complete gradient of h, replaces z and n in
 * the gates by the gradients of their pre-activations; dBefore[B, H] += z dh.
 */
export function gruCandidateBackward(
  streams: i32, hidden: i32, stride: i32, gates: usize, before: usize, dh: usize, dBefore: usize,
): void {
  const row: usize = 4 * hidden;
  for (let b = 0; b < streams; b++) {
    const end = gates + row;
    for (; gates < end; gates += 16) {
      const z = v128.load(gates + row);
      const n = v128.load(gates + 2 * row);
      const d = v128.load(dh);
      v128.store(gates + row, zGradient(d, z, n, v128.load(before)));
      v128.store(gates + 2 * row, nGradient(d, z, n));
      v128.store(dBefore, madd(d, z, v128.load(dBefore)));
      before += 16;
      dh += 16;
      dBefore += 16;
    }
    gates += 4 * <usize>stride - row;
  }
}

/**
 * Second half: dReset[B, H] is the gradient of r * before. That of r's pre-activation replaces r;
 * dBefore += r dReset.
 */
export function gruResetBackward(
  streams: i32, hidden: i32, stride: i32, gates: usize, before: usize, dReset: usize, dBefore: usize,
): void {
  const row: usize = 4 * hidden;
  for (let b = 0; b < streams; b++) {
    const end = gates + row;
    for (; gates < end; gates += 16) {
      const r = v128.load(gates);
      const d = v128.load(dReset);
      v128.store(dBefore, madd(d, r, v128.load(dBefore)));
      v128.store(gates, f32x4.mul(f32x4.mul(d, v128.load(before)), f32x4.mul(r, complement(r))));
      before += 16;
      dReset += 16;
      dBefore += 16;
    }
    gates += 4 * <usize>stride - row;
  }
}

/**
 * Reset after the product: one time step. The last column of table[ids[b], 4H] holds b_hn. h[B, H]
 * = n + z (before - n). Column n is read if the input was `projected` into it; else the table
 * holds all that comes from the input.
 */
export function gruAfterForward(
  streams: i32, hidden: i32, stride: i32, gates: usize, table: usize, ids: usize, before: usize, h: usize, projected: bool,
): void {
  const row: usize = 4 * hidden;
  const read = i32x4.splat(projected ? -1 : 0);
  for (let b = 0; b < streams; b++) {
    let added = table + 4 * row * load<u32>(ids + 4 * b);
    const end = gates + row;
    for (; gates < end; gates += 32) {
      const r0 = sigmoid(f32x4.add(v128.load(gates), v128.load(added)));
      const r1 = sigmoid(f32x4.add(v128.load(gates, 16), v128.load(added, 16)));
      const z0 = sigmoid(f32x4.add(v128.load(gates + row), v128.load(added + row)));
      const z1 = sigmoid(f32x4.add(v128.load(gates + row, 16), v128.load(added + row, 16)));
      const q0 = f32x4.add(v128.load(gates + 3 * row), v128.load(added + 3 * row));
      const q1 = f32x4.add(v128.load(gates + 3 * row, 16), v128.load(added + 3 * row, 16));
      const a0 = f32x4.add(v128.and(v128.load(gates + 2 * row), read), v128.load(added + 2 * row));
      const a1 = f32x4.add(v128.and(v128.load(gates + 2 * row, 16), read), v128.load(added + 2 * row, 16));
      const n0 = tanh(madd(r0, q0, a0));
      const n1 = tanh(madd(r1, q1, a1));
      v128.store(gates, r0);
      v128.store(gates, r1, 16);
      v128.store(gates + row, z0);
      v128.store(gates + row, z1, 16);
      v128.store(gates + 2 * row, n0);
      v128.store(gates + 2 * row, n1, 16);
      v128.store(gates + 3 * row, q0);
      v128.store(gates + 3 * row, q1, 16);
      v128.store(h, madd(z0, f32x4.sub(v128.load(before), n0), n0));
      v128.store(h, madd(z1, f32x4.sub(v128.load(before, 16), n1), n1), 16);
      added += 32;
      before += 32;
      h += 32;
    }
    gates += 4 * <usize>stride - row;
  }
}

/**
 * One time step back: replaces r, z, n and q in the gates by their gradients; dBefore[B, H] += z
 * dh.
 */
export function gruAfterBackward(
  streams: i32, hidden: i32, stride: i32, gates: usize, before: usize, dh: usize, dBefore: usize,
): void {
  const row: usize = 4 * hidden;
  for (let b = 0; b < streams; b++) {
    const end = gates + row;
    for (; gates < end; gates += 16) {
      const r = v128.load(gates);
      const z = v128.load(gates + row);
      const n = v128.load(gates + 2 * row);
      const q = v128.load(gates + 3 * row);
      const d = v128.load(dh);
      const dn = nGradient(d, z, n);
      v128.store(gates, f32x4.mul(f32x4.mul(dn, q), f32x4.mul(r, complement(r))));
      v128.store(gates + row, zGradient(d, z, n, v128.load(before)));
      v128.store(gates + 2 * row, dn);
      v128.store(gates + 3 * row, f32x4.mul(dn, r));
      v128.store(dBefore, madd(d, z, v128.load(dBefore)));
      before += 16;
      dh += 16;
      dBefore += 16;
    }
    gates += 4 * <usize>stride - row;
  }
}

// @ts-ignore: decorator
@inline
function zGradient(dh: v128, z: v128, n: v128, before: v128): v128 {
  return f32x4.mul(f32x4.mul(dh, f32x4.sub(before, n)), f32x4.mul(z, complement(z)));
}

// @ts-ignore: decorator
@inline
function nGradient(dh: v128, z: v128, n: v128): v128 {
  return f32x4.mul(f32x4.mul(dh, complement(z)), complement(f32x4.mul(n, n)));
}
