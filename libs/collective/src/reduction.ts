import {
  clipScale,
  createVectorMemory,
  vectorMemoryBytes,
  type CodedVector,
  type KernelKind,
  type SumMeasures,
  type VectorMemory,
} from '@troupe/optim';
import { ProtocolError, type ContributionRefusal, type MessageOf } from '@troupe/protocol';
import {
  contributionBytes,
  createGradientReader,
  createGradientWriter,
  floatsAt,
  parameterCount,
  updateBytes,
  writerBytes,
  type GradientReader,
  type GradientShape,
  type GradientWriter,
} from './codec.js';

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

/** The update of a finished round, ready to send. */
export interface EncodedUpdate {
  readonly message: MessageOf<'update'>;
  /** Valid until the next update. */
  readonly body: Uint8Array;
}

export type Verdict =
  | {
      readonly result: 'counted';
      readonly reason: string;
      /** float32 [streams, stateFloats], a view into the contribution's body. */
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
 * The sum is float64. With fp16 it is exact, and so independent of the order of arrival, as long as for each tensor the ratio of the
 * largest to the smallest scale in the round times the number of contributions is at most 2^13 (halves span 40 bits). With fp32 the order
 * may show in the last bits of the float64 sum. With `ordered`, a gradient that arrives before its turn is retained as it arrived, at
 * most one per stream, and added when those of all lower streams are added: the same leases then always give the same bits.
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
  add(workerId: string, contribution: MessageOf<'contribution'>, body: Uint8Array): Verdict;
}

/** @throws OptimError `out_of_memory` */
export function createReduction(config: ReductionConfig): Reduction {
  const size = parameterCount(config.tensorSizes);
  const bytes = vectorMemoryBytes({ float64: [size], float32: [config.codec === 'fp32' ? size : Math.ceil(size / 2)] });
  const memory = createVectorMemory(bytes + writerBytes(config), config.kind);
  return new StreamReduction(config, memory, size);
}

interface OpenRound extends RoundOrder {
  readonly grants: Map<string, Grant>;
  /** Streams whose gradient is in the sum. */
  readonly counted: Set<number>;
  readonly losses: { readonly stream: number; readonly lossSum: number }[];
  /** Of `losses`, in order of arrival. */
  lossTotal: number;
  /** Gradients in the sum. */
  added: number;
  /** The lowest stream that is not counted. */
  missing: number;
  /** Gradients that wait for their turn, as they arrived, by lowest stream. */
  readonly retained: Map<number, Uint8Array>;
}

type Refusal = Extract<Verdict, { result: ContributionRefusal }>;

class StreamReduction implements Reduction {
  readonly #config: ReductionConfig;
  readonly #memory: VectorMemory;
  readonly #reader: GradientReader;
  readonly #writer: GradientWriter;
  /** Sum of the gradients counted so far, [P]; before the first, values of the round before. */
  readonly #sum: Float64Array;
  /** A gradient is checked on its way in here and then added: nothing invalid touches the sum. */
  readonly #incoming: Float32Array | Uint16Array;
  /** Memory of gradients retained before, each of updateBytes, for reuse. */
  readonly #spare: Uint8Array[] = [];
  #round: OpenRound | undefined;

  constructor(config: ReductionConfig, memory: VectorMemory, size: number) {
    this.#config = config;
    this.#memory = memory;
    this.#reader = createGradientReader(config);
    this.#writer = createGradientWriter(config, memory);
    this.#sum = memory.allocateFloat64(size);
    this.#incoming = config.codec === 'fp32' ? memory.allocateFloat32(size) : memory.allocateUint16(size);
  }

  openRound(order: RoundOrder): void {
    this.#spare.push(...(this.#round?.retained.values() ?? []));
    this.#round = {
      ...order,
      grants: new Map(),
      counted: new Set(),
      losses: [],
      lossTotal: 0,
      added: 0,
      missing: 0,
      retained: new Map(),
    };
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

  add(workerId: string, contribution: MessageOf<'contribution'>, body: Uint8Array): Verdict {
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
    const gradient = this.#takeIn(body);
    if (gradient.defect !== undefined) return refuse('not_finite', gradient.defect);
    const measures = this.#count(round, contribution, gradient.values, body);
    const counted: Verdict = {
      result: 'counted',
      reason: `${round.counted.size} of ${this.#config.streams} streams are counted`,
      endStates: body.subarray(updateBytes(this.#config)),
    };
    return measures ? { ...counted, update: this.#finish(round, measures) } : counted;
  }

  /** Adds the gradient, or retains it until its turn. @returns the measures of the sum when it is complete */
  #count(
    round: OpenRound,
    { streams, lossSum }: MessageOf<'contribution'>,
    values: CodedVector,
    body: Uint8Array,
  ): SumMeasures | undefined {
    const first = streams.reduce((least, stream) => Math.min(least, stream));
    const isNext = this.#config.ordered !== true || first === round.missing;
    for (const stream of streams) round.counted.add(stream);
    while (round.counted.has(round.missing)) round.missing++;
    round.losses.push({ stream: first, lossSum });
    round.lossTotal += lossSum;
    if (isNext) return this.#addWithRetained(round, values);
    const copy = this.#spare.pop() ?? new Uint8Array(updateBytes(this.#config));
    copy.set(body.subarray(0, copy.length));
    round.retained.set(first, copy);
    return undefined;
  }

  /** Adds the gradient and the retained ones whose turn follows. */
  #addWithRetained(round: OpenRound, values: CodedVector): SumMeasures | undefined {
    const due = [...round.retained.keys()].filter((first) => first < round.missing).sort((a, b) => a - b);
    const isWhole = round.counted.size === this.#config.streams;
    let measures = this.#addNext(round, values, isWhole && due.length === 0);
    for (const [i, first] of due.entries()) {
      const body = round.retained.get(first)!;
      measures = this.#addNext(round, this.#reader.read(body), isWhole && i === due.length - 1);
      round.retained.delete(first);
      this.#spare.push(body);
    }
    return measures;
  }

  #addNext(round: OpenRound, values: CodedVector, isLast: boolean): SumMeasures | undefined {
    const fresh = round.added++ === 0;
    if (isLast) return this.#memory.addLast(this.#sum, values, fresh);
    this.#memory.add(this.#sum, values, fresh);
    return undefined;
  }

  /** Copies the gradient of `body` into this side's memory and says what is wrong with it, if anything. */
  #takeIn(body: Uint8Array): { readonly values: CodedVector; readonly defect?: string } {
    const values = this.#reader.read(body);
    const incoming = this.#incoming;
    if (values instanceof Float32Array) {
      const copy = incoming as Float32Array;
      const sound = Number.isFinite(this.#memory.load(values, copy));
      return { values: copy, ...(sound ? {} : { defect: 'the gradient holds a NaN or an infinity' }) };
    }
    let from = 0;
    const parts = values.map(({ values: { length }, scale }) => ({
      values: incoming.subarray(from, (from += length)) as Uint16Array,
      scale,
    }));
    const unsound = parts.findIndex((part, k) => !Number.isFinite(this.#memory.load(values[k].values, part.values)));
    return { values: parts, ...(unsound < 0 ? {} : { defect: `the gradient of tensor ${unsound} holds a NaN or an infinity` }) };
  }

  #checkContent(
    round: OpenRound,
    { streams, tokens, lossSum, parametersDigest }: MessageOf<'contribution'>,
    body: Uint8Array,
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
    const expected = contributionBytes(this.#config, streams.length);
    if (body.length !== expected)
      return refuse('wrong_length', `${body.length} bytes; ${streams.length} streams make ${expected}`);
    const defect = this.#reader.defect(body);
    if (defect !== undefined) return refuse('not_finite', defect);
    const states = floatsAt(body, updateBytes(this.#config), streams.length * this.#config.stateFloats);
    if (!this.#memory.isFinite(states)) return refuse('not_finite', 'the end states hold a NaN or an infinity');
    return Number.isFinite(round.lossTotal + lossSum) ? undefined : refuse('not_finite', `a loss of ${lossSum} nats`);
  }

  #finish(round: OpenRound, { squares, largest }: SumMeasures): EncodedUpdate {
    const { runId, streams, window } = this.#config;
    const tokens = streams * window;
    const gradientNorm = Math.sqrt(squares) / tokens;
    const scale = clipScale(gradientNorm, round.clip);
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
      body: this.#writer.encodeMean(this.#sum, scale / tokens, largest),
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
