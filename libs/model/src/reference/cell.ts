/** Views into one flat vector: parameters or their gradient. */
export interface Layer {
  /** [G, I], I = k ? H : E or V. */
  readonly weightIh: Float64Array;
  /** [G, H] */
  readonly weightHh: Float64Array;
  /** [G] */
  readonly biasIh: Float64Array;
  /** [H] of a gru-reset-after, else empty. */
  readonly biasHn: Float64Array;
}

/**
 * What a recurrent cell does in one time step of one stream. The layer around it multiplies by
 * weight_ih and passes `fromInput` [G] = weight_ih x + bias_ih; the cell itself does everything
 * recurrent, because a GRU applies a gate in the middle of it.
 */
export interface RecurrentCell {
  /** Vectors of H that `forward` saves for `backward`. */
  readonly savedVectors: number;
  forward(layer: Layer, step: CellStep): void;
  /**
   * d(loss)/d(after) [S, H] -> d(loss)/d(fromInput) [G] and d(loss)/d(before) [S, H], both
   * overwritten. Adds the gradients of weight_hh and bias_hn to `gradient`.
   */
  backward(layer: Layer, step: CellBackward, gradient: Layer): void;
}

export interface CellStep {
  readonly fromInput: Float64Array;
  /** [S, H] */
  readonly before: Float64Array;
  /** [S, H], written. */
  readonly after: Float64Array;
  /** [savedVectors, H], written. */
  readonly saved: Float64Array;
}

export interface CellBackward {
  readonly before: Float64Array;
  readonly after: Float64Array;
  readonly saved: Float64Array;
  readonly dAfter: Float64Array;
  readonly dFromInput: Float64Array;
  readonly dBefore: Float64Array;
}

export const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x));

/** `count` vectors of H, from vector `first` on. */
export function vectors(array: Float64Array, H: number, first: number, count = 1): Float64Array {
  return array.subarray(first * H, (first + count) * H);
}
