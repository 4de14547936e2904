import { INT8_BLOCK, INT8_NOT_FINITE, MAX_INT8_EXPONENT, MIN_INT8_EXPONENT, type RoundingKey } from './int8.js';
import type { Kernels } from './kernels.js';
import { philox4x32 } from './philox.js';

const { fround } = Math;

/** Second word of the generator's key: "int8" in ASCII. */
const DOMAIN = 0x696e7438;
/** Of Philox. */
const ROUNDS = 7;

type Int8Kernels = Pick<Kernels, 'encodeInt8' | 'addInt8' | 'storeInt8' | 'maxMagnitudeInt8'>;

/** The int8 kernels in plain TypeScript. */
export function int8Kernels(buffer: ArrayBuffer): Int8Kernels {
  const [f32, f64, i8] = [new Float32Array(buffer), new Float64Array(buffer), new Int8Array(buffer)];
  const decoded = (exponents: number, values: number, i: number): number =>
    i8[values + i] * 2 ** i8[exponents + Math.floor(i / INT8_BLOCK)];
  return {
    encodeInt8(source, n, seed, round, stream, first, index, exponents, values) {
      const noise = noiseOf({ seed, round, stream, first });
      for (let from = 0; from < n; from += INT8_BLOCK) {
        const block = f32.subarray((source >>> 2) + from, (source >>> 2) + Math.min(n, from + INT8_BLOCK));
        const exponent = exponentFor(block);
        i8[exponents + from / INT8_BLOCK] = exponent;
        const at = values + from;
        if (exponent === INT8_NOT_FINITE) i8.fill(0, at, at + block.length);
        else block.forEach((x, i) => (i8[at + i] = quantize(x, exponent, noise(index + from + i))));
      }
    },
    addInt8(sum, exponents, values, n) {
      for (let i = 0; i < n; i++) f64[(sum >>> 3) + i] += decoded(exponents, values, i);
    },
    storeInt8(sum, exponents, values, n) {
      for (let i = 0; i < n; i++) f64[(sum >>> 3) + i] = 0 + decoded(exponents, values, i);
    },
    maxMagnitudeInt8(source, n) {
      return i8.subarray(source, source + n).reduce((most, x) => Math.max(most, Math.abs(x)), 0);
    },
  };
}

/** The smallest exponent e with |x| <= 127 * 2^e for all of the block, or INT8_NOT_FINITE. */
function exponentFor(block: Float32Array): number {
  const most = block.reduce((largest, x) => Math.max(largest, Math.abs(x)), 0);
  if (!(most <= 127 * 2 ** MAX_INT8_EXPONENT)) return INT8_NOT_FINITE;
  let exponent = MIN_INT8_EXPONENT;
  while (most > 127 * 2 ** exponent) exponent++;
  return exponent;
}

/** x / 2^exponent in 15 binary places, plus the noise, cut to an integer. */
function quantize(x: number, exponent: number, noise: number): number {
  // Adding 1.5 * 2^23 in float32 rounds to an integer.
  const shift = 12_582_912;
  const fixed = fround(fround(x * 2 ** (15 - exponent)) + shift) - shift;
  return (fixed + noise) >> 15;
}

/** The 15 bits of noise for the value at an index. */
function noiseOf({ seed, round, stream, first }: RoundingKey): (index: number) => number {
  const words = new Uint32Array(4);
  return (index) => {
    philox4x32(ROUNDS, 4 * (index >>> 5) + (index & 3), first, stream, round, seed, DOMAIN, words);
    const word = words[(index >>> 2) & 3];
    return index & 16 ? word & 0x7fff : word >>> 17;
  };
}
