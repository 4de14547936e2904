/** What arrives of a range of a gradient, checked while the rest is on its way. */
import type { CodedPart } from '@troupe/optim';
import type { Segment, SegmentReader } from './codec.js';

/** A range of a coded gradient that arrives. */
export interface Intake {
  /** Where its bytes go. */
  readonly memory: Uint8Array;
  /** One part per segment, in layout order; complete when all bytes have arrived. */
  readonly gradient: readonly CodedPart[];
  /** What is wrong with what has arrived so far. */
  readonly defect: string | undefined;
  take(piece: Uint8Array): void;
}

/**
 * @param segments of the range, in the order in which they arrive
 * @param memory where the bytes go: as many as the segments have, aligned to four. Pieces are copied there at once, because the memory
 *   of many pieces that live as long as a round would make the collector work.
 */
export function createIntake(segments: readonly Segment[], reader: SegmentReader, memory: Uint8Array): Intake {
  const gradient = new Array<CodedPart>(segments.length);
  let received = 0;
  let arrived = 0;
  let defect: string | undefined;

  function checkArrived(): void {
    for (let next = segments[arrived]; next && next.offset + next.bytes <= received; next = segments[arrived]) {
      const part = reader.read(next, memory.subarray(next.offset, next.offset + next.bytes));
      gradient[next.index] = part;
      arrived++;
      defect ??= reader.defect(next, part);
    }
  }

  return {
    memory,
    gradient,
    get defect() {
      return defect;
    },
    take(piece) {
      memory.set(piece, received);
      received += piece.byteLength;
      checkArrived();
    },
  };
}

/** The intake, when all of its bytes are here already. */
export function filled(intake: Intake, bytes: Uint8Array): Intake {
  intake.take(bytes);
  return intake;
}
