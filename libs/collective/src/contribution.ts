/** What workers send: the coded gradient of a lease, and its end states. */
import type { VectorMemory } from '@troupe/optim';
import { createSegmentWriter, gradientBytes, isInt8, type GradientShape, type Segment } from './codec.js';

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
  const writer = createSegmentWriter({ codec }, memory);
  // Only int8 needs it, and it takes a pass over the streams for each segment.
  const firstOf = (streams: readonly number[]): number =>
    isInt8(codec) ? streams.reduce((least, stream) => Math.min(least, stream)) : 0;
  return {
    encode: (gradient, { round, streams }, segment, bytes) =>
      writer.encode(gradient, { seed, round, stream: firstOf(streams) }, segment, bytes),
  };
}
