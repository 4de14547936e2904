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
import { chunksOf, createSegmentReader, parameterCount, updateShape, type SegmentReader } from '../codec.js';
import { createContributionWriter, type ContributionWriter } from '../contribution.js';
import { CollectiveError, isLinkFailure } from '../errors.js';
import type {
  CollectiveMember,
  Contribution,
  ContributionLease,
  JoinOptions,
  KeptSnapshot,
  MemberEvent,
  OutgoingContribution,
  SnapshotSource,
} from '../port.js';
import { foldDigests, segmentDigest } from '../range-digest.js';
import {
  createRangeLayout,
  readRanges,
  type Partition,
  type PartitionRange,
  type RangeLayout,
  type SegmentRange,
} from '../ranges.js';
import { splitBody, UpdateReader, type ArrivingUpdate, type UpdateSource } from '../update.js';
import { refused, shakeHands } from './handshake.js';
import { ServiceInbox } from './inbox.js';
import { OutgoingGradient, type OutgoingRange } from './outgoing.js';
import type { Reach } from './reach.js';
import { ReducerLinks } from './reducer-links.js';
import { Signals } from './signals.js';

export interface MemberParts {
  /** Opens links to reducers; absent: the member only uses the service. */
  readonly reach?: Reach | undefined;
  /** Lets others that have links to this worker take a snapshot; absent: none have. */
  keep?(snapshot: KeptSnapshot | undefined): void;
}

/**
 * From here on the member owns the connection.
 * @throws what Collective.join does
 */
export async function joinStar(connection: Connection, options: JoinOptions, parts: MemberParts = {}): Promise<StarMember> {
  const { runId, workerId, ticket, deadline } = options;
  const layout = createRangeLayout(options);
  const channel = createChannel(connection, {
    accepts: [
      ...(['joined', 'refuse', 'contributionResult', 'subscription'] as const),
      ...(['partition', 'reducer', 'iceServers', 'signal', 'update', 'updateRange'] as const),
    ],
    ...(deadline && { deadline }),
    bodyBytes: (message: Message) => (message.type === 'updateRange' ? layout.leavingBytes(message) : 0),
  });
  const join: MessageOf<'join'> = { type: 'join', versions: [PROTOCOL_VERSION], runId, workerId, ticket };
  const { round, ranges } = await shakeHands(channel, join, 'joined', options);
  try {
    return new StarMember(channel, options, { layout, partition: { round, ranges: readRanges(ranges, layout) }, ...parts });
  } catch (error) {
    channel.close((error as Error).message);
    throw error;
  }
}

interface Place extends MemberParts {
  readonly layout: RangeLayout;
  /** Of the first round. */
  readonly partition: Partition;
}

/** What is sent for a lease. */
interface Sent {
  readonly round: number;
  /** Of the gradient; who sums them may change. */
  readonly ranges: readonly SentRange[];
}

interface SentRange extends SegmentRange {
  readonly reducer: string;
  /** Kept until a later round begins, because a reducer may be lost with what was sent to it. */
  readonly frames: Uint8Array[];
  /** Where the range goes: to its reducer, or to the service. */
  path: Pick<Channel, 'sendEncoded'> | undefined;
}

export class StarMember implements CollectiveMember {
  readonly firstRound: number;
  readonly #channel: Channel;
  readonly #links: ReducerLinks;
  readonly #signals = new Signals((signal) => this.#channel.send({ type: 'signal', ...signal }));
  /** Links to reducers that were begun over WebRTC. */
  #calls = 0;
  readonly #inbox: ServiceInbox<MessageType>;
  readonly #options: JoinOptions;
  readonly #layout: RangeLayout;
  readonly #reader: UpdateReader;
  /** Of what reducers send. */
  readonly #checker: SegmentReader;
  readonly #memory = createVectorMemory(0);
  /** From reducers, of the last update. */
  #received: Omit<MessageOf<'received'>, 'type'> = { round: 0, ranges: [] };
  readonly #writer: ContributionWriter;
  /** Of the updates that are still to come, in the order of their rounds. */
  #partitions: Partition[];
  /** From the service; in order with the divisions. */
  #isParked = false;
  /** The last round whose division is known. */
  #known: number;
  /** Contributions to later rounds. */
  #waiting: Contribution[] = [];
  #over = false;
  #sent: Sent[] = [];
  /** The contribution that is on its way: nothing else with a body may be sent to the service meanwhile. */
  #current: Sent | undefined;
  /** Reducers whose ranges are sent again, to the service, when it has ended, and from which round on. */
  readonly #again = new Map<string, number>();

  readonly #keep: NonNullable<MemberParts['keep']>;

  constructor(channel: Channel, options: JoinOptions, { layout, partition, reach, keep = () => undefined }: Place) {
    this.#keep = keep;
    this.firstRound = partition.round;
    this.#channel = channel;
    this.#options = options;
    this.#layout = layout;
    this.#partitions = [partition];
    this.#known = partition.round;
    this.#reader = new UpdateReader(options.runId, options, layout);
    this.#checker = createSegmentReader(updateShape(options), this.#memory);
    this.#writer = createContributionWriter(options, this.#memory);
    this.#links = new ReducerLinks({
      join: options,
      layout,
      reach,
      openSignalling: (reducer) => this.#signals.open(reducer, this.#calls++),
      onOpened: () => this.#tell(() => this.#sendLinked()),
      onLost: (reducer) => this.#onLost(reducer),
      onWanted: (reducer) => this.#tell(() => channel.send({ type: 'introduce', reducer })),
      onFailed: ({ message }) => channel.close(message),
    });
    // The update that is being received may wait for what a lost reducer had.
    this.#inbox = new ServiceInbox(channel, (message) => this.#takeNow(message));
    void channel.closed.then(({ reason }) => {
      this.#over = true;
      this.#links.close(reason);
      this.#signals.end();
    });
  }

  /** Resolves when the link to the service has ended. */
  get closed(): Promise<unknown> {
    return this.#channel.closed;
  }

  begin(lease: ContributionLease): OutgoingContribution {
    return lease.round <= this.#known ? this.#beginNow(lease) : this.#beginLater();
  }

  /**
   * The worker has a snapshot that is newer than what it has heard of the updates: how the round is divided is still on its way. What it
   * computes waits for that.
   */
  #beginLater(): OutgoingContribution {
    return {
      add: () => undefined,
      finish: (contribution) => {
        const { gradient, endStates } = contribution;
        this.#requireLengths(contribution);
        this.#waiting.push({ ...contribution, gradient: gradient.slice(), endStates: endStates.slice() });
      },
      abandon: () => undefined,
    };
  }

  /** The division of this round is known. */
  #learn(round: number): void {
    this.#known = Math.max(this.#known, round);
    const due = this.#waiting.filter((contribution) => contribution.round <= this.#known);
    this.#waiting = this.#waiting.filter((contribution) => contribution.round > this.#known);
    // What another contribution has begun must end first: it is of a later round, and these no longer matter.
    if (!this.#current) for (const contribution of due) this.#tell(() => this.contribute(contribution));
  }

  #requireLengths({ gradient, endStates, streams }: Pick<Contribution, 'gradient' | 'endStates' | 'streams'>): void {
    const { tensorSizes, stateFloats } = this.#options;
    requireLength('gradient values', gradient, parameterCount(tensorSizes));
    requireLength('end state values', endStates, streams.length * stateFloats);
  }

  #beginNow(lease: ContributionLease): OutgoingContribution {
    const { tensorSizes } = this.#options;
    const sent = this.#beginSending(lease.round);
    const send = (index: number, frame: Uint8Array): void => this.#sendFrame(sent.ranges[index], frame);
    const ranges = sent.ranges.map((range) => this.#outgoing(range));
    const gradient = new OutgoingGradient({ lease, ranges, writer: this.#writer, send });
    const add = (values: Float32Array, from: number): void => {
      // An engine that is given up may go on for a while.
      if (this.#current !== sent) return;
      requireLength('gradient values', values, parameterCount(tensorSizes));
      gradient.add(values, from);
    };
    return {
      add,
      finish: (contribution) => {
        this.#requireLengths(contribution);
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

  #outgoing({ from, to }: SegmentRange): OutgoingRange {
    const segments = this.#layout.arriving({ from, to });
    return { from, to, segments, chunks: chunksOf(segments, LIMITS.chunkBytes) };
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
    const ranges = this.#partitionOf(round).map((range) => ({ ...range, frames: [], path: undefined }));
    const sent: Sent = { round, ranges };
    if (ranges.some(({ reducer }) => reducer !== '')) this.#sent.push(sent);
    return (this.#current = sent);
  }

  #partitionOf(round: number): readonly PartitionRange[] {
    return (this.#partitions.findLast((partition) => partition.round <= round) ?? this.#partitions[0]).ranges;
  }

  #sendFrame(range: SentRange, frame: Uint8Array): void {
    const { reducer, frames } = range;
    if (reducer !== '') frames.push(frame);
    // A range takes one way, whatever opens or breaks meanwhile; one that broke is sent again at the end.
    const path = (range.path ??= this.#links.get(reducer) ?? this.#channel);
    if (path === this.#channel) return path.sendEncoded([frame]);
    if (this.#links.get(reducer) !== path) return;
    try {
      path.sendEncoded([frame]);
    } catch (error) {
      if (!isLinkFailure(error)) throw error;
      this.#links.lose(reducer, error.message);
    }
  }

  #end(sent: Sent): void {
    if (this.#current !== sent) return;
    this.#current = undefined;
    for (const [reducer, round] of this.#again) this.#sendAgain(reducer, round);
    this.#again.clear();
  }

  /** All but the gradient. */
  #complete({ gradient: _gradient, endStates, ...meta }: Contribution): void {
    const states = new Uint8Array(endStates.buffer, endStates.byteOffset, endStates.byteLength);
    this.#channel.send({ type: 'contribution', runId: this.#options.runId, ...meta }, states);
  }

  /** The service gives a range that a reducer has already to nobody. */
  #sendAgain(lost: string, fromRound: number): void {
    const due = this.#sent.filter(({ round }) => round >= fromRound).flatMap(({ ranges }) => ranges);
    for (const { reducer, frames } of due) if (reducer === lost) this.#channel.sendEncoded(frames);
  }

  /** What the reducer received last may be lost with its link. */
  #onLost(reducer: string, fromRound = 0): void {
    this.#tell(() => {
      this.#sendLinked();
      if (this.#current) this.#again.set(reducer, fromRound);
      else this.#sendAgain(reducer, fromRound);
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

  #sendLinked(): void {
    this.#channel.send({ type: 'linked', reducers: this.#links.reducers });
  }

  async receive(signal?: AbortSignal): Promise<MemberEvent> {
    const { message } = await this.#inbox.next(signal);
    switch (message.type) {
      case 'update':
        return this.#read(message, signal);
      case 'contributionResult': {
        const { type: _type, ...result } = message;
        if (result.result === 'replica_diverged') this.#channel.send({ type: 'received', ...this.#received });
        return { kind: 'result', ...result };
      }
      case 'subscription': {
        const { type: kind, ...subscription } = message;
        if (!subscription.wanted) [this.#sent, this.#waiting] = [[], []];
        return { kind, ...subscription };
      }
      case 'refuse':
        throw refused(message);
      default:
        throw unexpected(message);
    }
  }

  #read(message: MessageOf<'update'>, signal?: AbortSignal): ArrivingUpdate {
    const ranges = this.#partitionOf(message.round);
    const next = this.#partitions.findLastIndex(({ round }) => round <= message.round);
    if (next > 0) this.#partitions = this.#partitions.slice(next);
    this.#received = { round: message.round, ranges: [] };
    return this.#reader.read(message, ranges, this.#source, signal);
  }

  /** Its round is divided as the service has said before. */
  #onSubscription({ wanted, round }: MessageOf<'subscription'>): void {
    this.#isParked = !wanted;
    if (wanted) this.#learn(round);
  }

  /** @returns whether it was such a message */
  #takeNow(message: Message): boolean {
    if (message.type === 'partition') {
      const partition = { round: message.round, ranges: readRanges(message.ranges, this.#layout) };
      // A parked worker receives no updates that the earlier ones are for.
      this.#partitions = this.#isParked ? [partition] : [...this.#partitions, partition];
      return true;
    }
    if (message.type === 'update') this.#learn(message.round + 1);
    if (message.type === 'subscription') this.#onSubscription(message);
    return this.#takeNews(message);
  }

  /** Of reducers. @returns whether it was such a message */
  #takeNews(message: Message): boolean {
    switch (message.type) {
      case 'reducer':
        if (message.addresses.length > 0) this.#links.connect(message);
        else this.#forget(message);
        return true;
      case 'iceServers':
        this.#links.iceServers = message.servers;
        return true;
      case 'signal':
        this.#signals.take(message);
        return true;
      default:
        return false;
    }
  }

  /** The service sums the ranges of a lost reducer. What was sent to the service for it is lost as well. */
  #forget({ reducer: lost, round }: MessageOf<'reducer'>): void {
    const without = (range: PartitionRange): PartitionRange => (range.reducer === lost ? { ...range, reducer: '' } : range);
    this.#partitions = this.#partitions.map((partition) => ({ ...partition, ranges: partition.ranges.map(without) }));
    if (!this.#links.leave(lost, 'it is lost')) this.#onLost(lost, round);
  }

  readonly #source: UpdateSource<PartitionRange> = {
    range: (round, range, isNamed, signal) =>
      isNamed ? this.#inbox.range(round, range, signal) : this.#directly(round, range, signal),
  };

  /** From the reducer; what it does not deliver comes from the service, with the same bits. */
  async *#directly(round: number, range: PartitionRange, signal?: AbortSignal): AsyncGenerator<Uint8Array, void, undefined> {
    const bytes = this.#layout.leavingBytes(range);
    const { from, to } = range;
    let received = 0;
    for await (const piece of this.#sound(range, this.#links.receive(range.reducer, range, round, signal))) {
      received += piece.byteLength;
      yield piece;
    }
    if (received === bytes) return;
    this.#channel.send({ type: 'lacking', round, from, to });
    let skip = received;
    for await (const piece of this.#inbox.range(round, range, signal)) {
      const rest = piece.subarray(Math.min(skip, piece.byteLength));
      skip -= piece.byteLength - rest.byteLength;
      if (rest.byteLength > 0) yield rest;
    }
  }

  /** Whole segments, as far as they may be applied: a reducer that sends others is left, and the service sends what it has. */
  async *#sound(range: PartitionRange, pieces: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array, void, undefined> {
    const segments = this.#layout.leaving(range);
    let defect: string | undefined;
    const sound: Uint8Array[] = [];
    const digests: string[] = [];
    const take = splitBody(
      segments.map(({ bytes }) => bytes),
      (index, bytes) => {
        defect ??= this.#checker.defect(segments[index], this.#checker.read(segments[index], bytes));
        if (defect !== undefined) return;
        sound.push(bytes);
        digests.push(segmentDigest(this.#memory, bytes));
      },
    );
    for await (const piece of pieces) {
      take(piece);
      yield* sound.splice(0);
      if (defect === undefined) continue;
      this.#links.lose(range.reducer, `its part of an update must not be applied: ${defect}`);
      return;
    }
    const { from, to } = range;
    if (digests.length === segments.length) this.#received.ranges.push({ from, to, digest: foldDigests(this.#memory, digests) });
  }

  keep(snapshot: KeptSnapshot | undefined): void {
    this.#keep(snapshot);
  }

  source(workerId: string, signal: AbortSignal): Promise<SnapshotSource | undefined> {
    return this.#links.source(workerId, signal);
  }

  close(reason: string): void {
    this.#over = true;
    this.#keep(undefined);
    this.#channel.close(reason);
    this.#links.close(reason);
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
