/**
 * Dense products on row-major matrices, in the most readable order of summation. A matrix's shape
 * follows from its operands.
 */

/** out [M] += W [M, N] x [N]; returns out. */
export function addProduct(W: Float64Array, x: Float64Array, out: Float64Array): Float64Array {
  const N = x.length;
  for (let m = 0; m < out.length; m++) {
    let sum = 0;
    for (let n = 0; n < N; n++) sum += W[m * N + n] * x[n];
    out[m] += sum;
  }
  return out;
}

/** W [M, N] x [N] + bias [M]. */
export function affine(W: Float64Array, x: Float64Array, bias: Float64Array): Float64Array {
  return addProduct(W, x, bias.slice());
}

/** dx [N] += W^T dy, with W [M, N] and dy [M]. */
export function addTransposed(W: Float64Array, dy: Float64Array, dx: Float64Array): void {
  const N = dx.length;
  for (let m = 0; m < dy.length; m++) {
    for (let n = 0; n < N; n++) dx[n] += W[m * N + n] * dy[m];
  }
}

/** dW [M, N] += dy [M] x^T [N]. */
export function addOuter(dy: Float64Array, x: Float64Array, dW: Float64Array): void {
  const N = x.length;
  for (let m = 0; m < dy.length; m++) {
    for (let n = 0; n < N; n++) dW[m * N + n] += dy[m] * x[n];
  }
}

/** out [N] += x [N]. */
export function add(x: Float64Array, out: Float64Array): void {
  for (let n = 0; n < out.length; n++) out[n] += x[n];
}
