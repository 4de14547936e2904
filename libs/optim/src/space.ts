import { OptimError } from './errors.js';
import { instantiateWasm, wasmSupported, type KernelKind, type Kernels } from './kernels.js';
import { createTwin } from './twin.js';

/** Elements per block. A vector from another memory is staged block by block, and 64 KiB of float32 stays in the second-level cache. */
const BLOCK = 16_384;
const SLOT_BYTES = BLOCK * 4;
/** The first page is left alone; then come one slot for what is read, one for what is written, and the digest's lanes. */
const READ_SLOT = 1024;
const WRITE_SLOT = READ_SLOT + SLOT_BYTES;
const DIGEST_STATE = WRITE_SLOT + SLOT_BYTES;
const FIRST_FREE = DIGEST_STATE + 64;
const PAGE_BYTES = 65_536;
const MOST_PAGES = 65_536;
/** float32 positive infinity and half infinity, as bits: anything at or above is not finite. */
const FLOAT_INFINITY = 0x7f800000;
const HALF_INFINITY = 0x7c00;

type Vector = Float32Array | Uint16Array;

/**
 * One block of memory and the kernels that run over it. `allocate*` hands out zeroed vectors inside it; the memory never grows,
 * so their views stay valid for life. Arguments of kernels may lie in any memory unless they are said to be *resident* (allocated
 * here): others are staged, at about the cost of a copy. Scales are float32 and results are the same bits on every host.
 */
export interface VectorSpace {
  readonly kind: KernelKind;
  /** @throws OptimError `out_of_memory` when the space was made too small */
  allocateFloat32(length: number): Float32Array;
  /** @throws OptimError `out_of_memory` when the space was made too small */
  allocateFloat64(length: number): Float64Array;
  /** target = half(source * scale), to nearest even; too large becomes infinity, NaN becomes 0x7e00. */
  encodeHalf(source: Float32Array, scale: number, target: Uint16Array): void;
  /** target = float32(source) * scale. */
  decodeHalf(source: Uint16Array, scale: number, target: Float32Array): void;
  /** sum += float32(source) * scale, added in float64. `sum` is resident. */
  addHalf(sum: Float64Array, source: Uint16Array, scale: number): void;
  /** sum += source, added in float64. `sum` is resident. */
  addFloat(sum: Float64Array, source: Float32Array): void;
  /** Largest |x|; Infinity or NaN when there is one among them. 0 for an empty vector. */
  maxMagnitude(source: Float32Array): number;
  isFinite(source: Vector): boolean;
  /** Sum of x^2 in float64, in an order fixed by the length alone. Resident. */
  sumOfSquares(source: Float64Array): number;
  /** target = float32(source * factor), rounded once. `source` is resident. */
  scaleToFloat(source: Float64Array, factor: number, target: Float32Array): void;
  /** 64 bits over the vector's bits and length, as 16 hex digits. Finds differing replicas; no defence against forgery. */
  digest(source: Float32Array): string;
  /** v = momentum * v + (update + decay * p); p = p - rate * v. `p` and `v` are resident. */
  sgdStep(p: Float32Array, velocity: Float32Array, update: Float32Array, c: SgdCoefficients): void;
  /**
   * g = update + penalty * p; m = keep1 * m + take1 * g; v = keep2 * v + take2 * (g * g);
   * p = p * shrink - stepSize * (m / (sqrt(v) * rootScale + epsilon)). `p`, `m`, `v` are resident.
   */
  adamStep(p: Float32Array, m: Float32Array, v: Float32Array, update: Float32Array, c: AdamCoefficients): void;
}

export interface SgdCoefficients {
  readonly rate: number;
  readonly momentum: number;
  readonly decay: number;
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

/** Bytes that vectors of these lengths take in a space, padding included. */
export function spaceBytes(vectors: { readonly float32?: readonly number[]; readonly float64?: readonly number[] }): number {
  const padded = (bytes: number) => (total: number, length: number) => total + pad(length * bytes);
  return (vectors.float32 ?? []).reduce(padded(4), 0) + (vectors.float64 ?? []).reduce(padded(8), 0);
}

/**
 * A space with room for `bytes` (see spaceBytes) of vectors. `kind` is for tests; left out, it is WebAssembly where the host has
 * SIMD and TypeScript elsewhere.
 * @throws OptimError `out_of_memory`
 */
export function createVectorSpace(bytes: number, kind: KernelKind = wasmSupported() ? 'wasm' : 'typescript'): VectorSpace {
  const pages = Math.ceil((FIRST_FREE + bytes) / PAGE_BYTES);
  try {
    if (pages > MOST_PAGES) throw new RangeError('over the 4 GiB that 32-bit addresses reach');
    if (kind === 'typescript') {
      const buffer = new ArrayBuffer(pages * PAGE_BYTES);
      return new Space(kind, buffer, createTwin(buffer));
    }
    const memory = new WebAssembly.Memory({ initial: pages, maximum: pages });
    return new Space(kind, memory.buffer, instantiateWasm(memory));
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

const pad = (bytes: number) => Math.ceil(bytes / 16) * 16;

class Space implements VectorSpace {
  readonly kind: KernelKind;
  readonly #kernels: Kernels;
  readonly #buffer: ArrayBuffer;
  readonly #bytes: Uint8Array;
  readonly #digestState: Uint32Array;
  #free = FIRST_FREE;

  constructor(kind: KernelKind, buffer: ArrayBuffer, kernels: Kernels) {
    this.kind = kind;
    this.#kernels = kernels;
    this.#buffer = buffer;
    this.#bytes = new Uint8Array(buffer);
    this.#digestState = new Uint32Array(buffer, DIGEST_STATE, 16);
  }

  allocateFloat32(length: number): Float32Array {
    return new Float32Array(this.#buffer, this.#allocate(length * 4), length);
  }

  allocateFloat64(length: number): Float64Array {
    return new Float64Array(this.#buffer, this.#allocate(length * 8), length);
  }

  encodeHalf(source: Float32Array, scale: number, target: Uint16Array): void {
    sameLength(source, target);
    blocks(source.length, (from, n) => {
      const written = this.#target(target, from);
      this.#kernels.encodeHalf(this.#stage(source, from, n), n, Math.fround(scale), written);
      this.#unstage(target, from, n);
    });
  }

  decodeHalf(source: Uint16Array, scale: number, target: Float32Array): void {
    sameLength(source, target);
    blocks(source.length, (from, n) => {
      const written = this.#target(target, from);
      this.#kernels.decodeHalf(this.#stage(source, from, n), n, Math.fround(scale), written);
      this.#unstage(target, from, n);
    });
  }

  addHalf(sum: Float64Array, source: Uint16Array, scale: number): void {
    sameLength(source, sum);
    const start = this.#resident(sum);
    blocks(source.length, (from, n) =>
      this.#kernels.addHalf(start + from * 8, this.#stage(source, from, n), n, Math.fround(scale)),
    );
  }

  addFloat(sum: Float64Array, source: Float32Array): void {
    sameLength(source, sum);
    const start = this.#resident(sum);
    blocks(source.length, (from, n) => this.#kernels.addFloat(start + from * 8, this.#stage(source, from, n), n));
  }

  maxMagnitude(source: Float32Array): number {
    return new Float32Array(Uint32Array.of(this.#maxBits(source)).buffer)[0];
  }

  isFinite(source: Vector): boolean {
    return this.#maxBits(source) < (source instanceof Float32Array ? FLOAT_INFINITY : HALF_INFINITY);
  }

  sumOfSquares(source: Float64Array): number {
    return this.#kernels.sumOfSquares(this.#resident(source), source.length);
  }

  scaleToFloat(source: Float64Array, factor: number, target: Float32Array): void {
    sameLength(source, target);
    const start = this.#resident(source);
    blocks(source.length, (from, n) => {
      this.#kernels.scaleToFloat(start + from * 8, n, factor, this.#target(target, from));
      this.#unstage(target, from, n);
    });
  }

  digest(source: Float32Array): string {
    for (let lane = 0; lane < 16; lane++) this.#digestState[lane] = Math.imul(lane + 1, 0x9e3779b1);
    blocks(source.length, (from, n) => this.#kernels.digestWords(DIGEST_STATE, this.#stage(source, from, n), n));
    return foldDigest(this.#digestState, source.length);
  }

  sgdStep(p: Float32Array, velocity: Float32Array, update: Float32Array, c: SgdCoefficients): void {
    sameLength(p, update);
    const [pStart, vStart] = [this.#resident(p), this.#resident(velocity)];
    const [rate, momentum, decay] = [c.rate, c.momentum, c.decay].map(Math.fround);
    blocks(p.length, (from, n) => {
      const at = from * 4;
      this.#kernels.sgdStep(pStart + at, vStart + at, this.#stage(update, from, n), n, rate, momentum, decay);
    });
  }

  adamStep(p: Float32Array, m: Float32Array, v: Float32Array, update: Float32Array, c: AdamCoefficients): void {
    sameLength(p, update);
    const [pStart, mStart, vStart] = [this.#resident(p), this.#resident(m), this.#resident(v)];
    const [keep1, take1, keep2, take2] = [c.keep1, c.take1, c.keep2, c.take2].map(Math.fround);
    const [penalty, shrink, stepSize, rootScale, epsilon] = [c.penalty, c.shrink, c.stepSize, c.rootScale, c.epsilon].map(
      Math.fround,
    );
    blocks(p.length, (from, n) => {
      const at = from * 4;
      const staged = this.#stage(update, from, n);
      this.#kernels.adamStep(
        pStart + at,
        mStart + at,
        vStart + at,
        staged,
        n,
        keep1,
        take1,
        keep2,
        take2,
        penalty,
        shrink,
        stepSize,
        rootScale,
        epsilon,
      );
    });
  }

  #allocate(bytes: number): number {
    const address = this.#free;
    if (address + bytes > this.#buffer.byteLength) {
      throw new OptimError(
        'out_of_memory',
        `the vector space has no ${bytes} bytes left`,
        'Give createVectorSpace the bytes that spaceBytes counts.',
      );
    }
    this.#free = address + pad(bytes);
    return address;
  }

  #resident(vector: Float32Array | Float64Array): number {
    if (vector.buffer === this.#buffer) return vector.byteOffset;
    throw new OptimError(
      'bad_state',
      'a vector from another space was given where a resident one is needed',
      'Allocate it in this space.',
    );
  }

  /** Address of source[from, from + n): its own when it is resident, else a copy in the read slot. */
  #stage(source: Vector, from: number, n: number): number {
    const offset = source.byteOffset + from * source.BYTES_PER_ELEMENT;
    if (source.buffer === this.#buffer) return offset;
    this.#bytes.set(new Uint8Array(source.buffer, offset, n * source.BYTES_PER_ELEMENT), READ_SLOT);
    return READ_SLOT;
  }

  #target(target: Vector, from: number): number {
    return target.buffer === this.#buffer ? target.byteOffset + from * target.BYTES_PER_ELEMENT : WRITE_SLOT;
  }

  #unstage(target: Vector, from: number, n: number): void {
    if (target.buffer === this.#buffer) return;
    const size = target.BYTES_PER_ELEMENT;
    new Uint8Array(target.buffer, target.byteOffset + from * size, n * size).set(
      this.#bytes.subarray(WRITE_SLOT, WRITE_SLOT + n * size),
    );
  }

  #maxBits(source: Vector): number {
    const kernels = this.#kernels;
    let most = 0;
    blocks(source.length, (from, n) => {
      const at = this.#stage(source, from, n);
      most = Math.max(most, source instanceof Float32Array ? kernels.maxMagnitude(at, n) : kernels.maxMagnitudeHalf(at, n));
    });
    return most;
  }
}

function blocks(length: number, run: (from: number, n: number) => void): void {
  for (let from = 0; from < length; from += BLOCK) run(from, Math.min(BLOCK, length - from));
}

function sameLength(source: { readonly length: number }, target: { readonly length: number }): void {
  if (source.length === target.length) return;
  throw new OptimError(
    'bad_length',
    `vectors of ${source.length} and ${target.length} elements do not go together`,
    'Give both the same length.',
  );
}

/** Every step is a bijection of each lane, so one changed word always changes both halves. */
function foldDigest(lanes: Uint32Array, length: number): string {
  let low = mix(0x9747b28c ^ length);
  let high = mix(0x85ebca6b + length);
  for (const lane of lanes) {
    low = mix(low ^ lane);
    high = mix(Math.imul(high, 5) + lane);
  }
  return [high, low].map((word) => (word >>> 0).toString(16).padStart(8, '0')).join('');
}

/** The finaliser of MurmurHash3 (Appleby), a bijection on 32 bits. */
function mix(word: number): number {
  let h = word;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return h ^ (h >>> 16);
}
