import { LIMITS, PROTOCOL_VERSION, ProtocolError, receiveWithin, type Channel, type MessageOf } from '@troupe/protocol';
import { createGradientReader, type GradientReader, type GradientShape } from '../codec.js';
import { CollectiveError } from '../errors.js';
import { OptimError, type CodedVector, type Replica, type VectorMemory } from '@troupe/optim';

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
  /** [P], coded as it came; valid until the next receive. Whether it is finite is looked at by the step that reads it. */
  readonly update: CodedVector;
}

/**
 * Takes the step.
 * @throws CollectiveError `not_finite`; the replica is then unchanged
 */
export function applyUpdate(replica: Pick<Replica, 'step'>, { round, update, learningRate }: ReduceUpdate): void {
  try {
    replica.step(update, learningRate);
  } catch (cause) {
    if (!(cause instanceof OptimError && cause.code === 'not_finite')) throw cause;
    throw notToBeApplied(round, cause.message, cause);
  }
}

/**
 * For the host, whose run moves on before its replica steps: nothing may move for an update that the step would refuse.
 * @throws CollectiveError `not_finite`
 */
export function requireFinite(update: ReduceUpdate, memory: VectorMemory): ReduceUpdate {
  const coded = update.update;
  const vectors = coded instanceof Float32Array ? [coded] : coded.map(({ values }) => values);
  if (vectors.every((values) => memory.isFinite(values))) return update;
  throw notToBeApplied(update.round, 'it holds a NaN or an infinity');
}

/** A copy that outlives the next receive. */
export function copyUpdate(update: ReduceUpdate): ReduceUpdate {
  const { update: coded } = update;
  const copy =
    coded instanceof Float32Array ? coded.slice() : coded.map(({ values, scale }) => ({ values: values.slice(), scale }));
  return { ...update, update: copy };
}

function notToBeApplied(round: number, why: string, cause?: Error): CollectiveError {
  return new CollectiveError(
    'not_finite',
    `the update of round ${round} is not to be applied: ${why}`,
    'Lower the learning rate, or set a clip norm.',
    { cause },
  );
}

/** Makes updates of a run from messages. */
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
    if (defect !== undefined) throw notToBeApplied(message.round, defect);
    return { kind: type, ...message, update: this.#reader.read(body) };
  }
}

export interface HandshakeOptions {
  /** Ends the handshake. */
  readonly signal?: AbortSignal;
  /**
   * A signal that aborts after so many ms. With it the handshake is given up after LIMITS.answerMs, and a message that comes to a
   * standstill half way ends the link.
   */
  readonly deadline?: (ms: number) => AbortSignal;
}

/** Sends the first message and waits for `answer`; closes the channel when there is none. */
export async function shakeHands(
  channel: Channel,
  hello: MessageOf<'join'> | MessageOf<'host'>,
  answer: 'joined' | 'hosted',
  { signal, deadline }: HandshakeOptions,
) {
  try {
    channel.send(hello);
    const what = `the answer to ${hello.type}`;
    const { message } = await (deadline
      ? receiveWithin(channel, { deadline: deadline(LIMITS.answerMs), signal, what })
      : channel.receive(signal));
    if (message.type === 'refuse') throw refused(message);
    if (message.type !== answer) {
      throw new ProtocolError(
        'unexpected_message',
        `the all-reduce service answered ${hello.type} with ${message.type}`,
        'Run the same version of Troupe on all machines.',
      );
    }
    if (message.version === PROTOCOL_VERSION) return;
    throw new ProtocolError(
      'version_mismatch',
      `the all-reduce service speaks protocol ${message.version}, this side ${PROTOCOL_VERSION}`,
      'Run the same version of Troupe on all machines.',
    );
  } catch (error) {
    channel.close(error instanceof Error ? error.message : String(error));
    throw error;
  }
}

export function refused({ code, message, remedy }: MessageOf<'refuse'>): CollectiveError {
  return new CollectiveError('refused', `the all-reduce service refused (${code}): ${message}`, remedy);
}
