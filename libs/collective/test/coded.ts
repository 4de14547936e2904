import { createVectorMemory, decodeInt8, vectorMemoryBytes, type CodedPart, type CodedVector } from '@troupe/optim';
import {
  contributionBytes,
  createContributionWriter,
  createSegmentReader,
  createSegmentWriter,
  segmentsOf,
  updateBytes,
  updateShape,
  type CodedLease,
  type GradientShape,
} from '../src/index.js';

/** Decodes a vector. */
export function floats(coded: CodedVector): Float32Array {
  if (coded instanceof Float32Array) return coded;
  const memory = createVectorMemory(0);
  const parts = coded.map((part) => {
    if (part.exponents !== undefined) return [...decodeInt8(part)];
    if (part.scale === undefined) return [...part.values];
    const values = new Float32Array(part.values.length);
    memory.decodeHalf(part.values, part.scale, values);
    return [...values];
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

/** The body of the update with this mean. */
export function encodedUpdate(run: GradientShape, mean: Float32Array, round: number): Uint8Array {
  const shape = updateShape(run);
  const memory = createVectorMemory(vectorMemoryBytes({ float64: [mean.length] }));
  const sum = memory.allocateFloat64(mean.length);
  sum.set(mean);
  const body = new Uint8Array(updateBytes(run));
  const writer = createSegmentWriter(shape, memory);
  for (const segment of segmentsOf(shape)) {
    const values = sum.subarray(segment.from, segment.to);
    const largest = values.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    const bytes = body.subarray(segment.offset, segment.offset + segment.bytes);
    writer.encodeMean(segment, values, { round, factor: 1, largest }, bytes);
  }
  return body;
}

/** Of the body of a contribution. */
export function contributionParts(shape: GradientShape, body: Uint8Array): CodedPart[] {
  const reader = createSegmentReader(shape, createVectorMemory(0));
  return segmentsOf(shape).map((segment) => reader.read(segment, body.subarray(segment.offset, segment.offset + segment.bytes)));
}

/** Of the body of an update. */
export function partsIn(run: GradientShape, body: Uint8Array): CodedPart[] {
  const shape = updateShape(run);
  const reader = createSegmentReader(shape, createVectorMemory(0));
  return segmentsOf(shape).map((segment) => reader.read(segment, body.subarray(segment.offset, segment.offset + segment.bytes)));
}
