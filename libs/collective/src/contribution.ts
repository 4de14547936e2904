/** What workers send: the coded gradient of a lease, and its end states. */
import type { VectorMemory } from '@troupe/optim';
import { createSegmentWriter, gradientBytes, isInt8, updateShape, type GradientShape, type Segment } from './codec.js';
import { int8In } from './int8.js';

/** Body bytes of a contribution for `streams` streams: the coded gradient sum, then end states float32 [streams, stateFloats]. */
export function contributionBytes(shape: GradientShape, streams: number): number {
  return gradientBytes(shape) + streams * shape.stateFloats * 4;
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
  if (!isInt8(codec)) {
    const writer = createSegmentWriter(updateShape({ codec }), memory);
    return { encode: (gradient, _, segment, bytes) => writer.encode(gradient, segment, bytes) };
  }
  return {
    encode(gradient, { round, streams }, { from, to }, bytes) {
      const stream = streams.reduce((least, each) => Math.min(least, each));
      memory.encodeInt8(gradient.subarray(from, to), { seed, round, stream, first: from }, int8In(bytes, to - from));
    },
  };
}
