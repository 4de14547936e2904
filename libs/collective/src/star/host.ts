import {
  createChannel,
  PROTOCOL_VERSION,
  ProtocolError,
  type Channel,
  type ContributionRefusal,
  type Message,
  type MessageOf,
} from '@troupe/protocol';
import type { CloseInfo, Connection } from '@troupe/transport';
import { floatsAt, updateBytes } from '../codec.js';
import type { Grant, ReductionConfig, RoundOrder } from '../reduction.js';
import { createVectorMemory, type VectorMemory } from '@troupe/optim';
import { refused, requireFinite, shakeHands, UpdateReader, type HandshakeOptions, type ReduceUpdate } from './client.js';

export interface HostOptions extends Omit<ReductionConfig, 'kind'>, HandshakeOptions {
  /** The secret the service was started with. */
  readonly token: string;
}

/** A contribution that counts. */
export interface ReduceCounted extends Omit<MessageOf<'counted'>, 'type'> {
  readonly kind: 'counted';
  /** [streams, L, S, H], the receiver's own. */
  readonly endStates: Float32Array;
}

export interface ReduceRejected extends Omit<MessageOf<'rejected'>, 'type'> {
  readonly kind: 'rejected';
  readonly result: ContributionRefusal;
}

/** The coordinator's hold on the all-reduce. Sending throws TransportError when the link is closed. */
export interface ReduceHost {
  /** Lets the worker join with this ticket. */
  admit(workerId: string, ticket: string): void;
  /** Takes the ticket back and closes the worker's link. */
  dismiss(workerId: string, reason: string): void;
  openRound(order: RoundOrder): void;
  grant(grant: Grant): void;
  /**
   * What happened next, in order; the update comes after the last contribution counted for it. Rejects with TransportError when
   * the link closes, CollectiveError when the service turns this side away (`refused`) or sends an update that is not to be applied
   * (`not_finite`), ProtocolError for bad bytes.
   */
  receive(signal?: AbortSignal): Promise<ReduceCounted | ReduceRejected | ReduceUpdate>;
  /** The service closes the links of all workers with it. */
  close(reason: string): void;
  /** Resolves once, when the link is closed. */
  readonly closed: Promise<CloseInfo>;
}

/**
 * Takes the all-reduce service for a run, over an open connection which the host owns from here on. A host of the same run takes
 * over from the one before; another run's host is refused while one is there.
 * @throws CollectiveError `refused`; ProtocolError, `limit_exceeded` when no answer comes in time; TransportError
 */
export async function hostReduce(connection: Connection, options: HostOptions): Promise<ReduceHost> {
  const { token, runId, streams, window, codec, ordered = false, tensorSizes, stateFloats, deadline } = options;
  const channel = createChannel(connection, {
    accepts: ['hosted', 'refuse', 'counted', 'rejected', 'update'],
    reuseBodies: true,
    ...(deadline && { deadline }),
    bodyBytes(message: Message) {
      if (message.type === 'update') return updateBytes(options);
      return message.type === 'counted' ? message.streams.length * stateFloats * 4 : 0;
    },
  });
  const hello: MessageOf<'host'> = {
    type: 'host',
    versions: [PROTOCOL_VERSION],
    token,
    runId,
    streams,
    window,
    codec,
    ordered,
    tensorSizes: [...tensorSizes],
    stateFloats,
  };
  await shakeHands(channel, hello, 'hosted', options);
  return new StarHost(channel, options);
}

class StarHost implements ReduceHost {
  readonly closed: Promise<CloseInfo>;
  readonly #channel: Channel;
  readonly #reader: UpdateReader;
  readonly #memory: VectorMemory = createVectorMemory(0);

  constructor(channel: Channel, options: HostOptions) {
    this.closed = channel.closed;
    this.#channel = channel;
    this.#reader = new UpdateReader(options.runId, options);
  }

  admit(workerId: string, ticket: string): void {
    this.#channel.send({ type: 'admit', workerId, ticket });
  }

  dismiss(workerId: string, reason: string): void {
    this.#channel.send({ type: 'dismiss', workerId, reason });
  }

  openRound(order: RoundOrder): void {
    this.#channel.send({ type: 'openRound', ...order });
  }

  grant(grant: Grant): void {
    this.#channel.send({ type: 'grant', ...grant });
  }

  async receive(signal?: AbortSignal): Promise<ReduceCounted | ReduceRejected | ReduceUpdate> {
    const { message, body } = await this.#channel.receive(signal);
    switch (message.type) {
      case 'update':
        return requireFinite(this.#reader.read(message, body), this.#memory);
      case 'counted': {
        const { type, ...counted } = message;
        return { kind: type, ...counted, endStates: floatsAt(body, 0, body.length / 4).slice() };
      }
      case 'rejected': {
        const { type, ...rejected } = message;
        return { kind: type, ...rejected };
      }
      case 'refuse':
        throw refused(message);
      default:
        throw new ProtocolError(
          'unexpected_message',
          `the all-reduce service sent ${message.type}`,
          'Run the same version of Troupe on all machines.',
        );
    }
  }

  close(reason: string): void {
    this.#channel.close(reason);
  }
}
