/** The update of a round, as every replica receives it. */
import { OptimError, type CodedVector, type Replica, type VectorMemory } from '@troupe/optim';
import { ProtocolError, type MessageOf } from '@troupe/protocol';
import { createGradientReader, type GradientReader, type GradientShape } from './codec.js';
import { CollectiveError } from './errors.js';

/** The clipped mean gradient of a round. */
export interface ReduceUpdate {
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
  /** [P], coded as it arrived; valid until the next receive. The optimizer step checks that it is finite. */
  readonly update: CodedVector;
}

/**
 * Steps the replica.
 * @throws CollectiveError `not_finite`; the replica is then unchanged
 */
export function applyUpdate(replica: Pick<Replica, 'step'>, { round, update, learningRate }: ReduceUpdate): void {
  try {
    replica.step(update, learningRate);
  } catch (cause) {
    if (!(cause instanceof OptimError && cause.code === 'not_finite')) throw cause;
    throw mustNotApply(round, cause.message, cause);
  }
}

/**
 * For the host, whose run proceeds before its replica steps: it must not proceed with an update that the step would refuse.
 * @throws CollectiveError `not_finite`
 */
export function requireFinite(update: ReduceUpdate, memory: VectorMemory): ReduceUpdate {
  const coded = update.update;
  const vectors = coded instanceof Float32Array ? [coded] : coded.map(({ values }) => values);
  if (vectors.every((values) => memory.isFinite(values))) return update;
  throw mustNotApply(update.round, 'it holds a NaN or an infinity');
}

/** A copy that outlives the next receive. */
export function copyUpdate(update: ReduceUpdate): ReduceUpdate {
  const { update: coded } = update;
  const copy =
    coded instanceof Float32Array ? coded.slice() : coded.map(({ values, scale }) => ({ values: values.slice(), scale }));
  return { ...update, update: copy };
}

function mustNotApply(round: number, why: string, cause?: Error): CollectiveError {
  return new CollectiveError(
    'not_finite',
    `the update of round ${round} must not be applied: ${why}`,
    'Lower the learning rate, or set a clip norm.',
    { cause },
  );
}

/** Makes the updates of a run from messages. */
export class UpdateReader {
  readonly #reader: GradientReader;
  readonly #runId: string;

  constructor(runId: string, shape: GradientShape) {
    this.#runId = runId;
    this.#reader = createGradientReader(shape);
  }

  /** @throws CollectiveError `not_finite` for an unsound scale; ProtocolError `unexpected_message` for another run */
  read({ type, runId, ...message }: MessageOf<'update'>, body: Uint8Array): ReduceUpdate {
    if (runId !== this.#runId) {
      throw new ProtocolError(
        'unexpected_message',
        `an update of run ${runId} reached run ${this.#runId}`,
        'Join the run again.',
      );
    }
    const defect = this.#reader.defect(body);
    if (defect !== undefined) throw mustNotApply(message.round, defect);
    return { kind: type, ...message, update: this.#reader.read(body) };
  }
}
