import { createVectorMemory } from '@troupe/optim';
import { createChannel, PROTOCOL_VERSION, ProtocolError, type Channel, type Message, type MessageOf } from '@troupe/protocol';
import type { Connection } from '@troupe/transport';
import { createGradientWriter, updateBytes, writerBytes, type GradientWriter } from '../codec.js';
import { CollectiveError } from '../errors.js';
import type { CollectiveMember, Contribution, JoinOptions, MemberEvent } from '../port.js';
import { UpdateReader } from '../update.js';
import { refused, shakeHands } from './handshake.js';

/** From here on the member owns the connection. @throws what Collective.join does */
export async function joinStar(connection: Connection, options: JoinOptions): Promise<CollectiveMember> {
  const { runId, workerId, ticket, deadline } = options;
  const channel = createChannel(connection, {
    accepts: ['joined', 'refuse', 'contributionResult', 'subscription', 'update'],
    reuseBodies: true,
    ...(deadline && { deadline }),
    bodyBytes: (message: Message) => (message.type === 'update' ? updateBytes(options) : 0),
  });
  const join: MessageOf<'join'> = { type: 'join', versions: [PROTOCOL_VERSION], runId, workerId, ticket };
  const { round } = await shakeHands(channel, join, 'joined', options);
  return new StarMember(channel, options, round);
}

class StarMember implements CollectiveMember {
  readonly firstRound: number;
  readonly #channel: Channel;
  readonly #options: JoinOptions;
  readonly #reader: UpdateReader;
  readonly #writer: GradientWriter;

  constructor(channel: Channel, options: JoinOptions, firstRound: number) {
    this.firstRound = firstRound;
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

  async receive(signal?: AbortSignal): Promise<MemberEvent> {
    const { message, body } = await this.#channel.receive(signal);
    if (message.type === 'update') return this.#reader.read(message, body);
    if (message.type === 'refuse') throw refused(message);
    if (message.type === 'contributionResult') {
      const { type: _type, ...result } = message;
      return { kind: 'result', ...result };
    }
    if (message.type === 'subscription') {
      const { type: kind, ...subscription } = message;
      return { kind, ...subscription };
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
