import { createVectorMemory, type CodedPart, type CodedVector, type GradientPart } from '@troupe/optim';
import {
  contributionBytes,
  createContributionReader,
  createContributionWriter,
  createSegmentReader,
  segmentsOf,
  updateShape,
  type CodedLease,
  type GradientShape,
} from '../src/index.js';

/** Decodes a vector. */
export function floats(coded: CodedVector): Float32Array {
  if (coded instanceof Float32Array) return coded;
  const memory = createVectorMemory(0);
  const parts = coded.map(({ values, scale }) => {
    if (values instanceof Float32Array) return [...values];
    const part = new Float32Array(values.length);
    memory.decodeHalf(values, scale!, part);
    return [...part];
  });
  return Float32Array.from(parts.flat());
}

const LEASE: CodedLease = { round: 4, streams: [2, 0] };

/** The body of a contribution with this gradient, in its own memory, with room for its end states. */
export function encoded(shape: GradientShape, gradient: Float32Array, room = 0, lease = LEASE): Uint8Array<ArrayBuffer> {
  const body = new Uint8Array(contributionBytes(shape, 0) + room);
  const writer = createContributionWriter({ ...shape, seed: 5 }, createVectorMemory(0));
  for (const segment of segmentsOf(shape)) {
    writer.encode(gradient, lease, segment, body.subarray(segment.offset, segment.offset + segment.bytes));
  }
  return body;
}

/** Of the body of a contribution. */
export function contributionParts(shape: GradientShape, body: Uint8Array): GradientPart[] {
  const reader = createContributionReader(shape, createVectorMemory(0));
  return segmentsOf(shape).map((segment) => reader.read(segment, body.subarray(segment.offset, segment.offset + segment.bytes)));
}

/** Of the body of an update. */
export function partsIn(run: GradientShape, body: Uint8Array): CodedPart[] {
  const shape = updateShape(run);
  const reader = createSegmentReader(shape, createVectorMemory(0));
  return segmentsOf(shape).map((segment) => reader.read(segment, body.subarray(segment.offset, segment.offset + segment.bytes)));
}
