/**
 * Dropout between layers (Zaremba, Sutskever & Vinyals 2014; PyTorch's `nn.LSTM(dropout=p)`): the
 * input of layer k + 1 from layer k is multiplied by a mask of 0 and 1/(1 - p); the recurrent path
 * and the output layer are unaffected. Whether a unit is dropped is a pure function of (seed,
 * round, stream, time step, layer, unit), so every worker uses the same mask for a stream in a
 * round.
 *
 * The function is the counter-based generator Philox4x32-10 (Salmon, Moraes, Dror & Shaw 2011,
 * "Parallel random numbers: as easy as 1, 2, 3"). For k, the layer below the mask, 0 <= k < L - 1:
 *
 *   words = philox(counter = [unit >> 2, t, stream, round], key = [seed, k])
 *   kept if words[unit & 3] >= floor(p * 2^32)
 */

/** Names the masks of a batch. */
export interface DropoutKey {
  /** The run's seed: whole number below 2^32. */
  readonly seed: number;
  /** Whole number below 2^32. */
  readonly round: number;
  /** [B], the number in the run of each stream in the batch. */
  readonly streams: Uint32Array;
}

/** A unit is kept if its word is at least this. `p`: 0 <= p < 1. */
export function dropoutThreshold(p: number): number {
  return Math.floor(p * 2 ** 32);
}

/** The factor of kept units, 1/(1 - p) in float32. */
export function dropoutScale(p: number): number {
  return Math.fround(1 / (1 - p));
}

/**
 * The mask [H] of one layer, stream and time step: 0 or dropoutScale(p). `streams` is the stream's
 * index in `key.streams`.
 */
export function dropoutMask(p: number, key: DropoutKey, layer: number, stream: number, t: number, out: Float32Array): void {
  const threshold = dropoutThreshold(p);
  const scale = dropoutScale(p);
  const words = new Uint32Array(4);
  for (let unit = 0; unit < out.length; unit++) {
    if ((unit & 3) === 0) philox4x32(unit >> 2, t, key.streams[stream], key.round, key.seed, layer, words);
    out[unit] = words[unit & 3] >= threshold ? scale : 0;
  }
}

const MULTIPLIER_0 = 0xd2511f53;
const MULTIPLIER_1 = 0xcd9e8d57;
const WEYL_0 = 0x9e3779b9;
const WEYL_1 = 0xbb67ae85;

/** Philox4x32-10: maps counter [c0..c3] and key [k0, k1] to four words, all unsigned 32 bits. */
export function philox4x32(c0: number, c1: number, c2: number, c3: number, k0: number, k1: number, out: Uint32Array): void {
  for (let round = 0; round < 10; round++) {
    const high0 = multiplyHigh(MULTIPLIER_0, c0);
    const high1 = multiplyHigh(MULTIPLIER_1, c2);
    const low0 = Math.imul(MULTIPLIER_0, c0);
    const low1 = Math.imul(MULTIPLIER_1, c2);
    [c0, c1, c2, c3] = [high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0];
    k0 = (k0 + WEYL_0) | 0;
    k1 = (k1 + WEYL_1) | 0;
  }
  out[0] = c0;
  out[1] = c1;
  out[2] = c2;
  out[3] = c3;
}

/** Upper 32 bits of the unsigned product. */
function multiplyHigh(a: number, b: number): number {
  const aLow = a & 0xffff;
  const aHigh = a >>> 16;
  const bLow = b & 0xffff;
  const bHigh = b >>> 16;
  const middle = aHigh * bLow + ((aLow * bLow) >>> 16);
  const carry = aLow * bHigh + (middle & 0xffff);
  return (aHigh * bHigh + Math.floor(middle / 0x10000) + Math.floor(carry / 0x10000)) | 0;
}
