import type { CodedPart, RoundingKey, VectorMemory } from '@troupe/optim';
import type { GradientCodec } from '@troupe/protocol';
import { int8Bytes, int8Defect, int8In } from './int8.js';

/** Layout of the bodies of a run's contributions and updates. */
export interface GradientShape {
  readonly codec: GradientCodec;
  /** Elements of each tensor in layout order; they sum to P. */
  readonly tensorSizes: readonly number[];
  /** Floats of end state per stream: L*S*H. */
  readonly stateFloats: number;
}

/**
 * Parameters in a segment at most. A coded gradient consists of segments: consecutive parameters of one tensor, coded by themselves, so
 * that each can leave, be checked and be applied before the next exists, and so that ranges of whole segments can be summed in different
 * places with the same bits. It is also the number of elements that the vector kernels take at once.
 */
export const SEGMENT_PARAMETERS = 16_384;

/** Where a segment lies. */
export interface Segment {
  /** Among the segments of its range, in layout order. */
  readonly index: number;
  /** Index of its tensor. */
  readonly tensor: number;
  /** Parameters [from, to). */
  readonly from: number;
  readonly to: number;
  /** Its bytes in the body that carries its range. */
  readonly offset: number;
  readonly bytes: number;
}

/** The codec of updates: with int8, only contributions are in int8. */
export type UpdateCodec = Exclude<GradientCodec, 'int8-both'>;

/** The shape of a run's updates; `shape` is that of its contributions. The segments are the same, but for their bytes. */
export function updateShape<S extends Pick<GradientShape, 'codec'>>(shape: S): S & { readonly codec: UpdateCodec } {
  return { ...shape, codec: UPDATE_CODECS[shape.codec] };
}

const UPDATE_CODECS: Readonly<Record<GradientCodec, UpdateCodec>> = {
  fp16: 'fp16',
  fp32: 'fp32',
  int8: 'fp16',
  'int8-both': 'int8',
};

/** The segments of a run's gradients, in layout order: a tensor is cut every SEGMENT_PARAMETERS. */
export function segmentsOf({ codec, tensorSizes }: Pick<GradientShape, 'codec' | 'tensorSizes'>): readonly Segment[] {
  const segments: Segment[] = [];
  let [from, offset] = [0, 0];
  for (const [tensor, size] of tensorSizes.entries()) {
    const end = from + size;
    while (from < end) {
      const to = Math.min(end, from + SEGMENT_PARAMETERS);
      const bytes = segmentBytes(codec, to - from);
      segments.push({ index: segments.length, tensor, from, to, offset, bytes });
      [from, offset] = [to, offset + bytes];
    }
  }
  return segments;
}

/** Bytes of a body with these segments. */
export function bytesOf(range: readonly Segment[]): number {
  return range.reduce((total, { bytes }) => total + bytes, 0);
}

function segmentBytes(codec: GradientCodec, length: number): number {
  switch (codec) {
    case 'fp32':
      return length * 4;
    case 'fp16':
      return 4 + Math.ceil(length / 2) * 4;
    case 'int8':
    case 'int8-both':
      return int8Bytes(length);
    default:
      return codec satisfies never;
  }
}

/**
 * Reads the bytes of one segment, little-endian. fp16: a float32 scale, then halves, padded to a multiple of four bytes; a value is half *
 * scale, and scales are powers of two, so decoding is exact. int8: see int8.ts. fp32: float32.
 */
export interface SegmentReader {
  /** The values, as a view of `bytes` where it is aligned. */
  read(segment: Segment, bytes: Uint8Array): CodedPart;
  /** What is wrong with `part`: a scale that is not allowed, a NaN or an infinity; undefined when it is sound. */
  defect(segment: Segment, part: CodedPart): string | undefined;
}

/** A mean that is coded. */
export interface CodedMean {
  readonly round: number;
  /** What the sum is multiplied by. */
  readonly factor: number;
  /** Largest magnitude of the sum. */
  readonly largest: number;
}

/** What the noise of int8 depends on, besides the place of a value. */
export type Noise = Omit<RoundingKey, 'first'>;

/** Writes one segment into `bytes`, which is aligned to four. A value that is not finite stays so. */
export interface SegmentWriter {
  /** `gradient` [P]. `noise` concerns int8 alone. */
  encode(gradient: Float32Array, noise: Noise, segment: Segment, bytes: Uint8Array): void;
  /** float32(sum * factor), as `encode` would write it. `sum`, of the segment alone, is resident in the writer's memory. */
  encodeMean(segment: Segment, sum: Float64Array, mean: CodedMean, bytes: Uint8Array): void;
}

/** Bytes of a coded gradient: of all its segments. */
export function gradientBytes({ codec, tensorSizes }: Pick<GradientShape, 'codec' | 'tensorSizes'>): number {
  return tensorSizes.reduce((total, size) => {
    const rest = size % SEGMENT_PARAMETERS;
    const whole = (size - rest) / SEGMENT_PARAMETERS;
    return total + whole * segmentBytes(codec, SEGMENT_PARAMETERS) + (rest > 0 ? segmentBytes(codec, rest) : 0);
  }, 0);
}

/** Body bytes of an update. */
export function updateBytes(shape: Pick<GradientShape, 'codec' | 'tensorSizes'>): number {
  return gradientBytes(updateShape(shape));
}

/** @param memory for the check of the values; absent: `defect` checks scales alone, because the optimizer step checks the values */
export function createSegmentReader({ codec }: Pick<GradientShape, 'codec'>, memory?: VectorMemory): SegmentReader {
  return {
    read({ from, to }, bytes) {
      if (isInt8(codec)) return int8In(bytes, to - from);
      if (codec === 'fp32') return { values: floatsAt(bytes, 0, to - from) };
      return { values: halvesAt(bytes, 4, to - from), scale: floatsAt(bytes, 0, 1)[0] };
    },
    defect({ tensor }, part) {
      const { values, scale } = part;
      if (part.exponents !== undefined) {
        const defect = int8Defect(part, memory);
        return defect && `in the gradient of tensor ${tensor}, ${defect}`;
      }
      if (scale !== undefined && !isScale(scale))
        return `a scale of tensor ${tensor} is ${scale}, not a power of two between 2^-100 and 2^111`;
      return memory === undefined || memory.isFinite(values)
        ? undefined
        : `the gradient of tensor ${tensor} holds a NaN or an infinity`;
    },
  };
}

export function createSegmentWriter({ codec }: Pick<GradientShape, 'codec'>, memory: VectorMemory): SegmentWriter {
  if (isInt8(codec)) return createInt8Writer(memory);
  if (codec === 'fp32') {
    return {
      encode: (gradient, _, { from, to }, bytes) => floatsAt(bytes, 0, to - from).set(gradient.subarray(from, to)),
      encodeMean: (_, sum, { factor }, bytes) => memory.scaleToFloat(sum, factor, floatsAt(bytes, 0, sum.length)),
    };
  }
  const begin = (scale: number, length: number, bytes: Uint8Array): Uint16Array => {
    floatsAt(bytes, 0, 1)[0] = scale;
    return halvesAt(bytes, 4, length);
  };
  return {
    encode(gradient, _, { from, to }, bytes) {
      const values = gradient.subarray(from, to);
      const scale = scaleFor(memory.maxMagnitude(values));
      memory.encodeHalf(values, 1 / scale, begin(scale, values.length, bytes));
    },
    encodeMean(_, sum, { factor, largest }, bytes) {
      // Multiplying and rounding preserve the order of magnitudes: the largest of the sum becomes the largest of the mean.
      const scale = scaleFor(Math.fround(largest * factor));
      memory.scaleToHalf(sum, factor, 1 / scale, begin(scale, sum.length, bytes));
    },
  };
}

/** Names the noise of updates, which all replicas read from the same bytes. No lease has this stream. */
const UPDATE_NOISE = { seed: 0x6d65616e, stream: 0xffffffff };

function createInt8Writer(memory: VectorMemory): SegmentWriter {
  const write = (values: Float32Array, noise: Noise, { from, to }: Segment, bytes: Uint8Array): void =>
    memory.encodeInt8(values, { ...noise, first: from }, int8In(bytes, to - from));
  return {
    encode: (gradient, noise, segment, bytes) => write(gradient.subarray(segment.from, segment.to), noise, segment, bytes),
    encodeMean(segment, sum, { factor, round }, bytes) {
      const mean = new Float32Array(sum.length);
      memory.scaleToFloat(sum, factor, mean);
      write(mean, { ...UPDATE_NOISE, round }, segment, bytes);
    },
  };
}

export function isInt8(codec: GradientCodec): boolean {
  return codec === 'int8' || codec === 'int8-both';
}

/** Consecutive segments that travel in one chunk. */
export interface SegmentChunk {
  readonly segments: readonly Segment[];
  readonly offset: number;
  readonly bytes: number;
}

/** Divides segments into chunks of at most `chunkBytes`, or of one segment. */
export function chunksOf(segments: readonly Segment[], chunkBytes: number): readonly SegmentChunk[] {
  const chunks: { segments: Segment[]; offset: number; bytes: number }[] = [];
  for (const segment of segments) {
    const last = chunks.at(-1);
    if (last && last.bytes + segment.bytes <= chunkBytes) {
      last.segments.push(segment);
      last.bytes += segment.bytes;
    } else chunks.push({ segments: [segment], offset: segment.offset, bytes: segment.bytes });
  }
  return chunks;
}

/** The segments of a chunk, each with its bytes in the chunk's payload. */
export function inChunk(
  { segments, offset }: SegmentChunk,
  payload: Uint8Array,
): { readonly segment: Segment; readonly bytes: Uint8Array }[] {
  return segments.map((segment) => {
    const at = segment.offset - offset;
    return { segment, bytes: payload.subarray(at, at + segment.bytes) };
  });
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

/** The scale brings a segment's largest magnitude below 2^15, one binary place under the largest half. */
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
