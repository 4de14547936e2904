import { createVectorMemory } from '@troupe/optim';
import {
  createChannel,
  PROTOCOL_VERSION,
  ProtocolError,
  type BodyReader,
  type Channel,
  type Message,
  type MessageOf,
} from '@troupe/protocol';
import type { Connection } from '@troupe/transport';
import { floatsAt, updateBytes } from '../codec.js';
import type { CollectiveHost, HostOptions, ReduceCounted, ReduceRejected } from '../port.js';
import type { Grant, RoundOrder } from '../reduction.js';
import { UpdateReader, wholeUpdate, type ReduceUpdate } from '../update.js';
import { refused, shakeHands } from './handshake.js';

/** From here on the host owns the connection. @throws what Collective.host does */
export async function hostStar(connection: Connection, options: HostOptions): Promise<CollectiveHost> {
  const { token, runId, owner, streams, window, codec, ordered = false, tensorSizes, stateFloats, deadline } = options;
  const channel = createChannel(connection, {
    accepts: ['hosted', 'refuse', 'counted', 'rejected', 'update'],
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
    owner,
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

class StarHost implements CollectiveHost {
  readonly #channel: Channel;
  readonly #reader: UpdateReader;

  constructor(channel: Channel, options: HostOptions) {
    this.#channel = channel;
    this.#reader = new UpdateReader(options.runId, options, createVectorMemory(0));
  }

  admit(workerId: string, ticket: string): void {
    this.#channel.send({ type: 'admit', workerId, ticket });
  }

  dismiss(workerId: string, reason: string): void {
    this.#channel.send({ type: 'dismiss', workerId, reason });
  }

  subscribe(workerId: string, wanted: boolean): void {
    this.#channel.send({ type: 'subscribe', workerId, wanted });
  }

  openRound(order: RoundOrder): void {
    this.#channel.send({ type: 'openRound', ...order });
  }

  grant(grant: Grant): void {
    this.#channel.send({ type: 'grant', ...grant });
  }

  async receive(signal?: AbortSignal): Promise<ReduceCounted | ReduceRejected | ReduceUpdate> {
    const { message, body } = await this.#channel.receiveStreamed(signal);
    switch (message.type) {
      case 'update':
        // The run proceeds before its replica steps, so every value is checked here.
        return wholeUpdate(this.#reader.read(message, body, signal));
      case 'counted': {
        const { type, ...counted } = message;
        return { kind: type, ...counted, endStates: await readFloats(body, signal) };
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

async function readFloats(body: BodyReader, signal?: AbortSignal): Promise<Float32Array> {
  const bytes = new Uint8Array(body.bytes);
  let at = 0;
  for (let piece = await body.next(signal); piece; piece = await body.next(signal)) {
    bytes.set(piece, at);
    at += piece.byteLength;
  }
  return floatsAt(bytes, 0, bytes.byteLength / 4);
}
