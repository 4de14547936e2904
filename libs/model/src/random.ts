/**
 * PCG32 (XSH-RR 64/32; O'Neill, "PCG: A Family of Simple Fast Space-Efficient Statistically Good
 * Algorithms for Random Number Generation", 2014), in 32-bit integer arithmetic only, so that
 * every host draws the same bits. The 64-bit state steps by state = state * 6364136223846793005 +
 * increment; a different odd increment is a different, independent stream.
 */

export interface Random {
  /** A whole number in 0 .. 2^32 - 1. */
  uint32(): number;
  /** A number in [0, 1): uint32 / 2^32, exact. */
  uniform(): number;
}

const MULTIPLIER_HIGH = 0x5851f42d;
const MULTIPLIER_LOW = 0x4c957f2d;

/**
 * @param seed whole number below 2^32. @param stream whole number below 2^32; each stream of a
 * seed has its own numbers.
 */
export function createRandom(seed: number, stream = 0): Random {
  const random = new Pcg32(0, 0, stream >>> 31, (stream << 1) | 1);
  random.uint32();
  random.add(seed);
  random.uint32();
  return random;
}

class Pcg32 implements Random {
  #high: number;
  #low: number;
  readonly #incrementHigh: number;
  readonly #incrementLow: number;

  constructor(high: number, low: number, incrementHigh: number, incrementLow: number) {
    this.#high = high >>> 0;
    this.#low = low >>> 0;
    this.#incrementHigh = incrementHigh >>> 0;
    this.#incrementLow = incrementLow >>> 0;
  }

  uint32(): number {
    const high = this.#high;
    const low = this.#low;
    this.#step();
    // Output of the old state: bits 27..58 of (state >> 18) ^ state, rotated right by the top five
    // bits.
    const mixedHigh = (high >>> 18) ^ high;
    const mixedLow = ((low >>> 18) | (high << 14)) ^ low;
    const word = (mixedLow >>> 27) | (mixedHigh << 5);
    const turn = high >>> 27;
    return ((word >>> turn) | (word << (-turn & 31))) >>> 0;
  }

  uniform(): number {
    return this.uint32() / 0x1_0000_0000;
  }

  add(word: number): void {
    const low = this.#low + (word >>> 0);
    this.#high = (this.#high + (low > 0xffffffff ? 1 : 0)) >>> 0;
    this.#low = low >>> 0;
  }

  #step(): void {
    const high =
      Math.imul(this.#low, MULTIPLIER_HIGH) + Math.imul(this.#high, MULTIPLIER_LOW) + highWord(this.#low, MULTIPLIER_LOW);
    this.#low = Math.imul(this.#low, MULTIPLIER_LOW) >>> 0;
    this.#high = (high + this.#incrementHigh) >>> 0;
    this.add(this.#incrementLow);
  }
}

/** Upper 32 bits of the product of two unsigned 32-bit words. Every sum stays below 2^53. */
function highWord(a: number, b: number): number {
  const [aHigh, aLow, bHigh, bLow] = [a >>> 16, a & 0xffff, b >>> 16, b & 0xffff];
  const middle = aHigh * bLow + ((aLow * bLow) >>> 16);
  const cross = aLow * bHigh + (middle & 0xffff);
  return aHigh * bHigh + Math.floor(middle / 0x10000) + Math.floor(cross / 0x10000);
}
