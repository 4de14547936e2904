import { createVectorMemory } from '@troupe/optim';
import {
  createChannel,
  LIMITS,
  openTransfer,
  PROTOCOL_VERSION,
  ProtocolError,
  type Channel,
  type Message,
  type MessageOf,
  type OpenTransfer,
} from '@troupe/protocol';
import type { Connection } from '@troupe/transport';
import { chunksOf, inChunk, parameterCount, segmentsOf, updateBytes, type SegmentChunk } from '../codec.js';
import { contributionBytes, createContributionWriter, type ContributionWriter } from '../contribution.js';
import { CollectiveError } from '../errors.js';
import type { CollectiveMember, Contribution, JoinOptions, MemberEvent } from '../port.js';
import { UpdateReader } from '../update.js';
import { refused, shakeHands } from './handshake.js';

/** From here on the member owns the connection. @throws what Collective.join does */
export async function joinStar(connection: Connection, options: JoinOptions): Promise<CollectiveMember> {
  const { runId, workerId, ticket, deadline } = options;
  const channel = createChannel(connection, {
    accepts: ['joined', 'refuse', 'contributionResult', 'subscription', 'update'],
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
  readonly #writer: ContributionWriter;
  readonly #chunks: readonly SegmentChunk[];

  constructor(channel: Channel, options: JoinOptions, firstRound: number) {
    this.firstRound = firstRound;
    this.#channel = channel;
    this.#options = options;
    this.#reader = new UpdateReader(options.runId, options);
    this.#writer = createContributionWriter(options, createVectorMemory(0));
    this.#chunks = chunksOf(segmentsOf(options), LIMITS.chunkBytes);
  }

  contribute({ gradient, endStates, ...meta }: Contribution): void {
    const { stateFloats, tensorSizes, runId } = this.#options;
    const streams = meta.streams.length;
    requireLength('gradient values', gradient, parameterCount(tensorSizes));
    requireLength('end state values', endStates, streams * stateFloats);
    const transfer = openTransfer({ type: 'contribution', runId, ...meta }, contributionBytes(this.#options, streams));
    this.#channel.sendEncoded([transfer.head]);
    for (const chunk of this.#chunks) {
      // Each chunk leaves before the next is coded, so coding, sending and the other side's checks overlap.
      const { frame, payload } = transfer.chunk(chunk.bytes);
      for (const { segment, bytes } of inChunk(chunk, payload)) this.#writer.encode(gradient, meta, segment, bytes);
      this.#channel.sendEncoded([frame]);
    }
    this.#sendStates(transfer, new Uint8Array(endStates.buffer, endStates.byteOffset, endStates.byteLength));
  }

  #sendStates(transfer: OpenTransfer, states: Uint8Array): void {
    for (let at = 0; at < states.byteLength; at += LIMITS.chunkBytes) {
      const piece = states.subarray(at, at + LIMITS.chunkBytes);
      const { frame, payload } = transfer.chunk(piece.byteLength);
      payload.set(piece);
      this.#channel.sendEncoded([frame]);
    }
  }

  async receive(signal?: AbortSignal): Promise<MemberEvent> {
    const { message, body } = await this.#channel.receiveStreamed(signal);
    if (message.type === 'update') return this.#reader.read(message, body, signal);
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

function requireLength(what: string, { length }: Float32Array, expected: number): void {
  if (length === expected) return;
  throw new CollectiveError(
    'bad_length',
    `${length} ${what}, but ${expected} are due`,
    'Check that the engine and the run use the same model config.',
  );
}
