import { describe, expect, it } from 'vitest';
import {
  createVectorMemory,
  INT8_NOT_FINITE,
  int8Blocks,
  vectorMemoryBytes,
  type KernelKind,
  type RoundingKey,
  type ScaledBytes,
  type VectorMemory,
} from '../src/index.js';
import { philox4x32 } from '../src/philox.js';
import { randomWords } from './random-words.js';

/** Longer than a staging block, with a short last block and a tail that fills no group. */
const LENGTH = 16_384 + 4_099;
const KINDS: readonly KernelKind[] = ['wasm', 'typescript'];
const KEY: RoundingKey = { seed: 0xfedcba98, round: 7, stream: 3, first: 123_456 };

function encode(memory: VectorMemory, source: Float32Array, key: RoundingKey = KEY): ScaledBytes {
  const target = { values: new Int8Array(source.length), exponents: new Int8Array(int8Blocks(source.length)) };
  memory.encodeInt8(source, key, target);
  return target;
}

function decode({ values, exponents }: ScaledBytes): Float64Array {
  return Float64Array.from(values, (q, i) => q * 2 ** exponents[i >> 8]);
}

/** Like a gradient: bell-shaped, with blocks of very different sizes. */
function gradient(length: number, seed: number): Float32Array {
  const next = randomWords(seed);
  const bell = () => Array.from({ length: 6 }, () => next() / 2 ** 31 - 1).reduce((a, b) => a + b);
  return Float32Array.from({ length }, (_, i) => bell() * 2 ** (((i >> 8) % 40) - 30));
}

/** Random bit patterns: every exponent, subnormals, infinities and NaNs among them. */
function wildFloats(length: number, seed: number): Float32Array {
  const words = Uint32Array.from({ length }, randomWords(seed));
  words.set([0, 0x80000000, 1, 0x007fffff, 0x7f800000, 0xff800000, 0x7fc00000, 0x7fffffff], 700);
  return new Float32Array(words.buffer);
}

describe('philox4x32-7', () => {
  // Known answers published with the generator (Random123, kat_vectors).
  it.each([
    [0, '5f6fb709 0d893f64 4f121f81 4f730a48'],
    [0xffffffff, '5207ddc2 45165e59 4d8ee751 8c52f662'],
  ])('maps a counter and a key of words %i to the published words', (word, expected) => {
    const out = new Uint32Array(4);
    philox4x32(7, word, word, word, word, word, word, out);
    expect([...out].map((each) => each.toString(16).padStart(8, '0')).join(' ')).toBe(expected);
  });
});

describe.each(KINDS)('int8 in %s', (kind) => {
  const memory = createVectorMemory(vectorMemoryBytes({ float64: [LENGTH], int8: [LENGTH, int8Blocks(LENGTH)] }), kind);
  const sum = memory.allocateFloat64(LENGTH);
  const resident = memory.allocateInt8(LENGTH);
  const residentExponents = memory.allocateInt8(int8Blocks(LENGTH));

  it('rounds each value to a neighbouring multiple of its scale, the scale being the least that holds the block', () => {
    const source = gradient(LENGTH, 1);
    const coded = encode(memory, source);
    const decoded = decode(coded);
    for (const [block, exponent] of coded.exponents.entries()) {
      const values = source.subarray(block * 256, block * 256 + 256);
      const largest = values.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
      expect(largest).toBeLessThanOrEqual(127 * 2 ** exponent);
      expect(largest).toBeGreaterThan(127 * 2 ** (exponent - 1));
    }
    source.forEach((x, i) => expect(Math.abs(decoded[i] - x)).toBeLessThan(2 ** coded.exponents[i >> 8]));
  });

  it('keeps multiples of the scale, and never saturates', () => {
    const source = Float32Array.from({ length: 255 }, (_, i) => (i - 127) * 2 ** -9);
    for (let round = 0; round < 50; round++) {
      const { values, exponents } = encode(memory, source, { ...KEY, round });
      expect([...values]).toEqual(Array.from({ length: 255 }, (_, i) => i - 127));
      expect([...exponents]).toEqual([-9]);
    }
    const above = Float32Array.of(Math.fround(127.00001), -0.25);
    expect(encode(memory, above).exponents[0]).toBe(1);
  });

  it('is unbiased: over many keys the mean is the value', () => {
    const draws = 4_000;
    const source = Float32Array.from({ length: 40 }, (_, i) => (i === 39 ? 100 : Math.sin(i) * 2 ** -(i % 11)));
    const total = new Float64Array(40);
    for (let round = 0; round < draws; round++)
      decode(encode(memory, source, { ...KEY, round })).forEach((x, i) => (total[i] += x));
    source.forEach((x, i) => {
      const chance = Math.abs(x) - Math.floor(Math.abs(x));
      // Five standard deviations, and the rounding to 15 binary places.
      const bound = 5 * Math.sqrt((chance * (1 - chance)) / draws) + 2 ** -16;
      expect(Math.abs(total[i] / draws - x), `value ${i}`).toBeLessThanOrEqual(bound);
    });
  });

  it('is unbiased over the values of a vector as well, with noise that fills the interval', () => {
    const source = new Float32Array(LENGTH).fill(0.3);
    for (let i = 0; i < LENGTH; i += 256) source[i] = 127;
    const others = [...encode(memory, source).values].filter((_, i) => i % 256 !== 0);
    const mean = others.reduce((a, b) => a + b) / others.length;
    expect(Math.abs(mean - 0.3)).toBeLessThan(5 * Math.sqrt((0.3 * 0.7) / others.length));
  });

  it('draws other noise for another seed, round, stream, and place of the segment, and the same for the same', () => {
    const source = gradient(1_000, 2);
    const values = (change: Partial<RoundingKey>) => encode(memory, source, { ...KEY, ...change }).values;
    const first = values({});
    expect(values({})).toEqual(first);
    for (const change of [{ seed: 1 }, { round: 8 }, { stream: 4 }, { first: 123_457 }]) {
      const differing = values(change).filter((q, i) => q !== first[i]).length;
      expect(differing, JSON.stringify(change)).toBeGreaterThan(200);
    }
  });

  it('marks a block that holds a NaN, an infinity or too large a value, and no other block', () => {
    for (const bad of [NaN, Infinity, -Infinity, 2 ** 127, wildFloats(800, 1)[707]]) {
      for (const at of [0, 255, 300, 511]) {
        const source = gradient(600, 3);
        source[at] = bad;
        const { values, exponents } = encode(memory, source);
        const block = at >> 8;
        expect([...exponents].map((exponent) => exponent === INT8_NOT_FINITE)).toEqual([0, 1, 2].map((k) => k === block));
        expect(values.subarray(block * 256, block * 256 + 256).every((q) => q === 0)).toBe(true);
      }
    }
  });

  it('adds its values exactly, from this and from another memory, to a fresh and to an old sum', () => {
    const coded = encode(memory, gradient(LENGTH, 4));
    const decoded = decode(coded).map((x) => x + 0);
    resident.set(coded.values);
    residentExponents.set(coded.exponents);
    for (const addend of [coded, { values: resident, exponents: residentExponents }]) {
      memory.add(sum.fill(NaN), [addend], true);
      expect(sum).toEqual(decoded);
      memory.add(sum, [addend], false);
      expect(sum).toEqual(decoded.map((x) => 2 * x));
    }
    const parts = [0, 5, 4_099, LENGTH].slice(0, -1).map((from, k) => {
      return encode(memory, gradient(LENGTH, 5).subarray(from, [5, 4_099, LENGTH][k]));
    });
    const { largest } = memory.addLast(sum, parts, true);
    expect([...sum]).toEqual(parts.flatMap((part) => [...decode(part)].map((x) => x + 0)));
    expect(largest).toEqual(parts.map((part) => Math.max(...decode(part).map(Math.abs))));
  });

  it('gives the same sum in every order', () => {
    const addends = [6, 7, 8, 9, 10].map((seed) => encode(memory, gradient(LENGTH, seed), { ...KEY, round: seed }));
    const sums = [addends, addends.toReversed()].map((order) => {
      order.forEach((addend, k) => memory.add(sum, [addend], k === 0));
      return sum.slice();
    });
    expect(sums[0]).toEqual(sums[1]);
  });

  it('writes into its own memory as into another', () => {
    const source = gradient(LENGTH, 11);
    memory.encodeInt8(source, KEY, { values: resident, exponents: residentExponents });
    const other = encode(memory, source);
    expect(resident).toEqual(other.values);
    expect(residentExponents).toEqual(other.exponents);
  });

  it('finds a -128 when it loads values', () => {
    const source = new Int8Array(LENGTH).fill(-127);
    expect(memory.load(source, resident)).toBe(127);
    expect(resident).toEqual(source);
    for (const at of [0, 17, 16_384, LENGTH - 1]) expect(memory.load(source.with(at, -128), resident)).toBe(128);
    expect(memory.maxMagnitude(new Int8Array(0))).toBe(0);
  });

  it('rejects vectors of other lengths', () => {
    const target = { values: new Int8Array(257), exponents: new Int8Array(1) };
    expect(() => memory.encodeInt8(new Float32Array(257), KEY, target)).toThrow(expect.objectContaining({ code: 'bad_length' }));
    expect(() => memory.encodeInt8(new Float32Array(256), KEY, target)).toThrow(expect.objectContaining({ code: 'bad_length' }));
  });
});

describe('wasm and TypeScript kernels give the same bits in int8', () => {
  it.each([
    ['a gradient', gradient(LENGTH, 12)],
    ['random bit patterns', wildFloats(LENGTH, 13)],
    ['subnormals', wildFloats(LENGTH, 14).map((x) => (Number.isFinite(x) ? x * 2 ** -120 : 0))],
    ['zeros', new Float32Array(LENGTH)],
    ...[1, 3, 31, 32, 33, 255, 257].map((length) => [`${length} values`, gradient(length, length)] as const),
  ] as const)('when encoding and adding %s', (_, source) => {
    const [wasm, scalar] = KINDS.map((kind) => {
      const memory = createVectorMemory(vectorMemoryBytes({ float64: [source.length] }), kind);
      const sum = memory.allocateFloat64(source.length);
      const coded = encode(memory, source);
      const sound = { ...coded, exponents: coded.exponents.map((e) => (e === INT8_NOT_FINITE ? 0 : e)) };
      memory.add(sum, [sound], true);
      return { coded, measures: memory.addLast(sum, [sound], false), sum: sum.slice() };
    });
    expect(wasm).toEqual(scalar);
  });
});
