import { vectorMemoryBytes, type CodedVector, type VectorMemory } from '@troupe/optim';
import type { GradientCodec } from '@troupe/protocol';
import { CollectiveError } from './errors.js';

/** Layout of the bodies of a run's contributions and updates. */
export interface GradientShape {
  readonly codec: GradientCodec;
  /** Elements of each tensor in layout order; they sum to P. */
  readonly tensorSizes: readonly number[];
  /** Floats of end state per stream: L*S*H. */
  readonly stateFloats: number;
}

/**
 * Reads gradients from bytes, little-endian. fp16: one float32 scale per tensor, then halves [P], padded to a multiple of four bytes.
 * fp32: float32 [P]. A value is half * scale. Scales are powers of two, so decoding is exact.
 */
export interface GradientReader {
  /** The gradient [P] in `body`, as views of it: one part per tensor with fp16, one vector of floats with fp32. */
  read(body: Uint8Array): CodedVector;
  /** What is wrong with the scales in `body`; undefined when they are valid. Values are not checked. */
  defect(body: Uint8Array): string | undefined;
}

/** Writes bodies into its own memory; each is valid until the next. A value that is not finite stays so. */
export interface GradientWriter {
  /** The gradient [P]. @throws CollectiveError `bad_length` */
  encode(gradient: Float32Array): Uint8Array<ArrayBuffer>;
  /**
   * float32(sum * factor), as `encode` would write it. `sum` [P] is resident in the writer's memory; `largest` holds its largest
   * magnitude per tensor with fp16.
   */
  encodeMean(sum: Float64Array, factor: number, largest: readonly number[]): Uint8Array<ArrayBuffer>;
}

/** Body bytes of an update. */
export function updateBytes({ codec, tensorSizes }: GradientShape): number {
  const size = parameterCount(tensorSizes);
  return codec === 'fp32' ? size * 4 : tensorSizes.length * 4 + Math.ceil(size / 2) * 4;
}

/** Body bytes of a contribution for `streams` streams: the coded gradient sum, then end states float32 [streams, stateFloats]. */
export function contributionBytes(shape: GradientShape, streams: number): number {
  return updateBytes(shape) + streams * shape.stateFloats * 4;
}

/** Bytes that a writer takes in its memory. */
export function writerBytes(shape: GradientShape): number {
  return vectorMemoryBytes({ float32: [updateBytes(shape) / 4] });
}

export function createGradientReader(shape: GradientShape): GradientReader {
  const size = parameterCount(shape.tensorSizes);
  if (shape.codec === 'fp32') return { read: (body) => floatsAt(body, 0, size), defect: () => undefined };
  const tensors = tensorRanges(shape.tensorSizes);
  return {
    read(body) {
      const scales = floatsAt(body, 0, tensors.length);
      const halves = halvesAt(body, scales.byteLength, size);
      return tensors.map(({ from, to }, k) => ({ values: halves.subarray(from, to), scale: scales[k] }));
    },
    defect(body) {
      const scales = floatsAt(body, 0, tensors.length);
      const wrong = scales.findIndex((scale) => !isScale(scale));
      if (wrong < 0) return undefined;
      return `the scale of tensor ${wrong} is ${scales[wrong]}, not a power of two between 2^-100 and 2^111`;
    },
  };
}

/** @throws OptimError `out_of_memory` when `memory` lacks `writerBytes` */
export function createGradientWriter(shape: GradientShape, memory: VectorMemory): GradientWriter {
  const storage = memory.allocateFloat32(updateBytes(shape) / 4);
  const body = new Uint8Array(storage.buffer as ArrayBuffer, storage.byteOffset, storage.byteLength);
  const write = shape.codec === 'fp32' ? floatWriter(storage, memory) : halfWriter(shape, storage, memory);
  const size = parameterCount(shape.tensorSizes);
  return {
    encode(gradient) {
      checkLength(gradient, size);
      write.encode(gradient);
      return body;
    },
    encodeMean(sum, factor, largest) {
      write.encodeMean(sum, factor, largest);
      return body;
    },
  };
}

export function parameterCount(tensorSizes: readonly number[]): number {
  return tensorSizes.reduce((total, size) => total + size, 0);
}

/** float32 view of `length` values at byte `offset` of a body; a copy where the body is not aligned. */
export function floatsAt(body: Uint8Array, offset: number, length: number): Float32Array {
  const start = body.byteOffset + offset;
  return start % 4 === 0
    ? new Float32Array(body.buffer, start, length)
    : new Float32Array(body.slice(offset, offset + length * 4).buffer, 0, length);
}

function halvesAt(body: Uint8Array, offset: number, length: number): Uint16Array {
  const start = body.byteOffset + offset;
  return start % 2 === 0
    ? new Uint16Array(body.buffer, start, length)
    : new Uint16Array(body.slice(offset, offset + length * 2).buffer, 0, length);
}

function tensorRanges(sizes: readonly number[]): readonly { readonly from: number; readonly to: number }[] {
  let to = 0;
  return sizes.map((size) => ({ from: to, to: (to += size) }));
}

/** Writes into one body. */
interface BodyWriter {
  encode(gradient: Float32Array): void;
  encodeMean: (...mean: Parameters<GradientWriter['encodeMean']>) => void;
}

function floatWriter(body: Float32Array, memory: VectorMemory): BodyWriter {
  return {
    encode: (gradient) => body.set(gradient),
    encodeMean: (sum, factor) => memory.scaleToFloat(sum, factor, body),
  };
}

function halfWriter({ tensorSizes }: GradientShape, body: Float32Array, memory: VectorMemory): BodyWriter {
  const tensors = tensorRanges(tensorSizes);
  const scales = body.subarray(0, tensors.length);
  const halves = halvesAt(
    new Uint8Array(body.buffer, body.byteOffset, body.byteLength),
    scales.byteLength,
    parameterCount(tensorSizes),
  );
  const parts = tensors.map(({ from, to }) => halves.subarray(from, to));
  return {
    encode(gradient) {
      for (const [k, { from, to }] of tensors.entries()) {
        const tensor = gradient.subarray(from, to);
        scales[k] = scaleFor(memory.maxMagnitude(tensor));
        memory.encodeHalf(tensor, 1 / scales[k], parts[k]);
      }
    },
    encodeMean(sum, factor, largest) {
      for (const [k, { from, to }] of tensors.entries()) {
        // Multiplying and rounding preserve the order of magnitudes: the largest of the sum becomes the largest of the mean.
        scales[k] = scaleFor(Math.fround(largest[k] * factor));
        memory.scaleToHalf(sum.subarray(from, to), factor, 1 / scales[k], parts[k]);
      }
    },
  };
}

/** The scale brings a tensor's largest magnitude below 2^15, one binary place under the largest half. */
const LARGEST_EXPONENT = 14;
/** Between these, half * scale is a normal float32 for every half, and therefore exact. */
const MIN_SCALE = 2 ** -100;
const MAX_SCALE = 2 ** 111;

/** The power of two whose halves reach up to `magnitude`; 1 where no scale helps (all zero or not finite). */
function scaleFor(magnitude: number): number {
  if (magnitude === 0 || !Number.isFinite(magnitude)) return 1;
  const exponent = (new Uint32Array(Float32Array.of(magnitude).buffer)[0] >>> 23) - 127;
  return Math.max(MIN_SCALE, 2 ** (exponent - LARGEST_EXPONENT));
}

function isScale(scale: number): boolean {
  const fraction = new Uint32Array(Float32Array.of(scale).buffer)[0] & 0x7fffff;
  return scale >= MIN_SCALE && scale <= MAX_SCALE && fraction === 0;
}

function checkLength(gradient: Float32Array, size: number): void {
  if (gradient.length === size) return;
  throw new CollectiveError(
    'bad_length',
    `a gradient of ${gradient.length} values for ${size} parameters`,
    'Check that the engine and the run use the same model config.',
  );
}
