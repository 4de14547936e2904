import { PROTOCOL_VERSION, ProtocolError, type Channel, type MessageOf } from '@troupe/protocol';
import { createGradientCoder, type GradientCoder, type GradientShape } from '../codec.js';
import { CollectiveError } from '../errors.js';
import { createVectorSpace } from '@troupe/optim';

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
  /** [P], finite; valid until the next receive. */
  readonly update: Float32Array;
}

/** Decodes updates into one vector that is used again and again. */
export class UpdateReader {
  readonly coder: GradientCoder;
  readonly #update: Float32Array;
  readonly #runId: string;

  constructor(runId: string, shape: GradientShape) {
    this.#runId = runId;
    this.coder = createGradientCoder(shape, createVectorSpace(0));
    this.#update = new Float32Array(this.coder.size);
  }

  /** @throws CollectiveError `not_finite`; ProtocolError `unexpected_message` for another run */
  read({ type, runId, ...message }: MessageOf<'update'>, body: Uint8Array): ReduceUpdate {
    if (runId !== this.#runId) {
      throw new ProtocolError(
        'unexpected_message',
        `an update of run ${runId} reached run ${this.#runId}`,
        'Join the run again.',
      );
    }
    const defect = this.coder.defect(body);
    if (defect !== undefined) {
      throw new CollectiveError(
        'not_finite',
        `the update of round ${message.round} is not to be applied: ${defect}`,
        'Lower the learning rate, or set a clip norm.',
      );
    }
    this.coder.decode(body, this.#update);
    return { kind: type, ...message, update: this.#update };
  }
}

/** Sends the first message and waits for `answer`; closes the channel when there is none. */
export async function shakeHands(
  channel: Channel,
  hello: MessageOf<'join'> | MessageOf<'host'>,
  answer: 'joined' | 'hosted',
  signal?: AbortSignal,
) {
  try {
    channel.send(hello);
    const { message } = await channel.receive(signal);
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
