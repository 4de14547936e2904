/** The sum of one range of the parameters over the contributions of a round. */
import { createVectorMemory, vectorMemoryBytes, type KernelKind } from '@troupe/optim';
import { LIMITS } from '@troupe/protocol';
import {
  bytesOf,
  chunksOf,
  createSegmentReader,
  createSegmentWriter,
  inChunk,
  updateShape,
  type CodedMean,
  type GradientShape,
  type Segment,
  type SegmentChunk,
  type SegmentReader,
} from './codec.js';
import { createGradientSum, gradientSumFloats, parametersIn, type GradientSum, type SegmentMeasures } from './gradient-sum.js';
import { createIntake, type Intake } from './intake.js';
import type { RangeLayout, SegmentRange } from './ranges.js';

/** Bodies whose memory is kept for the next contributions. More are seldom under way at once. */
const SPARE_BODIES = 8;

export interface RangeOptions extends Pick<GradientShape, 'codec' | 'tensorSizes'> {
  readonly layout: RangeLayout;
  readonly range: SegmentRange;
  /** For tests; see createVectorMemory. */
  readonly kind?: KernelKind;
}

/**
 * Holds what arrives, and adds what counts in the order in which it is told. What counts may be known before it is here: a range whose
 * reducer was lost is summed once more from what workers send again.
 *
 * A gradient is checked while it arrives and added when it is whole. Adding segments as they arrive and subtracting those of a
 * contribution that breaks off would be exact only for sums of halves, and would add work to save less than a pass over one vector.
 */
export interface RangeSum {
  /** Bytes of the range in a contribution, and in an update. */
  readonly contributionBytes: number;
  readonly updateBytes: number;
  /** Of the range in an update, in order. */
  readonly chunks: readonly SegmentChunk[];
  /** Drops everything that was held or added. */
  clear(): void;
  /** Takes in the range of a contribution, whether or not it will count. */
  intake(): Intake;
  /** Makes its memory free. That of a link that broke off is left to the collector. */
  release(intake: Intake): void;
  /**
   * The range of this contribution is here. A second one with its key is dropped.
   * @returns the measures of the segments when the sum is complete
   */
  hold(key: string, intake: Intake): readonly SegmentMeasures[] | undefined;
  /** Sum of x^2 of what has arrived whole. */
  squaresOf(intake: Intake): number;
  /** The range of a contribution that is here and not in the sum, as it arrived; the caller's own. */
  copyOf(key: string): Uint8Array | undefined;
  /** Whether the range of this contribution is here, or in the sum. */
  has(key: string): boolean;
  /** The contribution will not count. One that counts already stays. */
  drop(key: string): void;
  /**
   * The contribution counts; with `last`, no more does.
   * @returns the measures of the segments when the sum is complete
   */
  add(key: string, last: boolean): readonly SegmentMeasures[] | undefined;
  /** Writes a chunk of float32(sum * factor) into `payload`, which has its length and is aligned to four bytes. The sum is complete. */
  encode(chunk: SegmentChunk, mean: Omit<CodedMean, 'largest'>, payload: Uint8Array): void;
}

/** @throws OptimError `out_of_memory` */
export function createRangeSum(options: RangeOptions): RangeSum {
  return new Sum(options);
}

class Sum implements RangeSum {
  readonly contributionBytes: number;
  readonly updateBytes: number;
  readonly chunks: readonly SegmentChunk[];
  /** As they arrive. */
  readonly #arriving: readonly Segment[];
  readonly #reader: SegmentReader;
  readonly #sum: GradientSum<Intake>;
  /** Memory of coded gradients that nothing refers to. */
  readonly #spare: Uint8Array[] = [];
  readonly #held = new Map<string, Intake>();
  /** What counts, in the order of adding. */
  #counting: string[] = [];
  readonly #added = new Set<string>();
  /** In the sum, and still needed. */
  readonly #inSum = new Set<Intake>();
  #last = false;
  #measures: readonly SegmentMeasures[] | undefined;

  constructor({ layout, range, kind, ...shape }: RangeOptions) {
    this.#arriving = layout.arriving(range);
    const segments = layout.leaving(range);
    this.contributionBytes = bytesOf(this.#arriving);
    this.updateBytes = bytesOf(segments);
    this.chunks = chunksOf(segments, LIMITS.chunkBytes);
    const memory = createVectorMemory(vectorMemoryBytes({ float64: gradientSumFloats(parametersIn(segments)) }), kind);
    this.#reader = createSegmentReader(shape, memory);
    this.#sum = createGradientSum(segments, createSegmentWriter(updateShape(shape), memory), memory);
  }

  clear(): void {
    this.#sum.clear();
    for (const intake of [...this.#held.values(), ...this.#inSum]) this.release(intake);
    this.#held.clear();
    this.#inSum.clear();
    this.#added.clear();
    [this.#counting, this.#last, this.#measures] = [[], false, undefined];
  }

  intake(): Intake {
    return createIntake(this.#arriving, this.#reader, this.#spare.pop() ?? new Uint8Array(this.contributionBytes));
  }

  release({ memory }: Intake): void {
    if (this.#spare.length < SPARE_BODIES) this.#spare.push(memory);
  }

  hold(key: string, intake: Intake): readonly SegmentMeasures[] | undefined {
    if (this.has(key)) {
      this.release(intake);
      return undefined;
    }
    this.#held.set(key, intake);
    return this.#advance();
  }

  squaresOf(intake: Intake): number {
    return this.#sum.squaresOf(intake);
  }

  copyOf(key: string): Uint8Array | undefined {
    return this.#held.get(key)?.memory.slice();
  }

  has(key: string): boolean {
    return this.#held.has(key) || this.#added.has(key);
  }

  drop(key: string): void {
    const intake = this.#held.get(key);
    if (intake === undefined || this.#counting.includes(key)) return;
    this.#held.delete(key);
    this.release(intake);
  }

  add(key: string, last: boolean): readonly SegmentMeasures[] | undefined {
    this.#counting.push(key);
    this.#last = last;
    return this.#advance();
  }

  #advance(): readonly SegmentMeasures[] | undefined {
    for (let key = this.#next(); this.#held.has(key); key = this.#next()) {
      const intake = this.#held.get(key)!;
      this.#held.delete(key);
      this.#inSum.add(intake);
      this.#added.add(key);
      for (const done of this.#sum.add(intake)) {
        this.#inSum.delete(done);
        this.release(done);
      }
    }
    if (!this.#last || this.#added.size < this.#counting.length || this.#measures) return undefined;
    return (this.#measures = this.#sum.measure());
  }

  #next(): string {
    return this.#counting[this.#added.size];
  }

  encode(chunk: SegmentChunk, mean: Omit<CodedMean, 'largest'>, payload: Uint8Array): void {
    for (const { segment, bytes } of inChunk(chunk, payload)) {
      this.#sum.encodeMean(segment, { ...mean, largest: this.#measures![segment.index].largest }, bytes);
    }
  }
}
