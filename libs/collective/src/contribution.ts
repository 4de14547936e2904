/** What workers send: the coded gradient of a lease, and its end states. */
import type { GradientPart, VectorMemory } from '@troupe/optim';
import {
  createSegmentReader,
  createSegmentWriter,
  gradientBytes,
  updateShape,
  type GradientShape,
  type Segment,
  type SegmentReader,
} from './codec.js';
import { int8Defect, int8In } from './int8.js';

/** Body bytes of a contribution for `streams` streams: the coded gradient sum, then end states float32 [streams, stateFloats]. */
export function contributionBytes(shape: GradientShape, streams: number): number {
  return gradientBytes(shape) + streams * shape.stateFloats * 4;
}

/** Reads segments of contributions. A part in int8 is a view of the bytes. */
export function createContributionReader(
  { codec }: Pick<GradientShape, 'codec'>,
  memory: VectorMemory,
): SegmentReader<GradientPart> {
  const others = createSegmentReader(updateShape({ codec }), memory);
  return {
    read: (segment, bytes) => (codec === 'int8' ? int8In(bytes, segment.to - segment.from) : others.read(segment, bytes)),
    defect(segment, part) {
      if (part.exponents === undefined) return others.defect(segment, part);
      const defect = int8Defect(part, memory);
      return defect && `in the gradient of tensor ${segment.tensor}, ${defect}`;
    },
  };
}

/** The lease whose gradient is coded. Rounding to int8 depends on it, so every worker that computes a lease sends the same bytes. */
export interface CodedLease {
  readonly round: number;
  readonly streams: readonly number[];
}

/** Writes segments of contributions. */
export interface ContributionWriter {
  /** Writes a segment of `gradient` [P] into `bytes`, which is aligned to four. The reader's `defect` tells of a value that is not finite. */
  encode(gradient: Float32Array, lease: CodedLease, segment: Segment, bytes: Uint8Array): void;
}

/** @param seed of the run */
export function createContributionWriter(
  { codec, seed }: Pick<GradientShape, 'codec'> & { readonly seed: number },
  memory: VectorMemory,
): ContributionWriter {
  if (codec !== 'int8') {
    const writer = createSegmentWriter({ codec }, memory);
    return { encode: (gradient, _, segment, bytes) => writer.encode(gradient, segment, bytes) };
  }
  return {
    encode(gradient, { round, streams }, { from, to }, bytes) {
      const stream = streams.reduce((least, each) => Math.min(least, each));
      memory.encodeInt8(gradient.subarray(from, to), { seed, round, stream, first: from }, int8In(bytes, to - from));
    },
  };
}
