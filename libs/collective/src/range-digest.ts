/** Tells whether two sides have the same bytes of a range of an update. */
import type { VectorMemory } from '@troupe/optim';
import { floatsAt, type Segment } from './codec.js';

/** 16 hex digits over the bytes of a segment, whose length is a multiple of four. */
export function segmentDigest(memory: Pick<VectorMemory, 'digest'>, bytes: Uint8Array): string {
  return memory.digest(floatsAt(bytes, 0, bytes.byteLength / 4));
}

/** One digest for those of the segments of a range, in layout order. */
export function foldDigests(memory: Pick<VectorMemory, 'digest'>, digests: readonly string[]): string {
  const words = digests.flatMap((digest) => [digest.slice(0, 8), digest.slice(8)].map((half) => parseInt(half, 16)));
  return memory.digest(new Float32Array(Uint32Array.from(words).buffer));
}

/** @param bytes of the range, whose segments are at their offsets */
export function rangeDigest(memory: Pick<VectorMemory, 'digest'>, segments: readonly Segment[], bytes: Uint8Array): string {
  const each = segments.map(({ offset, bytes: length }) => segmentDigest(memory, bytes.subarray(offset, offset + length)));
  return foldDigests(memory, each);
}
