/** What arrives of a contribution, checked while the rest is on its way. */
import type { GradientPart } from '@troupe/optim';
import { segmentsOf, type GradientShape, type SegmentReader } from './codec.js';

/** Takes a body piece by piece, and hands over its parts as they are whole. */
export interface BodySplitter {
  readonly received: number;
  /** @returns undefined; bytes beyond the last part are ignored */
  take(piece: Uint8Array): void;
}

/**
 * Cuts a body into parts of these lengths. A part within one piece is a view of that piece.
 * @param onPart called once for each part, in order
 */
export function createBodySplitter(lengths: readonly number[], onPart: (index: number, bytes: Uint8Array) => void): BodySplitter {
  let received = 0;
  let index = 0;
  /** Bytes of the current part that came in earlier pieces. */
  let partial: Uint8Array | undefined;
  let filled = 0;

  /** @returns bytes used of `piece` from `at` on */
  function fill(piece: Uint8Array, at: number): number {
    const missing = lengths[index] - filled;
    const used = Math.min(missing, piece.byteLength - at);
    const bytes = piece.subarray(at, at + used);
    if (filled === 0 && used === missing) {
      onPart(index++, bytes);
      return used;
    }
    partial ??= new Uint8Array(lengths[index]);
    partial.set(bytes, filled);
    filled += used;
    if (used < missing) return used;
    const whole = partial;
    [partial, filled] = [undefined, 0];
    onPart(index++, whole);
    return used;
  }

  return {
    get received() {
      return received;
    },
    take(piece) {
      received += piece.byteLength;
      for (let at = 0; at < piece.byteLength && index < lengths.length;) at += fill(piece, at);
    },
  };
}

/** A contribution whose body arrives. */
export interface Intake {
  readonly received: number;
  /** Of the whole body. */
  readonly bytes: number;
  /** The coded gradient, one part per segment; complete when all bytes are received. */
  readonly gradient: readonly GradientPart[];
  /** float32 [streams, stateFloats]; complete when all bytes are received. */
  readonly endStates: Uint8Array;
  /** What is wrong with what has arrived so far. */
  readonly defect: string | undefined;
  take(piece: Uint8Array): void;
}

/**
 * @param memory where the coded gradient goes, aligned to four bytes: its size is contributionBytes without streams. Pieces are copied there
 *   at once, because the memory of many pieces that live as long as a round would make the collector work.
 */
export function createIntake(
  shape: GradientShape,
  streams: number,
  reader: SegmentReader<GradientPart>,
  memory: Uint8Array,
): Intake {
  const segments = segmentsOf(shape);
  const gradient: GradientPart[] = [];
  const endStates = new Uint8Array(streams * shape.stateFloats * 4);
  let received = 0;
  let defect: string | undefined;

  function checkArrived(): void {
    for (let next = segments[gradient.length]; next && next.offset + next.bytes <= received; next = segments[gradient.length]) {
      const part = reader.read(next, memory.subarray(next.offset, next.offset + next.bytes));
      gradient.push(part);
      defect ??= reader.defect(next, part);
    }
  }

  return {
    bytes: memory.byteLength + endStates.byteLength,
    gradient,
    endStates,
    get received() {
      return received;
    },
    get defect() {
      return defect;
    },
    take(piece) {
      const split = Math.max(Math.min(memory.byteLength - received, piece.byteLength), 0);
      if (split > 0) memory.set(piece.subarray(0, split), received);
      const at = received + split - memory.byteLength;
      if (at >= 0 && at < endStates.byteLength) endStates.set(piece.subarray(split, split + endStates.byteLength - at), at);
      received += piece.byteLength;
      checkArrived();
    },
  };
}
