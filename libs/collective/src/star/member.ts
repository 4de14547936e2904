import { createVectorMemory } from '@troupe/optim';
import {
  createChannel,
  LIMITS,
  PROTOCOL_VERSION,
  ProtocolError,
  type Channel,
  type Message,
  type MessageOf,
  type MessageType,
} from '@troupe/protocol';
import type { Connection } from '@troupe/transport';
import { bytesOf, chunksOf, contributionRanges, parameterCount, updateRanges, type Segment } from '../codec.js';
import { createContributionWriter, type ContributionWriter } from '../contribution.js';
import { CollectiveError, isLinkFailure } from '../errors.js';
import type {
  CollectiveMember,
  Contribution,
  ContributionLease,
  JoinOptions,
  MemberEvent,
  OutgoingContribution,
} from '../port.js';
import { UpdateReader, type UpdateSource } from '../update.js';
import { refused, shakeHands } from './handshake.js';
import { ServiceInbox } from './inbox.js';
import { OutgoingGradient, type OutgoingRange } from './outgoing.js';
import { ReducerLinks, type ReducerLinksOptions } from './reducer-links.js';

/**
 * From here on the member owns the connection.
 * @param connect opens a link to a reducer; absent: the member only uses the service
 * @throws what Collective.join does
 */
export async function joinStar(
  connection: Connection,
  options: JoinOptions,
  connect?: ReducerLinksOptions['connect'],
): Promise<CollectiveMember> {
  const { runId, workerId, ticket, deadline } = options;
  let ranges: readonly (readonly Segment[])[] = [];
  const channel = createChannel(connection, {
    accepts: ['joined', 'refuse', 'contributionResult', 'subscription', 'reducer', 'update', 'updateRange'],
    ...(deadline && { deadline }),
    bodyBytes: (message: Message) => (message.type === 'updateRange' ? bytesOf(ranges.at(message.range) ?? []) : 0),
  });
  const join: MessageOf<'join'> = { type: 'join', versions: [PROTOCOL_VERSION], runId, workerId, ticket };
  const { round, reducers } = await shakeHands(channel, join, 'joined', options);
  ranges = updateRanges(options, Math.max(1, reducers.length));
  const member = new StarMember(channel, options, { firstRound: round, ranges, connect, keep: reducers.length > 0 });
  for (const [range, address] of reducers.entries()) member.links.connect(range, address);
  return member;
}

interface Place {
  readonly firstRound: number;
  /** Of updates. */
  readonly ranges: readonly (readonly Segment[])[];
  readonly connect: ReducerLinksOptions['connect'];
  /** Whether what was sent is kept, because a reducer may be lost with it. */
  readonly keep: boolean;
}

/** What is sent for a lease. */
interface Sent {
  readonly round: number;
  /** Of each range; kept until a later round begins. */
  readonly frames: Uint8Array[][];
  /** Where each range goes: to its reducer, or to the service. */
  readonly paths: Channel[];
}

class StarMember implements CollectiveMember {
  readonly firstRound: number;
  readonly links: ReducerLinks;
  readonly #channel: Channel;
  readonly #inbox: ServiceInbox<MessageType>;
  readonly #options: JoinOptions;
  readonly #reader: UpdateReader;
  readonly #writer: ContributionWriter;
  readonly #outgoing: readonly OutgoingRange[];
  readonly #ranges: readonly (readonly Segment[])[];
  readonly #keep: boolean;
  #over = false;
  #sent: Sent[] = [];
  /** The contribution that is on its way: nothing else with a body may be sent to the service meanwhile. */
  #current: Sent | undefined;
  /** Ranges that are sent again, to the service, when it has ended, and from which round on. */
  readonly #again = new Map<number, number>();

  constructor(channel: Channel, options: JoinOptions, { firstRound, ranges, connect, keep }: Place) {
    this.firstRound = firstRound;
    this.#channel = channel;
    // The update that is being received may wait for what a lost reducer had.
    this.#inbox = new ServiceInbox(channel, (message) => message.type === 'reducer' && this.#onReducer(message));
    this.#options = options;
    this.#reader = new UpdateReader(options.runId, options, ranges);
    this.#writer = createContributionWriter(options, createVectorMemory(0));
    this.#outgoing = contributionRanges(options, ranges.length).map((segments) => ({
      segments,
      chunks: chunksOf(segments, LIMITS.chunkBytes),
    }));
    this.#ranges = ranges;
    this.#keep = keep;
    this.links = new ReducerLinks({
      join: options,
      ranges,
      connect,
      onOpened: () => this.#tell(() => this.#sendRoute()),
      onLost: (range) => this.#onLost(range),
      onFailed: ({ message }) => channel.close(message),
    });
    void channel.closed.then(({ reason }) => {
      this.#over = true;
      this.links.close(reason);
    });
  }

  begin(lease: ContributionLease): OutgoingContribution {
    const { tensorSizes, stateFloats } = this.#options;
    const sent = this.#beginSending(lease.round);
    const send = (range: number, frame: Uint8Array): void => this.#sendFrame(sent, range, frame);
    const gradient = new OutgoingGradient({ lease, ranges: this.#outgoing, writer: this.#writer, send });
    const add = (values: Float32Array, from: number): void => {
      // An engine that is given up may go on for a while.
      if (this.#current !== sent) return;
      requireLength('gradient values', values, parameterCount(tensorSizes));
      gradient.add(values, from);
    };
    return {
      add,
      finish: (contribution) => {
        requireLength('end state values', contribution.endStates, contribution.streams.length * stateFloats);
        add(contribution.gradient, 0);
        this.#end(sent);
        this.#complete(contribution);
      },
      abandon: () => {
        if (this.#current !== sent) return;
        gradient.fill();
        this.#sent = this.#sent.filter((each) => each !== sent);
        this.#end(sent);
      },
    };
  }

  contribute(contribution: Contribution): void {
    const outgoing = this.begin(contribution);
    try {
      outgoing.finish(contribution);
    } finally {
      outgoing.abandon();
    }
  }

  #beginSending(round: number): Sent {
    if (this.#sent.some((earlier) => earlier.round < round)) this.#sent = [];
    const sent: Sent = { round, frames: this.#outgoing.map(() => []), paths: [] };
    if (this.#keep) this.#sent.push(sent);
    return (this.#current = sent);
  }

  #sendFrame({ frames, paths }: Sent, range: number, frame: Uint8Array): void {
    if (this.#keep) frames[range].push(frame);
    // A range takes one way, whatever opens or breaks meanwhile; one that broke is sent again at the end.
    const path = (paths[range] ??= this.links.get(range) ?? this.#channel);
    if (path === this.#channel) return path.sendEncoded([frame]);
    if (this.links.get(range) !== path) return;
    try {
      path.sendEncoded([frame]);
    } catch (error) {
      if (!isLinkFailure(error)) throw error;
      this.links.lose(range, error.message);
    }
  }

  #end(sent: Sent): void {
    if (this.#current !== sent) return;
    this.#current = undefined;
    for (const [range, round] of this.#again) this.#sendAgain(range, round);
    this.#again.clear();
  }

  /** All but the gradient. */
  #complete({ gradient: _gradient, endStates, ...meta }: Contribution): void {
    const states = new Uint8Array(endStates.buffer, endStates.byteOffset, endStates.byteLength);
    this.#channel.send({ type: 'contribution', runId: this.#options.runId, ...meta }, states);
  }

  /** The service gives a range that a reducer has already to nobody. */
  #sendAgain(range: number, fromRound: number): void {
    for (const { round, frames } of this.#sent) if (round >= fromRound) this.#channel.sendEncoded(frames[range]);
  }

  /** What the reducer received last may be lost with its link. */
  #onLost(range: number, fromRound = 0): void {
    this.#tell(() => {
      this.#sendRoute();
      if (this.#current) this.#again.set(range, fromRound);
      else this.#sendAgain(range, fromRound);
    });
  }

  /** Tells the service. If its link fails, it is closed, and those that use it learn so. */
  #tell(send: () => void): void {
    if (this.#over) return;
    try {
      send();
    } catch (error) {
      if (!isLinkFailure(error)) throw error;
      this.#channel.close(error.message);
    }
  }

  #sendRoute(): void {
    this.#channel.send({ type: 'route', ranges: this.links.missing });
  }

  async receive(signal?: AbortSignal): Promise<MemberEvent> {
    const { message } = await this.#inbox.next(signal);
    switch (message.type) {
      case 'update':
        return this.#reader.read(message, this.#source, signal);
      case 'contributionResult': {
        const { type: _type, ...result } = message;
        return { kind: 'result', ...result };
      }
      case 'subscription': {
        const { type: kind, ...subscription } = message;
        if (!subscription.wanted) this.#sent = [];
        return { kind, ...subscription };
      }
      case 'refuse':
        throw refused(message);
      default:
        throw unexpected(message);
    }
  }

  #onReducer({ range, address, round }: MessageOf<'reducer'>): true {
    if (address !== '') this.links.connect(range, address);
    // What was sent to the service is lost as well.
    else if (!this.links.leave(range, 'its reducer is lost')) this.#onLost(range, round);
    return true;
  }

  readonly #source: UpdateSource = {
    range: (round, range, isNamed, signal) =>
      isNamed ? this.#inbox.range(round, range, signal) : this.#directly(round, range, signal),
  };

  /** From the reducer; what it does not deliver comes from the service, with the same bits. */
  async *#directly(round: number, range: number, signal?: AbortSignal): AsyncGenerator<Uint8Array, void, undefined> {
    const bytes = bytesOf(this.#ranges[range]);
    let received = 0;
    for await (const piece of this.links.receive(range, round, signal)) {
      received += piece.byteLength;
      yield piece;
    }
    if (received === bytes) return;
    this.#channel.send({ type: 'lacking', round, range });
    let skip = received;
    for await (const piece of this.#inbox.range(round, range, signal)) {
      const rest = piece.subarray(Math.min(skip, piece.byteLength));
      skip -= piece.byteLength - rest.byteLength;
      if (rest.byteLength > 0) yield rest;
    }
  }

  close(reason: string): void {
    this.#over = true;
    this.#channel.close(reason);
    this.links.close(reason);
  }
}

function unexpected({ type }: Message): ProtocolError {
  return new ProtocolError(
    'unexpected_message',
    `the all-reduce service sent ${type}`,
    'Run the same version of Troupe on all machines.',
  );
}

function requireLength(what: string, { length }: Float32Array, expected: number): void {
  if (length === expected) return;
  throw new CollectiveError(
    'bad_length',
    `${length} ${what}, but ${expected} are due`,
    'Check that the engine and the run use the same model config.',
  );
}
