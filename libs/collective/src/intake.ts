/** What arrives of a contribution, checked while the rest is on its way. */
import type { GradientPart } from '@troupe/optim';
import { segmentsOf, type GradientShape, type SegmentReader } from './codec.js';
import { contributionBytes } from './contribution.js';

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
  /** float32 [streams, stateFloats]; undefined until they are received. */
  readonly endStates: Uint8Array | undefined;
  /** What is wrong with what has arrived so far. */
  readonly defect: string | undefined;
  take(piece: Uint8Array): void;
}

export function createIntake(shape: GradientShape, streams: number, reader: SegmentReader<GradientPart>): Intake {
  const segments = segmentsOf(shape);
  const bytes = contributionBytes(shape, streams);
  const gradient: GradientPart[] = [];
  let endStates: Uint8Array | undefined;
  let defect: string | undefined;
  const lengths = [...segments.map((segment) => segment.bytes), streams * shape.stateFloats * 4];
  const splitter = createBodySplitter(lengths, (index, part) => {
    if (index === segments.length) {
      endStates = part;
      return;
    }
    const values = reader.read(segments[index], part);
    gradient.push(values);
    defect ??= reader.defect(segments[index], values);
  });
  return {
    bytes,
    gradient,
    get received() {
      return splitter.received;
    },
    get endStates() {
      return endStates;
    },
    get defect() {
      return defect;
    },
    take: (piece) => splitter.take(piece),
  };
}
