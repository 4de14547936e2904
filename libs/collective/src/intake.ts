/** What arrives of a contribution, checked while the rest is on its way. */
import type { GradientPart } from '@troupe/optim';
import type { Segment, SegmentReader } from './codec.js';

/** A contribution whose body arrives. */
export interface Intake {
  /** Where the coded gradient goes. */
  readonly memory: Uint8Array;
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
 * @param segments of the gradient
 * @param memory where the coded gradient goes: gradientBytes, aligned to four. Pieces are copied there at once, because the memory of many
 *   pieces that live as long as a round would make the collector work.
 * @param stateBytes of the end states
 */
export function createIntake(
  segments: readonly Segment[],
  reader: SegmentReader<GradientPart>,
  memory: Uint8Array,
  stateBytes: number,
): Intake {
  const gradient: GradientPart[] = [];
  const endStates = new Uint8Array(stateBytes);
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
    memory,
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
