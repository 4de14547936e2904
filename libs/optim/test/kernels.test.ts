import { describe, expect, it } from 'vitest';
import {
  createVectorMemory,
  vectorMemoryBytes,
  type CodedVector,
  type KernelKind,
  type ScaledHalves,
  type VectorMemory,
  type VectorStep,
} from '../src/index.js';
import { partsOf } from '../src/vector-memory.js';
import { randomWords } from './random-words.js';

/** Longer than a staging block, with a tail that fills no vector. */
const LENGTH = 16_384 + 4_099;
const KINDS: readonly KernelKind[] = ['wasm', 'typescript'];
const SGD_STEP = { rate: 0.1, momentum: 0.9, decay: 1e-4, keep: 0.9, take: 1 };
const ADAM_STEP = {
  keep1: 0.9,
  take1: 0.1,
  keep2: 0.99,
  take2: 0.01,
  penalty: 1e-3,
  shrink: 0.999,
  stepSize: 0.02,
  rootScale: 3,
  epsilon: 1e-8,
};

function finished(step: VectorStep, update: CodedVector): string {
  for (const part of partsOf(update)) expect(step.add(part)).toBe(true);
  return step.finish();
}

function sgdStep(memory: VectorMemory, p: Float32Array, velocity: Float32Array, update: CodedVector): string {
  return finished(memory.beginSgdStep(p, velocity, SGD_STEP), update);
}

function adamStep(memory: VectorMemory, p: Float32Array, m: Float32Array, v: Float32Array, update: CodedVector): string {
  return finished(memory.beginAdamStep(p, m, v, ADAM_STEP), update);
}
const FLOAT64_BYTES = vectorMemoryBytes({ float64: [LENGTH] });

/** Random bit patterns: every exponent, subnormals, infinities and NaNs among them. */
function wildFloats(length: number, seed: number): Float32Array {
  const next = randomWords(seed);
  const words = Uint32Array.from({ length }, next);
  words.set([
    0, 0x80000000, 1, 0x80000001, 0x007fffff, 0x00800000, 0x7f7fffff, 0x7f800000, 0xff800000, 0x7fc00000, 0xffc12345, 0x33000000,
    0x33000001,
  ]);
  return new Float32Array(words.buffer);
}

function tameFloats(length: number, seed: number, scale = 1): Float32Array {
  const next = randomWords(seed);
  return Float32Array.from({ length }, () => (next() / 2 ** 31 - 1) * scale);
}

/** Bits, with all NaNs made equal: the CPU decides which NaN arithmetic yields. */
function bits(values: Float32Array): Uint32Array {
  const words = new Uint32Array(values.slice().buffer);
  return words.map((word, i) => (Number.isNaN(values[i]) ? 0x7fc00000 : word));
}

/** Finite halves in parts that do not end at a vector's edge, each with its own scale. */
function halfParts(seed: number): ScaledHalves[] {
  const next = randomWords(seed);
  return [5, 2_048, 4_099, LENGTH - 5 - 2_048 - 4_099].map((length, k) => ({
    values: Uint16Array.from({ length }, () => next() & 0xbbff),
    scale: 2 ** (3 * k - 20),
  }));
}

/** The same vector in floats. */
function decoded(memory: VectorMemory, parts: readonly ScaledHalves[]): Float32Array {
  const floats = new Float32Array(LENGTH);
  let from = 0;
  for (const { values, scale } of parts) memory.decodeHalf(values, scale, floats.subarray(from, (from += values.length)));
  return floats;
}

/** Runs the same work with both kinds of kernels. */
function both<T>(bytes: number, run: (memory: VectorMemory) => T): [T, T] {
  const [wasm, scalar] = KINDS.map((kind) => run(createVectorMemory(bytes, kind)));
  return [wasm, scalar];
}

describe.each(KINDS)('%s kernels', (kind) => {
  const allHalves = Uint16Array.from({ length: 65_536 }, (_, half) => half);

  it('decodes every half to its value', () => {
    const decoded = new Float32Array(65_536);
    createVectorMemory(0, kind).decodeHalf(allHalves, 1, decoded);
    const view = new DataView(new ArrayBuffer(2));
    for (const half of allHalves) {
      view.setUint16(0, half);
      const [exponent, fraction] = [(half >> 10) & 31, half & 1023];
      const magnitude =
        exponent === 31
          ? fraction
            ? NaN
            : Infinity
          : exponent
            ? (1 + fraction / 1024) * 2 ** (exponent - 15)
            : (fraction / 1024) * 2 ** -14;
      expect(Object.is(decoded[half], half & 0x8000 ? -magnitude : magnitude)).toBe(true);
    }
  });

  it('encodes every decoded half back to itself, with NaN as 0x7e00', () => {
    const memory = createVectorMemory(0, kind);
    const decoded = new Float32Array(65_536);
    const encoded = new Uint16Array(65_536);
    memory.decodeHalf(allHalves, 1, decoded);
    memory.encodeHalf(decoded, 1, encoded);
    expect(encoded).toEqual(allHalves.map((half) => ((half & 0x7fff) > 0x7c00 ? 0x7e00 : half)));
  });

  it('rounds values between two halves to the nearest, and ties to even', () => {
    const memory = createVectorMemory(0, kind);
    const finite = allHalves.slice(0, 0x7bff);
    const low = new Float32Array(finite.length);
    const high = new Float32Array(finite.length);
    memory.decodeHalf(finite, 1, low);
    memory.decodeHalf(
      finite.map((half) => half + 1),
      1,
      high,
    );
    const encode = (values: Float32Array) => {
      const halves = new Uint16Array(values.length);
      memory.encodeHalf(values, 1, halves);
      return halves;
    };
    expect(encode(low.map((value, i) => (value + high[i]) / 2))).toEqual(finite.map((half) => half + (half & 1)));
    expect(encode(low.map((value, i) => value + (high[i] - value) * 0.499))).toEqual(finite);
    expect(encode(low.map((value, i) => value + (high[i] - value) * 0.501))).toEqual(finite.map((half) => half + 1));
    expect([...encode(Float32Array.of(65_519, 65_520, -1e30))]).toEqual([0x7bff, 0x7c00, 0xfc00]);
  });

  it('multiplies by the scale when encoding and decoding', () => {
    const memory = createVectorMemory(0, kind);
    const halves = new Uint16Array(3);
    const back = new Float32Array(3);
    memory.encodeHalf(Float32Array.of(1e-9, -2e-9, 0), 2 ** 40, halves);
    memory.decodeHalf(halves, 2 ** -40, back);
    expect(back[0]).toBeCloseTo(1e-9, 12);
    expect(back[1] / back[0]).toBeCloseTo(-2, 2);
    expect(back[2]).toBe(0);
  });

  it('finds a single infinity or NaN anywhere, in floats and in halves', () => {
    const memory = createVectorMemory(0, kind);
    for (const at of [0, 3, 16_383, 16_384, LENGTH - 1]) {
      const values = tameFloats(LENGTH, 5);
      expect(memory.isFinite(values)).toBe(true);
      values[at] = at % 2 ? NaN : -Infinity;
      expect(memory.isFinite(values)).toBe(false);
      const halves = new Uint16Array(LENGTH).fill(0xfbff);
      expect(memory.isFinite(halves)).toBe(true);
      halves[at] = at % 2 ? 0x7e00 : 0xfc00;
      expect(memory.isFinite(halves)).toBe(false);
    }
  });

  it('finds the largest magnitude', () => {
    const memory = createVectorMemory(0, kind);
    const values = tameFloats(LENGTH, 6);
    values[LENGTH - 2] = -7.5;
    expect(memory.maxMagnitude(values)).toBe(7.5);
    expect(memory.maxMagnitude(new Float32Array(0))).toBe(0);
    expect(memory.maxMagnitude(Float32Array.of(1, NaN))).toBeNaN();
  });

  it('changes the digest when any single bit of any word changes, and with the length', () => {
    const memory = createVectorMemory(0, kind);
    const values = tameFloats(16_384 + 37, 7);
    const words = new Uint32Array(values.buffer);
    const digest = memory.digest(values);
    expect(digest).toMatch(/^[0-9a-f]{16}$/);
    const seen = new Set([digest]);
    for (let i = 0; i < 200; i++) {
      const at = i < 100 ? i : words.length - 1 - (i - 100);
      words[at] ^= 1 << (i % 32);
      seen.add(memory.digest(values));
      words[at] ^= 1 << (i % 32);
    }
    expect(seen.size).toBe(201);
    expect(memory.digest(values)).toBe(digest);
    expect(memory.digest(new Float32Array(8))).not.toBe(memory.digest(new Float32Array(9)));
  });

  it('loads a vector and returns its largest magnitude', () => {
    const memory = createVectorMemory(vectorMemoryBytes({ float32: [LENGTH], uint16: [LENGTH] }), kind);
    const floats = memory.allocateFloat32(LENGTH);
    const halves = memory.allocateUint16(LENGTH);
    const values = tameFloats(LENGTH, 8);
    values[LENGTH - 1] = -40;
    expect(memory.load(values, floats)).toBe(40);
    expect(floats).toEqual(values);
    const source = new Uint16Array(LENGTH).fill(0x3c00).with(2_048, 0xc500);
    expect(memory.load(source, halves)).toBe(5);
    expect(halves).toEqual(source);
    expect(memory.load(source.with(LENGTH - 1, 0xfc00), halves)).toBe(Infinity);
    expect(memory.load(values.with(17, NaN), floats)).toBeNaN();
  });

  it('overwrites a fresh sum', () => {
    const memory = createVectorMemory(vectorMemoryBytes({ float64: [LENGTH, LENGTH] }), kind);
    const [zeroed, stale] = [memory.allocateFloat64(LENGTH), memory.allocateFloat64(LENGTH).fill(NaN)];
    for (const addend of [halfParts(21), tameFloats(LENGTH, 22)]) {
      memory.add(zeroed.fill(0), addend, false);
      memory.add(stale.fill(NaN), addend, true);
      expect(stale).toEqual(zeroed);
    }
  });

  it('measures the last sum as plain loops would', () => {
    const memory = createVectorMemory(FLOAT64_BYTES, kind);
    const sum = memory.allocateFloat64(LENGTH);
    const parts = halfParts(23);
    memory.add(sum, tameFloats(LENGTH, 24, 1e-3), true);
    const { squares, largest } = memory.addLast(sum, parts, false);
    const floats = decoded(memory, parts);
    expect(sum).toEqual(Float64Array.from(tameFloats(LENGTH, 24, 1e-3), (x, i) => x + floats[i]));
    const partial = [0, 0, 0, 0];
    let from = 0;
    const expected = parts.map(({ values }) => {
      const part = sum.subarray(from, (from += values.length));
      part.forEach((x, i) => (partial[i & 3] += x * x));
      return Math.max(...part.map(Math.abs));
    });
    expect(squares).toBe(partial[0] + partial[1] + (partial[2] + partial[3]));
    expect(largest).toEqual(expected);
  });

  it('scales a sum to halves as if through floats', () => {
    const memory = createVectorMemory(FLOAT64_BYTES, kind);
    const sum = memory.allocateFloat64(LENGTH);
    for (const [factor, scale] of [
      [1 / 3, 2 ** 14],
      [1e-9, 2 ** 40],
      [1e30, 1],
    ]) {
      memory.add(sum, tameFloats(LENGTH, 25, 7), true);
      const floats = new Float32Array(LENGTH);
      const [direct, through] = [new Uint16Array(LENGTH), new Uint16Array(LENGTH)];
      memory.scaleToHalf(sum, factor, scale, direct);
      memory.scaleToFloat(sum, factor, floats);
      memory.encodeHalf(floats, scale, through);
      expect(direct).toEqual(through);
    }
  });

  it('steps from halves to the same bits as from their floats, and returns the digest of the result', () => {
    const parts = halfParts(26);
    const bytes = vectorMemoryBytes({ float32: [LENGTH, LENGTH, LENGTH, LENGTH] });
    const [coded, plain] = [parts, decoded(createVectorMemory(0, kind), parts)].map((update) => {
      const memory = createVectorMemory(bytes, kind);
      const [p, m, v, velocity] = Array.from({ length: 4 }, () => memory.allocateFloat32(LENGTH));
      p.set(tameFloats(LENGTH, 27));
      for (let t = 0; t < 2; t++) {
        expect(sgdStep(memory, p, velocity, update)).toBe(memory.digest(p));
        expect(adamStep(memory, p, m, v, update)).toBe(memory.digest(p));
      }
      return [p, m, v, velocity].map(bits);
    });
    expect(coded).toEqual(plain);
  });

  it('rejects vectors of different lengths or from another memory', () => {
    const memory = createVectorMemory(64, kind);
    expect(() => memory.encodeHalf(new Float32Array(3), 1, new Uint16Array(4))).toThrow(
      expect.objectContaining({ code: 'bad_length' }),
    );
    expect(() => memory.add(new Float64Array(4), new Float32Array(4), true)).toThrow(
      expect.objectContaining({ code: 'bad_state' }),
    );
    expect(() => memory.add(memory.allocateFloat64(4), [], true)).toThrow(expect.objectContaining({ code: 'bad_length' }));
    expect(() => memory.load(new Float32Array(4), new Float32Array(4))).toThrow(expect.objectContaining({ code: 'bad_state' }));
    expect(() => memory.allocateFloat32(100_000)).toThrow(expect.objectContaining({ code: 'out_of_memory' }));
    expect(() => createVectorMemory(5 * 2 ** 30, kind)).toThrow(expect.objectContaining({ code: 'out_of_memory' }));
  });
});

describe('wasm and TypeScript kernels give the same bits', () => {
  const wild = wildFloats(LENGTH, 11);
  const tame = tameFloats(LENGTH, 12);

  it('when encoding', () => {
    for (const scale of [1, 2 ** -20, 2 ** 14, 2 ** 100]) {
      const [wasm, scalar] = both(0, (memory) => {
        const halves = new Uint16Array(LENGTH);
        memory.encodeHalf(wild, scale, halves);
        return halves;
      });
      expect(wasm).toEqual(scalar);
    }
  });

  it('when adding halves and floats', () => {
    const halves = Uint16Array.from({ length: LENGTH }, randomWords(13)).map((half) => half & 0xbbff);
    const [wasm, scalar] = both(FLOAT64_BYTES, (memory) => {
      const sum = memory.allocateFloat64(LENGTH);
      memory.add(sum, [{ values: halves, scale: 2 ** -9 }], true);
      memory.add(
        sum,
        wild.map((x) => (Number.isFinite(x) ? x : 0)),
        false,
      );
      return sum.slice();
    });
    expect(wasm).toEqual(scalar);
  });

  it('when measuring, scaling and taking digests', () => {
    const [wasm, scalar] = both(FLOAT64_BYTES, (memory) => {
      const sum = memory.allocateFloat64(LENGTH);
      const measures = memory.addLast(sum, tame, true);
      const halved = memory.addLast(sum, halfParts(28), false);
      const [mean, halves] = [new Float32Array(LENGTH), new Uint16Array(LENGTH)];
      memory.scaleToFloat(sum, 1 / 3, mean);
      memory.scaleToHalf(sum, 1 / 3, 2 ** 6, halves);
      return { measures, halved, mean: bits(mean), halves, digest: memory.digest(wild) };
    });
    expect(wasm).toEqual(scalar);
    expect(wasm.measures.squares).toBeCloseTo(
      tame.reduce((total, x) => total + x * x, 0),
      6,
    );
  });

  it('when stepping from halves', () => {
    const [wasm, scalar] = both(vectorMemoryBytes({ float32: [LENGTH, LENGTH, LENGTH, LENGTH] }), (memory) => {
      const [p, m, v, velocity] = Array.from({ length: 4 }, () => memory.allocateFloat32(LENGTH));
      p.set(tame);
      const digests = [sgdStep(memory, p, velocity, halfParts(29)), adamStep(memory, p, m, v, halfParts(30))];
      return { digests, vectors: [p, m, v, velocity].map(bits) };
    });
    expect(wasm).toEqual(scalar);
  });

  it('when stepping, from updates in this and in another memory', () => {
    const finite = wild.map((value) => (Number.isFinite(value) ? value : 0));
    const inputs = [finite, tameFloats(LENGTH, 15, 1e-20), tameFloats(LENGTH, 16, 1e18)];
    for (const update of inputs) {
      const [wasm, scalar] = both(vectorMemoryBytes({ float32: [LENGTH, LENGTH, LENGTH, LENGTH, LENGTH] }), (memory) =>
        stepped(memory, tame, update),
      );
      expect(wasm).toEqual(scalar);
    }
  });
});

/** Bits after two steps of each kind; the update of the second is resident. */
function stepped(memory: VectorMemory, start: Float32Array, foreign: Float32Array): Uint32Array[] {
  const [p, m, v, velocity, resident] = Array.from({ length: 5 }, () => memory.allocateFloat32(LENGTH));
  p.set(start);
  resident.set(foreign);
  for (const update of [foreign, resident]) {
    sgdStep(memory, p, velocity, update);
    adamStep(memory, p, m, v, update);
  }
  return [p, m, v, velocity].map(bits);
}
