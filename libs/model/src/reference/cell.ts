/**
 * What a recurrent cell does in one time step of one stream. The layer around it does all matrix products: it hands the cell
 *
 *   fromInput  [G] = weight_ih x + bias_ih
 *   fromHidden [G] = weight_hh h
 *
 * kept apart because a GRU gates `fromHidden` before it adds the two. Everything here is element-wise over H.
 */
export interface RecurrentCell {
  /** G / H. */
  readonly gates: number;
  /** S, vectors of H in a layer's state; the first is h, the cell's output. */
  readonly stateVectors: number;
  /** Vectors of H that `forward` leaves for `backward`. */
  readonly savedVectors: number;
  /** `before` [S, H] -> `after` [S, H], `saved` [savedVectors, H]. */
  forward(
    H: number,
    fromInput: Float64Array,
    fromHidden: Float64Array,
    before: Float64Array,
    after: Float64Array,
    saved: Float64Array,
  ): void;
  /**
   * d(loss)/d(after) [S, H] -> d(loss)/d(fromInput) [G], d(loss)/d(fromHidden) [G], d(loss)/d(before) [S, H]. All three are
   * overwritten. `dBefore` leaves out what flows through `fromHidden`: the layer adds weight_hh^T dFromHidden to its h.
   */
  backward(H: number, step: CellBackward): void;
}

export interface CellBackward {
  readonly before: Float64Array;
  readonly saved: Float64Array;
  readonly dAfter: Float64Array;
  readonly dFromInput: Float64Array;
  readonly dFromHidden: Float64Array;
  readonly dBefore: Float64Array;
}

const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x));

/**
 * Long short-term memory with a forget gate (Hochreiter & Schmidhuber 1997; Gers, Schmidhuber & Cummins 2000). Gate rows in
 * PyTorch's order i, f, g, o, where g is the candidate c~:
 *
 *   C' = f * C + i * g,   h' = o * tanh(C')
 */
export const lstmCell: RecurrentCell = {
  gates: 4,
  stateVectors: 2,
  /** i, f, g, o, tanh(C'). */
  savedVectors: 5,

  forward(H, fromInput, fromHidden, before, after, saved) {
    for (let j = 0; j < H; j++) {
      const i = sigmoid(fromInput[j] + fromHidden[j]);
      const f = sigmoid(fromInput[H + j] + fromHidden[H + j]);
      const g = Math.tanh(fromInput[2 * H + j] + fromHidden[2 * H + j]);
      const o = sigmoid(fromInput[3 * H + j] + fromHidden[3 * H + j]);
      const memory = f * before[H + j] + i * g;
      const squashed = Math.tanh(memory);
      after[j] = o * squashed;
      after[H + j] = memory;
      saved[j] = i;
      saved[H + j] = f;
      saved[2 * H + j] = g;
      saved[3 * H + j] = o;
      saved[4 * H + j] = squashed;
    }
  },

  backward(H, { before, saved, dAfter, dFromInput, dFromHidden, dBefore }) {
    for (let j = 0; j < H; j++) {
      const [i, f, g, o, squashed] = [saved[j], saved[H + j], saved[2 * H + j], saved[3 * H + j], saved[4 * H + j]];
      const dMemory = dAfter[H + j] + dAfter[j] * o * (1 - squashed * squashed);
      dFromInput[j] = dMemory * g * i * (1 - i);
      dFromInput[H + j] = dMemory * before[H + j] * f * (1 - f);
      dFromInput[2 * H + j] = dMemory * i * (1 - g * g);
      dFromInput[3 * H + j] = dAfter[j] * squashed * o * (1 - o);
      dBefore[j] = 0;
      dBefore[H + j] = dMemory * f;
    }
    dFromHidden.set(dFromInput);
  },
};
