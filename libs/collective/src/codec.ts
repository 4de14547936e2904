import type { VectorSpace } from '@troupe/optim';
import type { GradientCodec } from '@troupe/protocol';
import { CollectiveError } from './errors.js';

/** What the bodies of a run's contributions and updates are made of. */
export interface GradientShape {
  readonly codec: GradientCodec;
  /** Elements of each tensor in layout order; they sum to P. */
  readonly tensorSizes: readonly number[];
  /** Floats of end state per stream: L*S*H. */
  readonly stateFloats: number;
}

/**
 * Gradients as bytes, little-endian: with fp16 one float32 scale per tensor, then halves [P], padded to a multiple of four bytes;
 * with fp32 float32 [P]. A value is half * scale. Scales are powers of two, so decoding is exact.
 */
export interface GradientCoder {
  /** P. */
  readonly size: number;
  /**
   * The gradient [P] as a body, valid until the next encode, with `room` bytes behind it for the caller to fill. A value that is not
   * finite stays so, and `defect` finds it.
   */
  encode(gradient: Float32Array, room?: number): Uint8Array<ArrayBuffer>;
  /** Reads `body` into `target` [P]. */
  decode(body: Uint8Array, target: Float32Array): void;
  /** What makes the gradient in `body` unfit to be added, in plain words; undefined when it is sound. */
  defect(body: Uint8Array): string | undefined;
  /** Adds the gradient in `body`, found sound before, to `sum` [P] in the coder's space. */
  addTo(sum: Float64Array, body: Uint8Array): void;
}

/** Body bytes of an update. */
export function updateBytes({ codec, tensorSizes }: GradientShape): number {
  const size = parameterCount(tensorSizes);
  return codec === 'fp32' ? size * 4 : tensorSizes.length * 4 + Math.ceil(size / 2) * 4;
}

/** Body bytes of a contribution for so many streams: the coded gradient sum, then end states float32 [streams, stateFloats]. */
export function contributionBytes(shape: GradientShape, streams: number): number {
  return updateBytes(shape) + streams * shape.stateFloats * 4;
}

export function createGradientCoder(shape: GradientShape, space: VectorSpace): GradientCoder {
  return shape.codec === 'fp32' ? new Float32Coder(shape, space) : new Float16Coder(shape, space);
}

export function parameterCount(tensorSizes: readonly number[]): number {
  return tensorSizes.reduce((total, size) => total + size, 0);
}

/** float32 view of `length` values at byte `offset` of a body; a body that starts at an odd address is copied first. */
export function floatsAt(body: Uint8Array, offset: number, length: number): Float32Array {
  const start = body.byteOffset + offset;
  return start % 4 === 0
    ? new Float32Array(body.buffer, start, length)
    : new Float32Array(body.slice(offset, offset + length * 4).buffer, 0, length);
}

/** Bytes that every encode writes anew: megabytes a round that need not be allocated each time. */
function createScratch(): (bytes: number) => Uint8Array<ArrayBuffer> {
  let buffer = new ArrayBuffer(0);
  return (bytes) => {
    if (buffer.byteLength < bytes) buffer = new ArrayBuffer(bytes);
    return new Uint8Array(buffer, 0, bytes);
  };
}

class Float32Coder implements GradientCoder {
  readonly size: number;
  readonly #space: VectorSpace;
  readonly #scratch = createScratch();

  constructor(shape: GradientShape, space: VectorSpace) {
    this.size = parameterCount(shape.tensorSizes);
    this.#space = space;
  }

  encode(gradient: Float32Array, room = 0): Uint8Array<ArrayBuffer> {
    checkLength(gradient, this.size);
    const body = this.#scratch(this.size * 4 + room);
    body.set(new Uint8Array(gradient.buffer, gradient.byteOffset, gradient.byteLength));
    return body;
  }

  decode(body: Uint8Array, target: Float32Array): void {
    target.set(floatsAt(body, 0, this.size));
  }

  defect(body: Uint8Array): string | undefined {
    return this.#space.isFinite(floatsAt(body, 0, this.size)) ? undefined : 'the gradient holds a NaN or an infinity';
  }

  addTo(sum: Float64Array, body: Uint8Array): void {
    this.#space.addFloat(sum, floatsAt(body, 0, this.size));
  }
}

/** A tensor's largest magnitude is brought below 2^15, one binary place under the end of the halves' range. */
const LARGEST_EXPONENT = 14;
/** Within these, half * scale is a normal float32 for every half, and therefore exact. */
const LEAST_SCALE = 2 ** -100;
const MOST_SCALE = 2 ** 111;

class Float16Coder implements GradientCoder {
  readonly size: number;
  readonly #bytes: number;
  readonly #tensors: readonly { readonly from: number; readonly to: number }[];
  readonly #space: VectorSpace;
  readonly #scratch = createScratch();

  constructor(shape: GradientShape, space: VectorSpace) {
    let to = 0;
    this.#tensors = shape.tensorSizes.map((size) => ({ from: to, to: (to += size) }));
    this.size = to;
    this.#bytes = updateBytes(shape);
    this.#space = space;
  }

  encode(gradient: Float32Array, room = 0): Uint8Array<ArrayBuffer> {
    checkLength(gradient, this.size);
    const body = this.#scratch(this.#bytes + room);
    // With an odd number of halves two bytes of padding remain, which must not vary.
    body.fill(0, this.#bytes - 4, this.#bytes);
    for (const { halves, scales, index, from, to } of this.#sections(body)) {
      const tensor = gradient.subarray(from, to);
      scales[index] = scaleFor(this.#space.maxMagnitude(tensor));
      this.#space.encodeHalf(tensor, 1 / scales[index], halves);
    }
    return body;
  }

  decode(body: Uint8Array, target: Float32Array): void {
    for (const { halves, scales, index, from, to } of this.#sections(body)) {
      this.#space.decodeHalf(halves, scales[index], target.subarray(from, to));
    }
  }

  defect(body: Uint8Array): string | undefined {
    for (const { halves, scales, index } of this.#sections(body)) {
      if (!isScale(scales[index]))
        return `the scale of tensor ${index} is ${scales[index]}, not a power of two between 2^-100 and 2^111`;
      if (!this.#space.isFinite(halves)) return `the gradient of tensor ${index} holds a NaN or an infinity`;
    }
    return undefined;
  }

  addTo(sum: Float64Array, body: Uint8Array): void {
    for (const { halves, scales, index, from, to } of this.#sections(body)) {
      this.#space.addHalf(sum.subarray(from, to), halves, scales[index]);
    }
  }

  #sections(body: Uint8Array) {
    const scales = floatsAt(body, 0, this.#tensors.length);
    const start = body.byteOffset + scales.byteLength;
    const halves =
      start % 2 === 0
        ? new Uint16Array(body.buffer, start, this.size)
        : new Uint16Array(body.slice(scales.byteLength).buffer, 0, this.size);
    return this.#tensors.map(({ from, to }, index) => ({ index, from, to, scales, halves: halves.subarray(from, to) }));
  }
}

/** The power of two whose halves reach up to `magnitude`; 1 where no scale helps (all zero, or not finite). */
function scaleFor(magnitude: number): number {
  if (magnitude === 0 || !Number.isFinite(magnitude)) return 1;
  const exponent = (new Uint32Array(Float32Array.of(magnitude).buffer)[0] >>> 23) - 127;
  return Math.max(LEAST_SCALE, 2 ** (exponent - LARGEST_EXPONENT));
}

function isScale(scale: number): boolean {
  const fraction = new Uint32Array(Float32Array.of(scale).buffer)[0] & 0x7fffff;
  return scale >= LEAST_SCALE && scale <= MOST_SCALE && fraction === 0;
}

function checkLength(gradient: Float32Array, size: number): void {
  if (gradient.length === size) return;
  throw new CollectiveError(
    'bad_length',
    `a gradient of ${gradient.length} values for ${size} parameters`,
    'Check that engine and run use the same model config.',
  );
}
