/**
 * Vectors in int8. Each block of 256 consecutive values (the last may be shorter) has one exponent
 * e, so that a value is q * 2^e with q in [-127, 127]: exact in float32. e is the smallest with
 * |x| <= 127 * 2^e for the whole block, but at least -100, so nothing saturates.
 *
 * Rounding is random and unbiased. x / 2^e is taken to 15 binary places (to nearest even), noise of
 * 15 random bits below 1 is added, and the sum is cut to an integer: the mean of q over all noises
 * is the number in 15 places. A number that is a whole multiple of 2^e stays as it is.
 *
 * The noise is a pure function of the key and of the value's place, so every worker that encodes
 * the same gradient of the same lease writes the same bytes. For value i of a segment, in groups of 32 that
 * share four counters:
 *
 *   counter = [4 * (i >> 5) + (i & 3), first, stream, round], key = [seed, 0x696e7438]
 *   word = philox4x32-7(counter, key)[(i >> 2) & 3]
 *   noise = i & 16 ? word & 0x7fff : word >>> 17
 */

/** Values that share an exponent. */
export const INT8_BLOCK = 256;
/** Exponents between which q * 2^e is a normal float32 for every q. */
export const MIN_INT8_EXPONENT = -100;
export const MAX_INT8_EXPONENT = 120;
/**
 * The exponent of a block that holds a NaN, an infinity or a magnitude above 127 * 2^120. Its
 * values are zeros, and a receiver must not use it.
 */
export const INT8_NOT_FINITE = -128;

/** Part of a vector in int8. */
export interface ScaledBytes {
  readonly values: Int8Array;
  /** One for each block of 256 values. */
  readonly exponents: Int8Array;
}

/** What the noise of stochastic rounding depends on. All are whole numbers below 2^32. */
export interface RoundingKey {
  /** The run's seed. */
  readonly seed: number;
  readonly round: number;
  /** Lowest stream of the lease. */
  readonly stream: number;
  /** Index of the segment's first value among all parameters. */
  readonly first: number;
}

export function isInt8Exponent(exponent: number): boolean {
  return exponent >= MIN_INT8_EXPONENT && exponent <= MAX_INT8_EXPONENT;
}

/** The values in float32, which are exact. One power for each block: one for each value would take longer than a gradient. */
export function decodeInt8({ values, exponents }: ScaledBytes): Float32Array {
  const decoded = new Float32Array(values.length);
  for (let block = 0; block < exponents.length; block++) {
    const scale = 2 ** exponents[block];
    const end = Math.min(values.length, (block + 1) * INT8_BLOCK);
    for (let i = block * INT8_BLOCK; i < end; i++) decoded[i] = values[i] * scale;
  }
  return decoded;
}

/** Exponents of a vector of `length` values. */
export function int8Blocks(length: number): number {
  return Math.ceil(length / INT8_BLOCK);
}
