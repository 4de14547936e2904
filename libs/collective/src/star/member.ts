import { createChannel, PROTOCOL_VERSION, ProtocolError, type Channel, type Message, type MessageOf } from '@troupe/protocol';
import type { CloseInfo, Connection } from '@troupe/transport';
import { createVectorMemory } from '@troupe/optim';
import { createGradientWriter, updateBytes, writerBytes, type GradientShape, type GradientWriter } from '../codec.js';
import { CollectiveError } from '../errors.js';
import { refused, shakeHands, UpdateReader, type HandshakeOptions, type ReduceUpdate } from './client.js';

export interface JoinOptions extends GradientShape, HandshakeOptions {
  readonly runId: string;
  readonly workerId: string;
  /** From the coordinator's welcome. */
  readonly ticket: string;
}

export interface Contribution extends Omit<MessageOf<'contribution'>, 'type' | 'runId'> {
  /** Gradient of the summed loss, [P]. */
  readonly gradient: Float32Array;
  /** [streams, L, S, H]. */
  readonly endStates: Float32Array;
}

/** What became of a contribution: `counted`, or why not. */
export interface ReduceResult extends Omit<MessageOf<'contributionResult'>, 'type'> {
  readonly kind: 'result';
}

/** A worker's place in the all-reduce. */
export interface ReduceMember {
  /**
   * Encodes and queues; the buffers are free again when it returns.
   * @throws CollectiveError `bad_length`; TransportError when the link is closed
   */
  contribute(contribution: Contribution): void;
  /**
   * The next update or result, in the order they were sent. Rejects with TransportError when the link closes, CollectiveError
   * `refused` when the service turns this worker away, `not_finite` for an update with an unsound scale, ProtocolError for bad bytes.
   */
  receive(signal?: AbortSignal): Promise<ReduceUpdate | ReduceResult>;
  close(reason: string): void;
  /** Resolves once, when the link is closed. */
  readonly closed: Promise<CloseInfo>;
}

/**
 * Joins the all-reduce over an open connection, which the member owns from here on.
 * @throws CollectiveError `refused`; ProtocolError, `limit_exceeded` when no answer comes in time; TransportError
 */
export async function joinReduce(connection: Connection, options: JoinOptions): Promise<ReduceMember> {
  const { runId, workerId, ticket, deadline } = options;
  const channel = createChannel(connection, {
    accepts: ['joined', 'refuse', 'contributionResult', 'update'],
    reuseBodies: true,
    ...(deadline && { deadline }),
    bodyBytes: (message: Message) => (message.type === 'update' ? updateBytes(options) : 0),
  });
  await shakeHands(channel, { type: 'join', versions: [PROTOCOL_VERSION], runId, workerId, ticket }, 'joined', options);
  return new StarMember(channel, options);
}

class StarMember implements ReduceMember {
  readonly closed: Promise<CloseInfo>;
  readonly #channel: Channel;
  readonly #options: JoinOptions;
  readonly #reader: UpdateReader;
  readonly #writer: GradientWriter;

  constructor(channel: Channel, options: JoinOptions) {
    this.closed = channel.closed;
    this.#channel = channel;
    this.#options = options;
    this.#reader = new UpdateReader(options.runId, options);
    this.#writer = createGradientWriter(options, createVectorMemory(writerBytes(options)));
  }

  contribute({ gradient, endStates, ...meta }: Contribution): void {
    const expected = meta.streams.length * this.#options.stateFloats;
    if (endStates.length !== expected) {
      throw new CollectiveError(
        'bad_length',
        `${endStates.length} end state values; ${meta.streams.length} streams have ${expected}`,
        'Check the model config of the engine.',
      );
    }
    const states = new Uint8Array(endStates.buffer, endStates.byteOffset, endStates.byteLength);
    this.#channel.send({ type: 'contribution', runId: this.#options.runId, ...meta }, [this.#writer.encode(gradient), states]);
  }

  async receive(signal?: AbortSignal): Promise<ReduceUpdate | ReduceResult> {
    const { message, body } = await this.#channel.receive(signal);
    if (message.type === 'update') return this.#reader.read(message, body);
    if (message.type === 'refuse') throw refused(message);
    if (message.type === 'contributionResult') {
      const { type: _type, ...result } = message;
      return { kind: 'result', ...result };
    }
    throw new ProtocolError(
      'unexpected_message',
      `the all-reduce service sent ${message.type}`,
      'Run the same version of Troupe on all machines.',
    );
  }

  close(reason: string): void {
    this.#channel.close(reason);
  }
}
