import { sigmoid, vectors, type RecurrentCell } from './cell.js';
import { add, addOuter, addProduct, addTransposed } from './linear-algebra.js';

/**
 * Gated recurrent unit, the reset gate before the matrix product (Cho et al. 2014). Gate rows r,
 * z, n, where n is the candidate h~ and z keeps the old state, as in PyTorch:
 *
 *   r = sigmoid(a_r + U_r h),  z = sigmoid(a_z + U_z h),  n = tanh(a_n + U_n (r * h))
 *   h' = (1 - z) * n + z * h
 */
export const gruCell: RecurrentCell = {
  /** r, z, n, r * h. */
  savedVectors: 4,

  forward({ weightHh }, { fromInput, before: h, after, saved }) {
    const H = h.length;
    const resetAndUpdate = addProduct(weightHh.subarray(0, 2 * H * H), h, vectors(fromInput, H, 0, 2));
    saved.set(resetAndUpdate.map(sigmoid));
    const resetState = vectors(saved, H, 3);
    for (let j = 0; j < H; j++) resetState[j] = saved[j] * h[j];
    const candidate = addProduct(weightHh.subarray(2 * H * H), resetState, vectors(fromInput, H, 2));
    saved.set(candidate.map(Math.tanh), 2 * H);
    blend(h, saved, after);
  },

  backward({ weightHh }, { before: h, saved, dAfter, dFromInput, dBefore }, gradient) {
    const H = h.length;
    blendBackward(h, saved, dAfter, dFromInput, dBefore);
    const dCandidate = vectors(dFromInput, H, 2);
    const dResetState = new Float64Array(H);
    addTransposed(weightHh.subarray(2 * H * H), dCandidate, dResetState);
    addOuter(dCandidate, vectors(saved, H, 3), gradient.weightHh.subarray(2 * H * H));
    for (let j = 0; j < H; j++) {
      const r = saved[j];
      dFromInput[j] = dResetState[j] * h[j] * r * (1 - r);
      dBefore[j] += dResetState[j] * r;
    }
    const dResetAndUpdate = vectors(dFromInput, H, 0, 2);
    addTransposed(weightHh.subarray(0, 2 * H * H), dResetAndUpdate, dBefore);
    addOuter(dResetAndUpdate, h, gradient.weightHh.subarray(0, 2 * H * H));
  },
};

/**
 * Gated recurrent unit, the reset gate after the matrix product: torch.nn.GRU and cuDNN.
 *
 *   r, z, h' as above,  n = tanh(a_n + r * (U_n h + b_hn))
 */
export const gruResetAfterCell: RecurrentCell = {
  /** r, z, n, U_n h + b_hn. */
  savedVectors: 4,

  forward({ weightHh, biasHn }, { fromInput, before: h, after, saved }) {
    const H = h.length;
    const resetAndUpdate = addProduct(weightHh.subarray(0, 2 * H * H), h, vectors(fromInput, H, 0, 2));
    saved.set(resetAndUpdate.map(sigmoid));
    const gated = vectors(saved, H, 3);
    gated.set(biasHn);
    addProduct(weightHh.subarray(2 * H * H), h, gated);
    for (let j = 0; j < H; j++) saved[2 * H + j] = Math.tanh(fromInput[2 * H + j] + saved[j] * gated[j]);
    blend(h, saved, after);
  },

  backward({ weightHh }, { before: h, saved, dAfter, dFromInput, dBefore }, gradient) {
    const H = h.length;
    blendBackward(h, saved, dAfter, dFromInput, dBefore);
    /** d(loss)/d(U h + [0, 0, b_hn]). */
    const dFromHidden = new Float64Array(3 * H);
    for (let j = 0; j < H; j++) {
      const r = saved[j];
      const dCandidate = dFromInput[2 * H + j];
      dFromInput[j] = dCandidate * saved[3 * H + j] * r * (1 - r);
      dFromHidden[2 * H + j] = dCandidate * r;
    }
    dFromHidden.set(vectors(dFromInput, H, 0, 2));
    addTransposed(weightHh, dFromHidden, dBefore);
    addOuter(dFromHidden, h, gradient.weightHh);
    add(vectors(dFromHidden, H, 2), gradient.biasHn);
  },
};

/** h' = (1 - z) * n + z * h */
function blend(h: Float64Array, saved: Float64Array, after: Float64Array): void {
  const H = h.length;
  for (let j = 0; j < H; j++) {
    const z = saved[H + j];
    after[j] = (1 - z) * saved[2 * H + j] + z * h[j];
  }
}

/**
 * The gradients that flow back through h': to the update gate, the candidate and, by the direct
 * path, h.
 */
function blendBackward(
  h: Float64Array,
  saved: Float64Array,
  dAfter: Float64Array,
  dFromInput: Float64Array,
  dBefore: Float64Array,
): void {
  const H = h.length;
  for (let j = 0; j < H; j++) {
    const [z, n] = [saved[H + j], saved[2 * H + j]];
    dFromInput[H + j] = dAfter[j] * (h[j] - n) * z * (1 - z);
    dFromInput[2 * H + j] = dAfter[j] * (1 - z) * (1 - n * n);
    dBefore[j] = dAfter[j] * z;
  }
}
