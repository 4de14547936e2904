import { createVectorMemory, type CodedPart, type CodedVector } from '@troupe/optim';
import {
  createSegmentReader,
  createSegmentWriter,
  segmentsOf,
  updateBytes,
  type EncodedUpdate,
  type GradientShape,
  type Intake,
  type Reduction,
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

/** The body of an update with this gradient, in its own memory, with room for more behind it. */
export function encoded(shape: GradientShape, gradient: Float32Array, room = 0): Uint8Array<ArrayBuffer> {
  const body = new Uint8Array(updateBytes(shape) + room);
  const writer = createSegmentWriter(shape, createVectorMemory(0));
  for (const segment of segmentsOf(shape)) {
    writer.encode(gradient, segment, body.subarray(segment.offset, segment.offset + segment.bytes));
  }
  return body;
}

export function partsIn(shape: GradientShape, body: Uint8Array): CodedPart[] {
  const reader = createSegmentReader(shape, createVectorMemory(0));
  return segmentsOf(shape).map((segment) => reader.read(segment, body.subarray(segment.offset, segment.offset + segment.bytes)));
}

/** The body of a finished round's update. */
export function bodyOf({ chunks, encode }: EncodedUpdate): Uint8Array<ArrayBuffer> {
  const parts = chunks.map((chunk) => {
    const payload = new Uint8Array(chunk.bytes);
    encode(chunk, payload);
    return [...payload];
  });
  return Uint8Array.from(parts.flat());
}

/** A contribution that has arrived in pieces of `pieceBytes`. */
export function arrived(reduction: Reduction, streams: number, body: Uint8Array, pieceBytes = 1000): Intake {
  const intake = reduction.intake(streams);
  for (let at = 0; at < body.length; at += pieceBytes) intake.take(body.slice(at, at + pieceBytes));
  return intake;
}
