import {
  clipScale,
  createVectorMemory,
  vectorMemoryBytes,
  type GradientPart,
  type KernelKind,
  type VectorMemory,
} from '@troupe/optim';
import { LIMITS, ProtocolError, type ContributionRefusal, type MessageOf } from '@troupe/protocol';
import {
  chunksOf,
  createSegmentWriter,
  floatsAt,
  gradientBytes,
  inChunk,
  parameterCount,
  segmentsOf,
  updateShape,
  type GradientShape,
  type Segment,
  type SegmentChunk,
  type SegmentReader,
} from './codec.js';
import { createContributionReader } from './contribution.js';
import { createGradientSum, gradientSumFloats, type GradientSum, type SegmentMeasures } from './gradient-sum.js';
import { createIntake, type Intake } from './intake.js';

/** What the all-reduce knows of a run: the vectors to add and the streams they stand for. */
export interface ReductionConfig extends GradientShape {
  readonly runId: string;
  /** B, streams of a round. */
  readonly streams: number;
  /** T, characters per stream and round. */
  readonly window: number;
  /** Adds gradients in the order of their lowest streams; absent: in order of arrival. */
  readonly ordered?: boolean;
  /** For tests; see createVectorMemory. */
  readonly kind?: KernelKind;
}

export type RoundOrder = Omit<MessageOf<'openRound'>, 'type'>;
export type Grant = Omit<MessageOf<'grant'>, 'type'>;

/** The update of a finished round. It is coded chunk by chunk, so that the first can leave before the last exists. */
export interface EncodedUpdate {
  readonly message: MessageOf<'update'>;
  /** Of its body, in order. */
  readonly chunks: readonly SegmentChunk[];
  /** Writes a chunk into `payload`, which has its length and is aligned to four bytes. Valid until the next round opens. */
  encode(chunk: SegmentChunk, payload: Uint8Array): void;
}

export type Verdict =
  | {
      readonly result: 'counted';
      readonly reason: string;
      /** float32 [streams, stateFloats], as they arrived. */
      readonly endStates: Uint8Array;
      /** Present when this contribution completed the round. */
      readonly update?: EncodedUpdate;
    }
  | { readonly result: ContributionRefusal; /** For people, with the numbers. */ readonly reason: string };

/**
 * The all-reduce without sockets. One round is open at a time. A contribution counts when it is complete and valid, exactly once per
 * stream, and nothing invalid touches the sum. When all B streams are counted, the update is the sum of the gradients divided by the
 * number of characters, clipped once by its global L2 norm.
 *
 * A contribution is checked while it arrives, and added when it is whole. Adding segments as they arrive and subtracting those of a
 * contribution that breaks off would be exact only for sums of halves, and would add work to save less than a pass over one vector.
 *
 * The sum is float64. With fp16 it is exact, and so independent of the order of arrival, as long as for each segment the ratio of the
 * largest to the smallest scale in the round times the number of contributions is at most 2^13 (halves span 40 bits). With int8 it is
 * exact as long as that product is at most 2^46 for each block of 256 values (int8 spans 7 bits). With fp32 the order may show in the
 * last bits of the float64 sum. With `ordered`, a gradient that arrives before its turn is retained as it arrived, at most one per
 * stream, and added when those of all lower streams are added: the same leases then always give the same bits.
 */
export interface Reduction {
  /** Drops everything counted or granted before. */
  openRound(order: RoundOrder): void;
  /**
   * Lets a worker contribute for these streams in the open round. Streams may be granted more than once: the first result wins.
   * A grant for a finished round is ignored: it may have crossed with the update.
   * @throws ProtocolError `invalid_message` (a stream twice or out of range), `unexpected_message` (a round not yet open)
   */
  grant(grant: Grant): void;
  /** Whether the lease is unknown but may still be granted: its round is open or in the future. */
  mayBeGranted(round: number, leaseId: string): boolean;
  /** Takes in the body of a contribution for `streams` streams, whether or not it will count. */
  intake(streams: number): Intake;
  /** Decides about a contribution whose body has arrived. */
  add(workerId: string, contribution: MessageOf<'contribution'>, body: Intake): Verdict;
}

/** @throws OptimError `out_of_memory` */
export function createReduction(config: ReductionConfig): Reduction {
  const size = parameterCount(config.tensorSizes);
  const memory = createVectorMemory(vectorMemoryBytes({ float64: gradientSumFloats(size) }), config.kind);
  return new StreamReduction(config, memory);
}

/** Bodies whose memory is kept for the next contributions. More are seldom under way at once, and each is as large as an update. */
const SPARE_BODIES = 8;

interface OpenRound extends RoundOrder {
  readonly grants: Map<string, Grant>;
  /** Streams whose gradient is in the sum. */
  readonly counted: Set<number>;
  readonly losses: { readonly stream: number; readonly lossSum: number }[];
  /** Of `losses`, in order of arrival. */
  lossTotal: number;
  /** The lowest stream that is not counted. */
  missing: number;
  /** Bodies of gradients that wait for their turn, by lowest stream. */
  readonly retained: Map<number, Intake>;
  /** Bodies of the gradients that are counted and still needed. */
  readonly bodies: Set<Intake>;
}

type Refusal = Extract<Verdict, { result: ContributionRefusal }>;

class StreamReduction implements Reduction {
  readonly #config: ReductionConfig;
  readonly #memory: VectorMemory;
  /** Of contributions as they arrive. */
  readonly #arriving: readonly Segment[];
  readonly #chunks: readonly SegmentChunk[];
  readonly #reader: SegmentReader<GradientPart>;
  readonly #sum: GradientSum<Intake>;
  /** Memory of coded gradients that nothing refers to. */
  readonly #spare: Uint8Array[] = [];
  #round: OpenRound | undefined;

  constructor(config: ReductionConfig, memory: VectorMemory) {
    this.#config = config;
    this.#memory = memory;
    this.#arriving = segmentsOf(config);
    const segments = segmentsOf(updateShape(config));
    this.#chunks = chunksOf(segments, LIMITS.chunkBytes);
    this.#reader = createContributionReader(config, memory);
    this.#sum = createGradientSum(segments, createSegmentWriter(updateShape(config), memory), memory);
  }

  openRound(order: RoundOrder): void {
    this.#sum.clear();
    for (const body of this.#round?.bodies ?? []) this.#release(body);
    this.#round = {
      ...order,
      grants: new Map(),
      counted: new Set(),
      losses: [],
      lossTotal: 0,
      missing: 0,
      retained: new Map(),
      bodies: new Set(),
    };
  }

  intake(streams: number): Intake {
    const memory = this.#spare.pop() ?? new Uint8Array(gradientBytes(this.#config));
    return createIntake(this.#arriving, this.#reader, memory, streams * this.#config.stateFloats * 4);
  }

  grant(grant: Grant): void {
    const { streams } = this.#config;
    if (new Set(grant.streams).size !== grant.streams.length || grant.streams.some((stream) => stream >= streams)) {
      throw new ProtocolError(
        'invalid_message',
        `the grant of lease ${grant.leaseId} names a stream twice or a stream beyond ${streams - 1}`,
        'This is a bug in the coordinator: report it. If the run has saved a checkpoint, continue from it with --resume.',
      );
    }
    const open = this.#round?.round ?? -1;
    if (grant.round > open) {
      throw new ProtocolError(
        'unexpected_message',
        `a grant for round ${grant.round} while round ${open} is open`,
        'Open the round before granting in it.',
      );
    }
    if (grant.round === open) this.#round?.grants.set(grant.leaseId, grant);
  }

  mayBeGranted(round: number, leaseId: string): boolean {
    const open = this.#round?.round ?? -1;
    return round > open || (round === open && this.#round?.grants.has(leaseId) === false);
  }

  add(workerId: string, contribution: MessageOf<'contribution'>, body: Intake): Verdict {
    const verdict = this.#decide(workerId, contribution, body);
    if (verdict.result !== 'counted') this.#release(body);
    return verdict;
  }

  /** Makes its memory free for the next contribution. That of a link that broke off is left to the collector. */
  #release({ memory }: Intake): void {
    if (this.#spare.length < SPARE_BODIES) this.#spare.push(memory);
  }

  #decide(workerId: string, contribution: MessageOf<'contribution'>, body: Intake): Verdict {
    const round = this.#round;
    if (contribution.runId !== this.#config.runId) {
      return refuse('wrong_run', `the contribution is for run ${contribution.runId}; this is run ${this.#config.runId}`);
    }
    if (round?.round !== contribution.round) {
      return refuse(
        'wrong_round',
        `the contribution is for round ${contribution.round}; ${round ? `round ${round.round}` : 'no round'} is open`,
      );
    }
    const refusal = checkLease(round, workerId, contribution) ?? this.#checkContent(round, contribution, body);
    if (refusal) return refusal;
    const measures = this.#count(round, contribution, body);
    const counted: Verdict = {
      result: 'counted',
      reason: `${round.counted.size} of ${this.#config.streams} streams are counted`,
      endStates: body.endStates,
    };
    return measures ? { ...counted, update: this.#finish(round, measures) } : counted;
  }

  /** Adds the gradient, or retains it until its turn. @returns the measures of the sum when it is complete */
  #count(
    round: OpenRound,
    { streams, lossSum }: MessageOf<'contribution'>,
    body: Intake,
  ): readonly SegmentMeasures[] | undefined {
    const first = streams.reduce((least, stream) => Math.min(least, stream));
    const isNext = this.#config.ordered !== true || first === round.missing;
    for (const stream of streams) round.counted.add(stream);
    while (round.counted.has(round.missing)) round.missing++;
    round.losses.push({ stream: first, lossSum });
    round.lossTotal += lossSum;
    round.retained.set(first, body);
    round.bodies.add(body);
    return isNext ? this.#addRetained(round) : undefined;
  }

  /** Adds the retained gradients whose turn has come. @returns the measures of the sum when it is complete */
  #addRetained(round: OpenRound): readonly SegmentMeasures[] | undefined {
    const isDue = (first: number) => this.#config.ordered !== true || first < round.missing;
    const due = [...round.retained.keys()].filter(isDue).sort((a, b) => a - b);
    for (const first of due) {
      for (const done of this.#sum.add(round.retained.get(first)!)) {
        round.bodies.delete(done);
        this.#release(done);
      }
      round.retained.delete(first);
    }
    return round.counted.size === this.#config.streams ? this.#sum.measure() : undefined;
  }

  #checkContent(
    round: OpenRound,
    { streams, tokens, lossSum, parametersDigest }: MessageOf<'contribution'>,
    { received, bytes, defect, endStates }: Intake,
  ): Refusal | undefined {
    const { window } = this.#config;
    if (tokens !== streams.length * window) {
      return refuse(
        'wrong_tokens',
        `${tokens} characters; ${streams.length} streams of ${window} make ${streams.length * window}`,
      );
    }
    if (parametersDigest !== round.parametersDigest) {
      return refuse(
        'replica_diverged',
        `computed with parameters ${parametersDigest}; round ${round.round} runs on ${round.parametersDigest}`,
      );
    }
    if (received !== bytes) return refuse('wrong_length', `${received} bytes; ${streams.length} streams make ${bytes}`);
    if (defect !== undefined) return refuse('not_finite', defect);
    if (!this.#memory.isFinite(floatsAt(endStates, 0, endStates.byteLength / 4)))
      return refuse('not_finite', 'the end states hold a NaN or an infinity');
    return Number.isFinite(round.lossTotal + lossSum) ? undefined : refuse('not_finite', `a loss of ${lossSum} nats`);
  }

  #finish(round: OpenRound, measures: readonly SegmentMeasures[]): EncodedUpdate {
    const { runId, streams, window } = this.#config;
    const tokens = streams * window;
    // Segment by segment, so that the sum does not depend on where each was summed.
    const squares = measures.reduce((total, segment) => total + segment.squares, 0);
    const gradientNorm = Math.sqrt(squares) / tokens;
    const scale = clipScale(gradientNorm, round.clip);
    const factor = scale / tokens;
    return {
      message: {
        type: 'update',
        runId,
        round: round.round,
        learningRate: round.learningRate,
        tokens,
        lossSum: sumLosses(round),
        gradientNorm,
        clipScale: scale,
      },
      chunks: this.#chunks,
      encode: (chunk, payload) => {
        for (const { segment, bytes } of inChunk(chunk, payload)) {
          this.#sum.encodeMean(segment, factor, measures[segment.index].largest, bytes);
        }
      },
    };
  }
}

function checkLease(round: OpenRound, workerId: string, { leaseId, streams }: MessageOf<'contribution'>): Refusal | undefined {
  const grant = round.grants.get(leaseId);
  if (grant?.workerId !== workerId) {
    return refuse('unknown_lease', `lease ${leaseId} was not granted to worker ${workerId} in round ${round.round}`);
  }
  if (streams.length !== grant.streams.length || streams.some((stream, i) => stream !== grant.streams[i])) {
    return refuse(
      'unknown_lease',
      `lease ${leaseId} is for streams ${brief(grant.streams)}, the contribution for ${brief(streams)}`,
    );
  }
  const done = streams.filter((stream) => round.counted.has(stream));
  return done.length > 0 ? refuse('already_counted', `streams ${brief(done)} are already counted`) : undefined;
}

function refuse(result: ContributionRefusal, reason: string): Refusal {
  return { result, reason };
}

/** Added in stream order, so the sum does not depend on the order of arrival. */
function sumLosses(round: OpenRound): number {
  return round.losses.toSorted((a, b) => a.stream - b.stream).reduce((total, { lossSum }) => total + lossSum, 0);
}

function brief(streams: readonly number[]): string {
  return streams.length <= 8 ? streams.join(', ') : `${streams.slice(0, 8).join(', ')} and ${streams.length - 8} more`;
}
