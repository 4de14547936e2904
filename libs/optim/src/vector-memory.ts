import {
  MemoryMap,
  blocks,
  COEFFICIENTS,
  DIGEST_STATE,
  EXPONENTS_SLOT,
  FIRST_FREE,
  INT8_STATE,
  pad,
  SQUARES_STATE,
  type Vector,
} from './memory-map.js';
import { beginDigest, DigestFollower, foldDigest } from './digest.js';
import { OptimError } from './errors.js';
import { floatOfHalf } from './half.js';
import { decodeInt8, INT8_BLOCK, int8Blocks, isInt8Exponent, type RoundingKey, type ScaledBytes } from './int8.js';
import { instantiateWasm, wasmSupported, type KernelKind, type Kernels } from './kernels.js';
import { createScalarKernels } from './scalar-kernels.js';

const PAGE_BYTES = 65_536;
const MAX_PAGES = 65_536;

/**
 * Part of a vector in half precision: its values are float32(values) * scale, rounded to float32.
 */
export interface ScaledHalves {
  readonly values: Uint16Array;
  /** float32. */
  readonly scale: number;
}

/** Part of a vector: int8 if there are exponents, else halves if there is a scale, else floats. */
export type CodedPart =
  | (ScaledHalves & { readonly exponents?: undefined })
  | (ScaledBytes & { readonly scale?: undefined })
  | { readonly values: Float32Array; readonly scale?: undefined; readonly exponents?: undefined };

/** A vector of float32, or its consecutive parts. */
export type CodedVector = Float32Array | readonly CodedPart[];

/** What `addLast` measures of a sum. */
export interface SumMeasures {
  /** Sum of x^2 in float64, in an order that depends only on the lengths of the parts. */
  readonly squares: number;
  /** Largest |x| of each part of the vector added last. */
  readonly largest: readonly number[];
}

/**
 * One block of memory and the kernels that run over it. `allocate*` returns zeroed vectors inside
 * it; the memory never grows, so these views stay valid. Arguments of kernels may lie in any
 * memory unless they must be *resident* (allocated here): others are staged, at about the cost of
 * a copy. Scales are float32. Results have the same bits on every host. Values that are added or
 * used in a step must be finite, and int8 above -128: `load` tells. So must be exponents, between
 * MIN_INT8_EXPONENT and MAX_INT8_EXPONENT.
 */
export interface VectorMemory {
  readonly kind: KernelKind;
  /** @throws OptimError `out_of_memory` if the memory was created too small; so do the others */
  allocateFloat32(length: number): Float32Array;
  allocateFloat64(length: number): Float64Array;
  allocateUint16(length: number): Uint16Array;
  allocateInt8(length: number): Int8Array;
  /**
   * target = half(source * scale), to nearest even; values too large become infinity, NaN becomes
   * 0x7e00.
   */
  encodeHalf(source: Float32Array, scale: number, target: Uint16Array): void;
  /** target = float32(source) * scale. */
  decodeHalf(source: Uint16Array, scale: number, target: Float32Array): void;
  /** Rounds `source` at random to int8; src/int8.ts says how. What is not finite stays recognisable. */
  encodeInt8(source: Float32Array, key: RoundingKey, target: ScaledBytes): void;
  /** Copies `source` into the resident `target`. @returns its maxMagnitude, from the same pass */
  load(source: Vector, target: Vector): number;
  /** Largest |x|; Infinity or NaN if the vector contains one. 0 for an empty vector. */
  maxMagnitude(source: Vector): number;
  isFinite(source: Vector): boolean;
  /** Whether all values of the part are finite, multiplied by its scale. */
  isSound(part: CodedPart): boolean;
  /**
   * sum += addend in float64. A `fresh` sum counts as zeros, whatever it contains. `sum` is
   * resident.
   */
  add(sum: Float64Array, addend: CodedVector, fresh: boolean): void;
  /**
   * Like `add`, for the last addend of a finite sum; measures the sum block by block while adding.
   */
  addLast(sum: Float64Array, addend: CodedVector, fresh: boolean): SumMeasures;
  /** target = float32(source * factor), rounded once. `source` is resident. */
  scaleToFloat(source: Float64Array, factor: number, target: Float32Array): void;
  /**
   * target = half(float32(source * factor) * scale): scaleToFloat and encodeHalf in one pass.
   * `source` is resident.
   */
  scaleToHalf(source: Float64Array, factor: number, scale: number, target: Uint16Array): void;
  /**
   * A hash of 64 bits over the vector's bits and length, as 16 hex digits. Detects differing
   * replicas, not forgery.
   */
  digest(source: Float32Array): string;
  /**
   * g = update + decay * p; v = momentum * v + g; p = p - rate * (keep * v + take * g). `p` and `v` are
   * resident. One step at a time; no digest is taken meanwhile. Then, with `average`, a = a + take * (p - a).
   */
  beginSgdStep(p: Float32Array, velocity: Float32Array, c: SgdCoefficients, average?: Averaging): VectorStep;
  /**
   * g = update + penalty * p; m = keep1 * m + take1 * g; v = keep2 * v + take2 * (g * g); p = p *
   * shrink - stepSize * (m / (sqrt(v) * rootScale + epsilon)). `p`, `m`, `v` are resident. One step at
   * a time; no digest is taken meanwhile.
   */
  beginAdamStep(p: Float32Array, m: Float32Array, v: Float32Array, c: AdamCoefficients, average?: Averaging): VectorStep;
}

/** An optimizer step in progress, part by part. */
export interface VectorStep {
  /**
   * Steps the next parameters. @returns false if a value is not finite; the rest of the part is then
   * not stepped. @throws OptimError `bad_length`
   */
  add(part: CodedPart): boolean;
  /** @returns the digest of `p`. @throws OptimError `bad_length` if parts are missing */
  finish(): string;
}

/** A moving average of the parameters, which follows them after each step. */
export interface Averaging {
  /** a [P], resident. */
  readonly values: Float32Array;
  /** What the average takes of the parameters, 0 to 1. */
  readonly take: number;
}

export interface SgdCoefficients {
  readonly rate: number;
  readonly momentum: number;
  readonly decay: number;
  /** The step is rate * (keep * velocity + take * g): 1 and 0, or momentum and 1 for Nesterov's form. */
  readonly keep: number;
  readonly take: number;
}

export interface AdamCoefficients {
  readonly keep1: number;
  readonly take1: number;
  readonly keep2: number;
  readonly take2: number;
  /** L2 penalty added to the gradient (Adam). */
  readonly penalty: number;
  /** Factor on the parameters (AdamW); 1 = none. */
  readonly shrink: number;
  readonly stepSize: number;
  readonly rootScale: number;
  readonly epsilon: number;
}

/** Number of elements. */
export function codedLength(vector: CodedVector): number {
  return partsOf(vector).reduce((total, { values }) => total + values.length, 0);
}

/** Bytes that vectors of these lengths need in a vector memory, padding included. */
export function vectorMemoryBytes(vectors: {
  readonly float32?: readonly number[];
  readonly float64?: readonly number[];
  readonly uint16?: readonly number[];
  readonly int8?: readonly number[];
}): number {
  const padded = (bytes: number) => (total: number, length: number) => total + pad(length * bytes);
  const { float32 = [], float64 = [], uint16 = [], int8 = [] } = vectors;
  const wide = float32.reduce(padded(4), 0) + float64.reduce(padded(8), 0);
  return wide + uint16.reduce(padded(2), 0) + int8.reduce(padded(1), 0);
}

/**
 * A memory with room for `bytes` (see vectorMemoryBytes) of vectors. `kind` is for tests; the
 * default is WebAssembly if the host has SIMD, else TypeScript.
 * @throws OptimError `out_of_memory`
 */
export function createVectorMemory(bytes: number, kind: KernelKind = wasmSupported() ? 'wasm' : 'typescript'): VectorMemory {
  const pages = Math.ceil((FIRST_FREE + bytes) / PAGE_BYTES);
  try {
    if (pages > MAX_PAGES) throw new RangeError('more than the 4 GiB that 32-bit addresses reach');
    if (kind === 'typescript') {
      const buffer = new ArrayBuffer(pages * PAGE_BYTES);
      return new KernelMemory(kind, new MemoryMap(buffer), createScalarKernels(buffer));
    }
    const memory = new WebAssembly.Memory({ initial: pages, maximum: pages });
    return new KernelMemory(kind, new MemoryMap(memory.buffer), instantiateWasm(memory));
  } catch (cause) {
    if (!(cause instanceof RangeError)) throw cause;
    throw new OptimError(
      'out_of_memory',
      `no memory for ${bytes} bytes of vectors`,
      'Free memory on this machine, or train a smaller model.',
      { cause },
    );
  }
}

class KernelMemory implements VectorMemory {
  readonly kind: KernelKind;
  readonly #kernels: Kernels;
  readonly #map: MemoryMap;
  readonly #lanes: Uint32Array;
  readonly #squares: Float64Array;
  readonly #coefficients: Float32Array;

  constructor(kind: KernelKind, map: MemoryMap, kernels: Kernels) {
    this.kind = kind;
    this.#kernels = kernels;
    this.#map = map;
    this.#lanes = new Uint32Array(map.buffer, DIGEST_STATE, 16);
    this.#squares = new Float64Array(map.buffer, SQUARES_STATE, 4);
    this.#coefficients = new Float32Array(map.buffer, COEFFICIENTS, 9);
  }

  allocateFloat32(length: number): Float32Array {
    return new Float32Array(this.#map.buffer, this.#map.allocate(length * 4), length);
  }

  allocateFloat64(length: number): Float64Array {
    return new Float64Array(this.#map.buffer, this.#map.allocate(length * 8), length);
  }

  allocateUint16(length: number): Uint16Array {
    return new Uint16Array(this.#map.buffer, this.#map.allocate(length * 2), length);
  }

  allocateInt8(length: number): Int8Array {
    return new Int8Array(this.#map.buffer, this.#map.allocate(length), length);
  }

  encodeHalf(source: Float32Array, scale: number, target: Uint16Array): void {
    sameLength(source, target);
    const map = this.#map;
    blocks(source.length, (from, n) => {
      this.#kernels.encodeHalf(map.stage(source, from, n), n, Math.fround(scale), map.target(target, from));
      map.unstage(target, from, n);
    });
  }

  decodeHalf(source: Uint16Array, scale: number, target: Float32Array): void {
    sameLength(source, target);
    const map = this.#map;
    blocks(source.length, (from, n) => {
      this.#kernels.decodeHalf(map.stage(source, from, n), n, Math.fround(scale), map.target(target, from));
      map.unstage(target, from, n);
    });
  }

  encodeInt8(source: Float32Array, { seed, round, stream, first }: RoundingKey, { values, exponents }: ScaledBytes): void {
    sameLength(source, values);
    sameLength({ length: int8Blocks(source.length) }, exponents);
    const map = this.#map;
    blocks(source.length, (from, n) => {
      const block = from / INT8_BLOCK;
      const places = [map.target(exponents, block, EXPONENTS_SLOT), map.target(values, from)] as const;
      this.#kernels.encodeInt8(map.stage(source, from, n), n, seed, round, stream, first, from, ...places, INT8_STATE);
      map.unstage(exponents, block, int8Blocks(n), EXPONENTS_SLOT);
      map.unstage(values, from, n);
    });
  }

  load(source: Vector, target: Vector): number {
    sameLength(source, target);
    const start = this.#map.resident(target);
    let most = 0;
    blocks(source.length, (from, n) => {
      const address = start + from * target.BYTES_PER_ELEMENT;
      this.#map.copyIn(source, from, n, address);
      most = Math.max(most, this.#maxBits(target, address, n));
    });
    return magnitudeOfBits(source, most);
  }

  maxMagnitude(source: Vector): number {
    let most = 0;
    blocks(source.length, (from, n) => {
      most = Math.max(most, this.#maxBits(source, this.#map.stage(source, from, n), n));
    });
    return magnitudeOfBits(source, most);
  }

  isFinite(source: Vector): boolean {
    return Number.isFinite(this.maxMagnitude(source));
  }

  isSound(part: CodedPart): boolean {
    const { values, scale, exponents } = part;
    if (exponents !== undefined) return exponents.every(isInt8Exponent);
    return isSound(this.maxMagnitude(values), scale === undefined ? undefined : Math.fround(scale));
  }

  add(sum: Float64Array, addend: CodedVector, fresh: boolean): void {
    sameLength({ length: codedLength(addend) }, sum);
    let address = this.#map.resident(sum);
    for (const part of partsOf(addend)) {
      const { values } = part;
      blocks(values.length, (from, n) => this.#addBlock(address + from * 8, part, from, n, fresh));
      address += values.length * 8;
    }
  }

  addLast(sum: Float64Array, addend: CodedVector, fresh: boolean): SumMeasures {
    sameLength({ length: codedLength(addend) }, sum);
    this.#squares.fill(0);
    let address = this.#map.resident(sum);
    const largest = partsOf(addend).map((part) => {
      let most = 0;
      blocks(part.values.length, (from, n) => {
        this.#addBlock(address + from * 8, part, from, n, fresh);
        most = Math.max(most, this.#kernels.measure(address + from * 8, n, SQUARES_STATE));
      });
      address += part.values.length * 8;
      return most;
    });
    const [a, b, c, d] = this.#squares;
    return { squares: a + b + (c + d), largest };
  }

  scaleToFloat(source: Float64Array, factor: number, target: Float32Array): void {
    sameLength(source, target);
    const start = this.#map.resident(source);
    blocks(source.length, (from, n) => {
      this.#kernels.scaleToFloat(start + from * 8, n, factor, this.#map.target(target, from));
      this.#map.unstage(target, from, n);
    });
  }

  scaleToHalf(source: Float64Array, factor: number, scale: number, target: Uint16Array): void {
    sameLength(source, target);
    const start = this.#map.resident(source);
    blocks(source.length, (from, n) => {
      this.#kernels.scaleToHalf(start + from * 8, n, factor, Math.fround(scale), this.#map.target(target, from));
      this.#map.unstage(target, from, n);
    });
  }

  digest(source: Float32Array): string {
    beginDigest(this.#lanes);
    blocks(source.length, (from, n) => this.#kernels.digestWords(DIGEST_STATE, this.#map.stage(source, from, n), n));
    return foldDigest(this.#lanes, source.length);
  }

  beginSgdStep(p: Float32Array, velocity: Float32Array, c: SgdCoefficients, average?: Averaging): VectorStep {
    const kernels = this.#kernels;
    const [pStart, vStart] = [this.#map.resident(p), this.#map.resident(velocity)];
    this.#coefficients.set([c.rate, c.momentum, c.decay, c.keep, c.take]);
    return this.#beginStep(p, average, (at, n, staged, scale) => {
      if (scale === undefined) kernels.sgdStep(pStart + at, vStart + at, staged, n, COEFFICIENTS);
      else kernels.sgdStepHalf(pStart + at, vStart + at, staged, n, scale, COEFFICIENTS);
    });
  }

  beginAdamStep(p: Float32Array, m: Float32Array, v: Float32Array, c: AdamCoefficients, average?: Averaging): VectorStep {
    const kernels = this.#kernels;
    const [pStart, mStart, vStart] = [p, m, v].map((vector) => this.#map.resident(vector));
    const coefficients = [c.keep1, c.take1, c.keep2, c.take2, c.penalty, c.shrink, c.stepSize, c.rootScale, c.epsilon];
    this.#coefficients.set(coefficients);
    return this.#beginStep(p, average, (at, n, staged, scale) => {
      if (scale === undefined) kernels.adamStep(pStart + at, mStart + at, vStart + at, staged, n, COEFFICIENTS);
      else kernels.adamStepHalf(pStart + at, mStart + at, vStart + at, staged, n, scale, COEFFICIENTS);
    });
  }

  /**
   * `run` updates n parameters from byte offset `at` on; average and digest are computed while they
   * are in the cache.
   */
  #beginStep(
    p: Float32Array,
    average: Averaging | undefined,
    run: (at: number, n: number, staged: number, scale: number | undefined) => void,
  ): VectorStep {
    const start = this.#map.resident(p);
    const follow = this.#averager(start, average);
    beginDigest(this.#lanes);
    const digest = new DigestFollower((from, n) => this.#kernels.digestWords(DIGEST_STATE, start + from * 4, n));
    let done = 0;
    return {
      add: (coded) => {
        if (coded.exponents !== undefined && !this.isSound(coded)) return false;
        const { values, scale } = coded.exponents === undefined ? coded : { values: decodeInt8(coded), scale: undefined };
        if (values.length > p.length - done) throw wrongLength(done + values.length, p.length);
        const rounded = scale === undefined ? undefined : Math.fround(scale);
        let sound = true;
        blocks(values.length, (from, n) => {
          if (!sound) return;
          const staged = this.#map.stage(values, from, n);
          sound = isSound(magnitudeOfBits(values, this.#maxBits(values, staged, n)), rounded);
          if (!sound) return;
          run((done + from) * 4, n, staged, rounded);
          follow((done + from) * 4, n);
          digest.follow(done + from + n);
        });
        done += values.length;
        return sound;
      },
      finish: () => {
        if (done !== p.length) throw wrongLength(done, p.length);
        digest.follow(done, true);
        return foldDigest(this.#lanes, done);
      },
    };
  }

  /** Lets the average follow n parameters from byte offset `at` on. */
  #averager(start: number, average: Averaging | undefined): (at: number, n: number) => void {
    if (!average) return () => undefined;
    const [averageStart, take] = [this.#map.resident(average.values), Math.fround(average.take)];
    return (at, n) => this.#kernels.averageStep(averageStart + at, start + at, n, take);
  }

  #addBlock(sum: number, part: CodedPart, from: number, n: number, fresh: boolean): void {
    const kernels = this.#kernels;
    const map = this.#map;
    const staged = map.stage(part.values, from, n);
    if (part.exponents !== undefined) {
      const exponents = map.stage(part.exponents, from / INT8_BLOCK, int8Blocks(n), EXPONENTS_SLOT);
      (fresh ? kernels.storeInt8 : kernels.addInt8)(sum, exponents, staged, n);
    } else if (part.scale === undefined) (fresh ? kernels.storeFloat : kernels.addFloat)(sum, staged, n);
    else (fresh ? kernels.storeHalf : kernels.addHalf)(sum, staged, n, Math.fround(part.scale));
  }

  #maxBits(kind: Vector, address: number, n: number): number {
    if (kind instanceof Float32Array) return this.#kernels.maxMagnitude(address, n);
    return kind instanceof Uint16Array ? this.#kernels.maxMagnitudeHalf(address, n) : this.#kernels.maxMagnitudeInt8(address, n);
  }
}

/** A vector of floats is one part. */
export function partsOf(vector: CodedVector): readonly CodedPart[] {
  return vector instanceof Float32Array ? [{ values: vector }] : vector;
}

/**
 * The bits of magnitudes are ordered like integers, with infinity and then NaN above all others.
 */
function magnitudeOfBits(kind: Vector, bits: number): number {
  if (kind instanceof Int8Array) return bits;
  return kind instanceof Uint16Array ? floatOfHalf(bits) : new Float32Array(Uint32Array.of(bits).buffer)[0];
}

/** Finite halves may still overflow when multiplied by their scale. */
function isSound(magnitude: number, scale = 1): boolean {
  return Number.isFinite(Math.fround(magnitude * scale));
}

function sameLength(source: { readonly length: number }, target: { readonly length: number }): void {
  if (source.length !== target.length) throw wrongLength(source.length, target.length);
}

function wrongLength(length: number, expected: number): OptimError {
  return new OptimError(
    'bad_length',
    `the vectors have ${length} and ${expected} elements, but must have the same length`,
    'Pass vectors of the same length.',
  );
}
