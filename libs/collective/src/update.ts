/** The update of a round, as every replica receives it. */
import { OptimError, type CodedPart, type Replica, type VectorMemory } from '@troupe/optim';
import { ProtocolError, type MessageOf } from '@troupe/protocol';
import { createSegmentReader, updateShape, type GradientShape, type Segment, type SegmentReader } from './codec.js';
import { CollectiveError } from './errors.js';
import { nameOf, type RangeLayout, type SegmentRange } from './ranges.js';

/** What an update says beside its values. */
export interface UpdateHead {
  readonly kind: 'update';
  readonly round: number;
  readonly learningRate: number;
  /** Characters that the mean is over. */
  readonly tokens: number;
  /** Nats, summed. */
  readonly lossSum: number;
  /** Global L2 norm before clipping. */
  readonly gradientNorm: number;
  readonly clipScale: number;
}

/** The clipped mean gradient of a round. */
export interface ReduceUpdate extends UpdateHead {
  /** [P], coded as it arrived, in consecutive parts. */
  readonly parts: readonly CodedPart[];
}

/** An update whose values are still arriving. */
export interface ArrivingUpdate extends UpdateHead {
  /** [P], part by part as they arrive. May be read once, before the next receive. Throws what receiving throws. */
  readonly arriving: AsyncIterable<CodedPart>;
}

/**
 * Steps the replica.
 * @throws CollectiveError `not_finite`; the replica must then be restored before it is used
 */
export function applyUpdate(replica: Pick<Replica, 'beginStep'>, { round, learningRate, parts }: ReduceUpdate): void {
  const step = sound(round, () => replica.beginStep(learningRate));
  for (const part of parts) sound(round, () => step.add(part));
  step.finish();
}

/**
 * Steps the replica while the update arrives.
 * @throws CollectiveError `not_finite`, and what receiving throws; the replica must then be restored before it is used
 */
export async function applyArriving(
  replica: Pick<Replica, 'beginStep'>,
  { round, learningRate, arriving }: ArrivingUpdate,
): Promise<void> {
  const step = sound(round, () => replica.beginStep(learningRate));
  for await (const part of arriving) sound(round, () => step.add(part));
  step.finish();
}

/** Waits for the rest. It may be kept for as long as its parts are needed. Throws what receiving throws. */
export async function wholeUpdate({ arriving, ...head }: ArrivingUpdate): Promise<ReduceUpdate> {
  const parts: CodedPart[] = [];
  for await (const part of arriving) parts.push(part);
  return { ...head, parts };
}

/** @throws CollectiveError `not_finite` where `act` throws the OptimError */
function sound<T>(round: number, act: () => T): T {
  try {
    return act();
  } catch (cause) {
    if (!(cause instanceof OptimError && cause.code === 'not_finite')) throw cause;
    throw mustNotApply(round, cause.message, cause);
  }
}

function mustNotApply(round: number, why: string, cause?: Error): CollectiveError {
  return new CollectiveError(
    'not_finite',
    `the update of round ${round} must not be applied: ${why}`,
    'Lower the learning rate, or set a clip norm.',
    { cause },
  );
}

/** Where the bytes of an update come from. */
export interface UpdateSource<R extends SegmentRange = SegmentRange> {
  /** The pieces of a range of the update of this round, in order. `isNamed`: the message of the update names it. */
  range(round: number, range: R, isNamed: boolean, signal?: AbortSignal): AsyncIterable<Uint8Array>;
}

/** Makes the updates of a run from messages. */
export class UpdateReader {
  readonly #reader: SegmentReader;
  readonly #layout: RangeLayout;
  readonly #runId: string;

  /** @param memory for the check of the values; absent: the step checks them */
  constructor(runId: string, shape: GradientShape, layout: RangeLayout, memory?: VectorMemory) {
    this.#runId = runId;
    this.#layout = layout;
    this.#reader = createSegmentReader(updateShape(shape), memory);
  }

  /**
   * `arriving` throws CollectiveError `not_finite` at a part that must not be applied. `signal` ends the wait for the next part.
   * @param all ranges of the update, in layout order
   * @throws ProtocolError `unexpected_message` for another run
   */
  read<R extends SegmentRange>(
    { type, runId, ranges, ...message }: MessageOf<'update'>,
    all: readonly R[],
    source: UpdateSource<R>,
    signal?: AbortSignal,
  ): ArrivingUpdate {
    if (runId !== this.#runId) {
      throw new ProtocolError(
        'unexpected_message',
        `an update of run ${runId} reached run ${this.#runId}`,
        'Join the run again.',
      );
    }
    const named = new Set(ranges.map(nameOf));
    const pieces = (range: R): AsyncIterable<Uint8Array> => source.range(message.round, range, named.has(nameOf(range)), signal);
    return { kind: type, ...message, arriving: this.#partsOf(message.round, all, pieces) };
  }

  async *#partsOf<R extends SegmentRange>(
    round: number,
    ranges: readonly R[],
    pieces: (range: R) => AsyncIterable<Uint8Array>,
  ): AsyncGenerator<CodedPart, void, undefined> {
    for (const range of ranges) {
      const segments = this.#layout.leaving(range);
      const whole: { readonly segment: Segment; readonly part: CodedPart }[] = [];
      const lengths = segments.map(({ bytes }) => bytes);
      const take = splitBody(lengths, (index, bytes) => {
        const segment = segments[index];
        whole.push({ segment, part: this.#reader.read(segment, bytes) });
      });
      for await (const piece of pieces(range)) {
        take(piece);
        for (const { segment, part } of whole.splice(0)) {
          const defect = this.#reader.defect(segment, part);
          if (defect !== undefined) throw mustNotApply(round, defect);
          yield part;
        }
      }
    }
  }
}

/**
 * Cuts a body into parts of these lengths. A part within one piece is a view of that piece.
 * @param onPart called once for each part, in order
 * @returns takes the next piece; bytes beyond the last part are ignored
 */
export function splitBody(
  lengths: readonly number[],
  onPart: (index: number, bytes: Uint8Array) => void,
): (piece: Uint8Array) => void {
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

  return (piece) => {
    for (let at = 0; at < piece.byteLength && index < lengths.length;) at += fill(piece, at);
  };
}
