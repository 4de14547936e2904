/** Numbers in half precision (IEEE 754 binary16): 5 bits of exponent, 10 of fraction. */

const cell = new Float32Array(1);
const bits = new Int32Array(cell.buffer);

/** Rounds a float32 to a half, to nearest even; from 65520 on to infinity; every NaN becomes 0x7e00. */
export function halfOfFloat(value: number): number {
  cell[0] = value;
  return halfOfBits(bits[0]);
}

/** Rounds float32 bits to a half, to nearest even; every NaN becomes 0x7e00. */
function halfOfBits(bits: number): number {
  const magnitude = bits & 0x7fffffff;
  const sign = (bits >>> 16) & 0x8000;
  if (magnitude > 0x7f800000) return 0x7e00;
  if (magnitude >= 0x477ff000) return sign | 0x7c00;
  if (magnitude >= 0x38800000) return sign | ((magnitude - 0x38000000 + 0xfff + ((magnitude >>> 13) & 1)) >>> 13);
  // The last bit of a subnormal half stands for 2^-24.
  const value = magnitude >>> 23 === 0 ? 0 : ((magnitude & 0x7fffff) | 0x800000) * 2 ** ((magnitude >>> 23) - 150 + 24);
  const down = Math.floor(value);
  const rest = value - down;
  const up = rest > 0.5 || (rest === 0.5 && (down & 1) === 1);
  return sign | (down + (up ? 1 : 0));
}

export function floatOfHalf(half: number): number {
  const sign = half & 0x8000 ? -1 : 1;
  const exponent = (half >>> 10) & 31;
  const fraction = half & 0x3ff;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return exponent === 0 ? sign * fraction * 2 ** -24 : sign * (0x400 + fraction) * 2 ** (exponent - 25);
}
