/** The exact sum of a range of a round's gradients, segment by segment. */
import type { CodedPart, VectorMemory } from '@troupe/optim';
import { SEGMENT_PARAMETERS, type CodedMean, type Segment, type SegmentWriter } from './codec.js';

/** What a range of a gradient arrives in: one part per segment, in layout order. */
export interface Carrier {
  readonly gradient: readonly CodedPart[];
}

export interface SegmentMeasures {
  /** Sum of x^2, float64. */
  readonly squares: number;
  /** Largest |x|. */
  readonly largest: number;
}

export interface GradientSum<C extends Carrier> {
  /** Drops everything that was added. */
  clear(): void;
  /**
   * Adds a gradient, whose bytes must not change until its carrier is returned, or until `clear`.
   * @returns carriers whose gradients are no longer needed
   */
  add(carrier: C): readonly C[];
  /** Sum of x^2 of a gradient, which need not be added. */
  squaresOf(carrier: C): number;
  /** Of each segment. To be called once, when all gradients are added. */
  measure(): readonly SegmentMeasures[];
  /** Writes float32(sum * factor) of a segment; `measure` has been called. */
  encodeMean(segment: Segment, mean: CodedMean, bytes: Uint8Array): void;
}

/**
 * Up to this many gradients are kept instead of added. A segment's sum is then formed twice, once to measure it and once to code it, and
 * stays in the cache. While the gradients are few, that costs less than storing the sum of P float64.
 */
const KEPT_GRADIENTS = 4;

/** Lengths of the float64 vectors that a sum takes in its memory. */
export const gradientSumFloats = (parameters: number): readonly number[] => [parameters, SEGMENT_PARAMETERS];

/** Parameters in the segments of a range, which are in layout order. */
export const parametersIn = (segments: readonly Segment[]): number => (segments.at(-1)?.to ?? 0) - (segments[0]?.from ?? 0);

/**
 * @param segments of a range, in layout order
 * @param memory has room for `gradientSumFloats` float64
 */
export function createGradientSum<C extends Carrier>(
  segments: readonly Segment[],
  writer: SegmentWriter,
  memory: VectorMemory,
): GradientSum<C> {
  const [parameters, segmentFloats] = gradientSumFloats(parametersIn(segments));
  const first = segments[0]?.from ?? 0;
  /** The sum of what is not in `kept`, if `stored`; else values of a round before. */
  const sum = memory.allocateFloat64(parameters);
  const scratch = memory.allocateFloat64(segmentFloats);
  let stored = false;
  let kept: C[] = [];

  const storedAt = ({ from, to }: Segment): Float64Array => sum.subarray(from - first, to - first);

  /** Adds a gradient to the stored sum. */
  function store({ gradient }: Carrier): void {
    for (const segment of segments) memory.add(storedAt(segment), [gradient[segment.index]], !stored);
    stored = true;
  }

  /** All but the last gradient of a segment, where the sum may be changed; `fresh`: nothing is there. */
  function sumBeforeLast(segment: Segment): { readonly values: Float64Array; readonly fresh: boolean } {
    if (stored) return { values: storedAt(segment), fresh: false };
    const values = scratch.subarray(0, segment.to - segment.from);
    const before = kept.slice(0, -1);
    before.forEach(({ gradient }, i) => memory.add(values, [gradient[segment.index]], i === 0));
    return { values, fresh: before.length === 0 };
  }

  return {
    clear() {
      stored = false;
      kept = [];
    },
    add(carrier) {
      kept.push(carrier);
      // The last one is added while the sum is measured.
      const done = stored || kept.length > KEPT_GRADIENTS ? kept.splice(0, kept.length - 1) : [];
      for (const each of done) store(each);
      return done;
    },
    squaresOf: ({ gradient }) =>
      segments.reduce((total, { from, to, index }) => {
        return total + memory.addLast(scratch.subarray(0, to - from), [gradient[index]], true).squares;
      }, 0),
    measure: () =>
      segments.map((segment) => {
        const { values, fresh } = sumBeforeLast(segment);
        const { squares, largest } = memory.addLast(values, [kept.at(-1)!.gradient[segment.index]], fresh);
        return { squares, largest: largest[0] };
      }),
    encodeMean(segment, mean, bytes) {
      const { values, fresh } = sumBeforeLast(segment);
      if (!stored) memory.add(values, [kept.at(-1)!.gradient[segment.index]], fresh);
      writer.encodeMean(segment, values, mean, bytes);
    },
  };
}
