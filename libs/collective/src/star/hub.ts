/** Decides what counts in a run, sums the ranges that no reducer sums, and sends the updates. */
import {
  isLostRace,
  LIMITS,
  PROTOCOL_VERSION,
  ProtocolError,
  type BodyReader,
  type Channel,
  type Message,
  type MessageOf,
} from '@troupe/protocol';
import { TransportError } from '@troupe/transport';
import { bytesOf, chunksOf, contributionRanges, updateRanges, type Segment, type SegmentChunk } from '../codec.js';
import { keyOf, type ContributionKey } from '../grants.js';
import { createLedger, type Addition, type Finish, type Ledger, type Ruling, type Verdict } from '../ledger.js';
import type { SegmentMeasures } from '../gradient-sum.js';
import type { Intake } from '../intake.js';
import { createRangeSum, type RangeSum } from '../range-sum.js';
import { readBody, takeBody } from './body.js';
import { Links, type Link, type Member } from './links.js';
import { openRemoteReducer, type ReducerListener, type RemoteReducer } from './remote-reducer.js';
import { unexpected, type ReducerAddress, type RunServer, type ServerOptions } from './run-server.js';
import { UpdateSender, type ReadyRange } from './update-sender.js';

/** @throws OptimError `out_of_memory` */
export function createHub(hello: MessageOf<'host'>, host: Channel, options: ServerOptions): RunServer {
  return new Hub(hello, host, options);
}

interface HubMember extends Member {
  /** Ranges that it says it exchanges with their reducers. It may not know yet that one is lost; it then sends its range again. */
  claimed: ReadonlySet<number>;
  /** Those of them that it receives from there. */
  direct: Set<number>;
  /** Ranges of contributions to this round that have come from it: "lease range". */
  readonly arrived: Set<string>;
  /** Ranges of the last update that it lacked and was sent. */
  readonly supplied: Set<string>;
}

/** A range of the parameters, and who sums it. */
interface Range {
  readonly index: number;
  /** As they arrive in contributions, and as they leave in updates. */
  readonly arriving: readonly Segment[];
  readonly leaving: readonly Segment[];
  /** Of `leaving`. */
  readonly chunks: readonly SegmentChunk[];
  /** Absent in a run without reducers. */
  remote?: RemoteReducer;
  /** The service's own sum; absent while the reducer sums the range. */
  sum: RangeSum | undefined;
  /** Of its segments in this round; absent until its sum is complete. */
  squares: readonly number[] | undefined;
  /** From its reducer, of the last update. */
  received: { readonly round: number; readonly bytes: Uint8Array } | undefined;
  /** What its reducer spends on a contribution and its part of an update, ms. */
  reducerMs: number;
  /** Ends when the reducer's link has room for what is passed on next. */
  passing: Promise<void>;
}

class Hub implements RunServer {
  readonly hello: MessageOf<'host'>;
  readonly host: Channel;
  readonly #options: ServerOptions;
  readonly #links: Links<HubMember>;
  readonly #ledger: Ledger;
  readonly #ranges: readonly Range[];
  readonly #updates: UpdateSender;
  readonly #over = new AbortController();
  /** The round of the next update. */
  #nextRound = 0;
  /** The finish of this round. */
  #finish: Finish | undefined;
  /** Time to add the last contribution, ms. */
  #addMs = 0;

  constructor(hello: MessageOf<'host'>, host: Channel, options: ServerOptions) {
    this.hello = hello;
    this.host = host;
    this.#options = options;
    const reducers = reducersOf(hello, options);
    const count = Math.max(1, reducers.length);
    const leaving = updateRanges(hello, count);
    const updateBytes = leaving.reduce((total, segments) => total + bytesOf(segments), 0);
    this.#ledger = createLedger(hello, count);
    this.#links = new Links(options, updateBytes);
    const nowMs = () => this.#nowMs();
    this.#updates = new UpdateSender({ ranges: count, links: this.#links, keepCopies: reducers.length > 0, nowMs });
    this.#ranges = contributionRanges(hello, count).map((arriving, index) => ({
      ...{ index, arriving, leaving: leaving[index], chunks: chunksOf(leaving[index], LIMITS.chunkBytes) },
      ...{ sum: this.#createSum(index, count), squares: undefined, received: undefined },
      ...{ reducerMs: 0, passing: Promise.resolve() },
    }));
    for (const [index, address] of reducers.entries())
      this.#ranges[index].remote = this.#openRemote(this.#ranges[index], address);
  }

  bodyBytes(message: Message): number {
    if (message.type === 'contribution') return this.#stateBytes(message);
    if (message.type !== 'gradientRange') return 0;
    const range = this.#ranges.at(message.range);
    if (range) return bytesOf(range.arriving);
    throw new ProtocolError(
      'invalid_message',
      `range ${message.range} of a run with ${this.#ranges.length}`,
      'Run the same version of Troupe on all machines.',
    );
  }

  #stateBytes({ streams }: MessageOf<'contribution'>): number {
    const { streams: most, stateFloats } = this.hello;
    if (streams.length <= most) return streams.length * stateFloats * 4;
    throw new ProtocolError(
      'invalid_message',
      `a contribution for ${streams.length} streams to a run of ${most}`,
      'Run the same version of Troupe on all machines.',
    );
  }

  async serveHost(): Promise<void> {
    this.host.send({ type: 'hosted', version: PROTOCOL_VERSION, ranges: this.#ranges.length });
    for (;;) {
      this.#onOrder((await this.host.receive()).message);
      this.#links.wake();
    }
  }

  async serveMember({ channel, connection }: Link, join: MessageOf<'join'>): Promise<void> {
    const { workerId } = join;
    await this.#links.admitted(join);
    const member: HubMember = { workerId, channel, connection, wanted: true, ...newMember() };
    const leave = this.#links.add(member);
    try {
      this.#toReducers({ type: 'subscribe', workerId, wanted: true });
      const reducers = this.#ranges.flatMap(({ remote, sum }) => (remote ? [sum ? '' : remote.forWorkers] : []));
      channel.send({ type: 'joined', version: PROTOCOL_VERSION, round: this.#nextRound, reducers });
      for (;;) {
        const { message, body } = await channel.receiveStreamed();
        await this.#hear(member, message, body);
      }
    } finally {
      leave();
    }
  }

  end(): void {
    this.#over.abort(new Error('the coordinator left'));
    this.#links.end('the coordinator left the all-reduce service; join again through it');
  }

  // ---- orders of the coordinator

  #onOrder(message: Message): void {
    switch (message.type) {
      case 'admit':
        this.#toReducers(message);
        return void this.#links.tickets.set(message.workerId, message.ticket);
      case 'dismiss':
        this.#toReducers(message);
        return this.#links.dismiss(message);
      case 'subscribe':
        return this.#subscribe(message);
      case 'openRound':
        return this.#openRound(message);
      case 'grant':
        this.#ledger.grant(message);
        return this.#toReducers(message);
      default:
        throw unexpected(message, 'a coordinator sends admit, dismiss, subscribe, openRound and grant');
    }
  }

  /** The worker learns on its own link, in order with the updates, from which round on it receives them. */
  #subscribe(order: MessageOf<'subscribe'>): void {
    const { workerId, wanted } = order;
    const member = this.#links.members.get(workerId);
    if (!member || member.wanted === wanted) return;
    member.wanted = wanted;
    this.#toReducers(order);
    const { channel } = member;
    this.#links.deliver(channel, () => channel.send({ type: 'subscription', wanted, round: this.#nextRound }));
  }

  #openRound(order: MessageOf<'openRound'>): void {
    this.#nextRound = Math.max(this.#nextRound, order.round);
    this.#finish = undefined;
    for (const { arrived } of this.#links.members.values()) arrived.clear();
    for (const range of this.#ranges) {
      [range.squares, range.received] = [undefined, undefined];
      range.sum?.clear();
      if (range.sum && range.remote?.channel) this.#restore(range);
    }
    const refused = this.#ledger.openRound(order);
    this.#toReducers(order);
    for (const verdict of refused) this.#announce(verdict);
  }

  // ---- what workers send

  async #hear(member: HubMember, message: Message, body: BodyReader): Promise<void> {
    switch (message.type) {
      case 'gradientRange':
        if (await this.#takeRange(member.workerId, message, body)) member.arrived.add(nameOf(message));
        return;
      case 'contribution': {
        const endStates = await readBody(body);
        await this.#granted(message);
        const offered = { workerId: member.workerId, message, endStates };
        return this.#carryOut(this.#ledger.offer(offered, this.#missing(member, message.leaseId)));
      }
      case 'route':
        return this.#route(member, message);
      case 'lacking':
        return this.#supply(member, message);
      default:
        throw unexpected(message, 'a worker sends gradientRange, contribution, route and lacking');
    }
  }

  /** Waits a moment for the grant, which travels on the host's link and may arrive after the contribution. */
  #granted(key: Pick<ContributionKey, 'round' | 'leaseId'>): Promise<void> {
    return this.#links.until(() => !this.#ledger.grants.mayCome(key), LIMITS.grantMs);
  }

  /** @returns whether it belongs to a lease of this round */
  async #takeRange(workerId: string, message: MessageOf<'gradientRange'>, body: BodyReader): Promise<boolean> {
    const { round, leaseId, range: index } = message;
    const key: ContributionKey = { round, leaseId, workerId };
    const range = this.#ranges[index];
    if (!range.sum) return this.#passOn(range, key, await readBody(body));
    const { sum } = range;
    const intake = sum.intake();
    await takeBody(body, (piece) => intake.take(piece));
    await this.#granted(key);
    if (range.sum !== sum) return this.#passOn(range, key, intake.memory);
    return this.#holdRange(range, sum, key, intake);
  }

  /** @returns whether it belongs to a lease of this round */
  #holdRange(range: Range, sum: RangeSum, key: ContributionKey, intake: Intake): boolean {
    const { defect } = intake;
    const isGranted = this.#ledger.grants.find(key) !== undefined;
    // After a reducer was lost, the contribution may count already: what is wrong must not be added.
    const isSound = isGranted && defect === undefined;
    if (!isSound) sum.release(intake);
    const measures = isSound ? sum.hold(keyOf(key), intake) : undefined;
    this.#carryOut(this.#ledger.hold(range.index, key, defect));
    if (measures) this.#onMeasured(range, squaresOf(measures));
    return isGranted;
  }

  /** Ranges that should have come from the worker before it completes the contribution. */
  #missing({ claimed, arrived }: HubMember, leaseId: string): number[] {
    const isHere = (range: number) => claimed.has(range) || arrived.has(nameOf({ leaseId, range }));
    return this.#ranges.flatMap(({ index }) => (isHere(index) ? [] : [index]));
  }

  /** @returns whether it belongs to a lease of this round */
  async #passOn(range: Range, key: ContributionKey, bytes: Uint8Array): Promise<boolean> {
    await this.#granted(key);
    range.passing = range.passing.then(() => this.#roomFor(range));
    await range.passing;
    if (!this.#ledger.grants.find(key)) return false;
    const channel = range.sum ? undefined : range.remote?.channel;
    // After the reducer is lost, the worker sends the range again.
    if (channel) this.#links.deliver(channel, () => channel.send({ type: 'passedRange', ...key }, bytes));
    return true;
  }

  /** Workers are not read faster than the reducer reads. Never rejects. */
  async #roomFor({ remote }: Range): Promise<void> {
    try {
      await remote?.channel?.drained(LIMITS.passedBytes);
    } catch (error) {
      if (!(error instanceof TransportError)) throw error;
    }
  }

  #route(member: HubMember, { ranges }: MessageOf<'route'>): void {
    const through = new Set(ranges);
    const claimed = this.#ranges.filter(({ index, remote }) => remote !== undefined && !through.has(index));
    member.claimed = new Set(claimed.map(({ index }) => index));
    member.direct = new Set(claimed.flatMap(({ index, sum }) => (sum ? [] : [index])));
  }

  #supply(member: HubMember, { round, range }: MessageOf<'lacking'>): void {
    const { channel, supplied } = member;
    const name = `${round} ${range}`;
    const isNew = range < this.#ranges.length && !supplied.has(name) && this.#links.isUnstuck(member);
    if (supplied.size > this.#ranges.length) supplied.clear();
    supplied.add(name);
    if (isNew && this.#updates.supply(channel, { round, range })) return;
    channel.close(`range ${range} of the update of round ${round} is no longer here; join again`);
  }

  // ---- what counts

  #carryOut(rulings: readonly Ruling[]): void {
    const complete = this.#add(rulings.filter((ruling) => ruling.kind === 'add'));
    for (const ruling of rulings) if (ruling.kind === 'verdict') this.#announce(ruling);
    for (const [range, squares] of complete) this.#onMeasured(range, squares);
  }

  /** @returns the ranges whose sum is complete, with the squares of their segments */
  #add(additions: readonly Addition[]): readonly (readonly [Range, readonly number[]])[] {
    for (const { kind: type, ...addition } of additions) this.#toReducers({ type, ...addition });
    const startMs = this.#nowMs();
    const complete = this.#ranges.flatMap((range) =>
      additions.flatMap((addition) => {
        const measures = range.sum?.add(keyOf(addition), addition.last);
        return measures ? [[range, squaresOf(measures)] as const] : [];
      }),
    );
    if (additions.length > 0) this.#addMs = this.#nowMs() - startMs;
    return complete;
  }

  #announce(verdict: Verdict): void {
    const { workerId, message, result, reason, endStates } = verdict;
    const { leaseId, round, streams, tokens, lossSum, computeMs } = message;
    const lease = { round, leaseId, workerId, computeMs };
    if (result !== 'counted' && !this.#ledger.needs(lease)) this.#drop(lease);
    const channel = this.#links.members.get(workerId)?.channel;
    if (channel) this.#links.deliver(channel, () => channel.send({ type: 'contributionResult', leaseId, round, result, reason }));
    if (result === 'counted') {
      const serviceMs = Math.max(this.#addMs + this.#updates.sendMs, ...this.#ranges.map(({ reducerMs }) => reducerMs));
      const counted: MessageOf<'counted'> = { type: 'counted', ...lease, streams, tokens, lossSum, serviceMs };
      this.#links.deliver(this.host, () => this.host.send(counted, endStates));
      return;
    }
    if (!isLostRace(result)) {
      const text = `worker ${workerId}, round ${round}: contribution refused (${result}): ${reason}`;
      this.#options.log({ level: 'warn', text });
    }
    this.#links.deliver(this.host, () => this.host.send({ type: 'rejected', ...lease, result, reason }));
  }

  #drop({ round, leaseId, workerId }: ContributionKey): void {
    const key = { round, leaseId, workerId };
    for (const { sum } of this.#ranges) sum?.drop(keyOf(key));
    this.#toReducers({ type: 'drop', ...key });
  }

  #onMeasured(range: Range, squares: readonly number[]): void {
    range.squares = squares;
    const complete = this.#ranges.flatMap(({ squares: known }) => (known ? [known] : []));
    // After a reducer is lost, its range is measured once more.
    if (!this.#finish && complete.length === this.#ranges.length) this.#begin(this.#ledger.finish(complete.flat()));
    if (this.#finish) this.#flush();
  }

  #begin(finish: Finish): void {
    const { head, factor } = finish;
    const members = this.#links.receivers();
    this.#toReducers({ type: 'finish', round: head.round, factor });
    this.#updates.begin(head, this.host, new Map(members.map(({ channel, direct }) => [channel, direct])));
    this.#nextRound = head.round + 1;
    this.#finish = finish;
  }

  #flush(): void {
    this.#updates.flush((index) => this.#readyRange(this.#ranges[index]));
  }

  #readyRange({ index: range, sum, squares, received, leaving, chunks }: Range): ReadyRange | undefined {
    const { head, factor } = this.#finish!;
    const ready = { round: head.round, range, bytes: bytesOf(leaving), chunks };
    if (received?.round === head.round) {
      const encode = (index: number, payload: Uint8Array) => {
        const { offset, bytes } = chunks[index];
        payload.set(received.bytes.subarray(offset, offset + bytes));
      };
      return { ...ready, encode, whole: received.bytes };
    }
    if (!sum || !squares) return undefined;
    return { ...ready, encode: (index, payload) => sum.encode(chunks[index], factor, payload) };
  }

  // ---- reducers

  #toReducers(message: Message): void {
    for (const { sum, remote } of this.#ranges) if (!sum && remote) this.#toReducer(remote, message);
  }

  #openRemote(range: Range, address: ReducerAddress): RemoteReducer {
    const { runId, owner, streams, codec, tensorSizes } = this.hello;
    const { deadline, token, connect } = this.#options;
    const assign = { runId, owner, streams, codec, tensorSizes, range: range.index, ranges: this.#ranges.length };
    const { length: segments } = range.leaving;
    const options = { deadline, token, connect: connect!, address, assign, segments, updateBytes: bytesOf(range.leaving) };
    return openRemoteReducer({ ...options, over: this.#over.signal }, this.#listenerOf(range, address));
  }

  #listenerOf(range: Range, { address }: ReducerAddress): ReducerListener {
    // Without a password, which no log repeats.
    const who = `the reducer of range ${range.index} at ${address.replace(/\/\/[^/@]*@/, '//')}`;
    const instead = 'The service sums its range meanwhile.';
    return {
      onReady: () => {
        this.#options.log({ level: 'info', text: `${who} is here` });
        // In a round that is open, something may be summed already.
        if (this.#ledger.round < 0) this.#restore(range);
      },
      onHeld: ({ type: _type, defect, serviceMs, ...key }) => {
        range.reducerMs = serviceMs;
        if (!range.sum) this.#carryOut(this.#ledger.hold(range.index, key, defect === '' ? undefined : defect));
      },
      onMeasured: (round, squares) => {
        if (!range.sum && round === this.#ledger.round) this.#onMeasured(range, squares);
      },
      onUpdate: (round, bytes) => {
        range.received = { round, bytes };
        if (this.#finish) this.#flush();
      },
      onLost: (reason) => {
        this.#options.log({ level: 'warn', text: `${who} is lost: ${reason}. ${instead}` });
        range.reducerMs = 0;
        if (!range.sum) this.#takeOver(range);
      },
      onFailed: (error) => this.#fail(error),
      onUnreachable: (reason) => {
        const remedy = 'Check its address, and that it was started with the same token.';
        this.#options.log({ level: 'warn', text: `${who} cannot be reached: ${reason}. ${instead}`, remedy });
      },
    };
  }

  /** The coordinator connects again, and opens the round once more. */
  #fail(error: unknown): void {
    const reason = error instanceof Error ? error.message : String(error);
    this.#options.log({ level: 'warn', text: `the service cannot go on: ${reason}` });
    this.host.close(reason);
  }

  /** From this round on, the reducer sums the range. */
  #restore(range: Range): void {
    const remote = range.remote!;
    range.sum = undefined;
    for (const [workerId, ticket] of this.#links.tickets) this.#toReducer(remote, { type: 'admit', workerId, ticket });
    for (const { workerId, wanted } of this.#links.members.values())
      if (!wanted) this.#toReducer(remote, { type: 'subscribe', workerId, wanted });
    this.#tellMembers(range, remote.forWorkers);
  }

  #toReducer({ channel }: RemoteReducer, message: Message): void {
    if (channel) this.#links.deliver(channel, () => channel.send(message));
  }

  #tellMembers({ index }: Range, address: string): void {
    const message: MessageOf<'reducer'> = { type: 'reducer', range: index, address, round: Math.max(this.#ledger.round, 0) };
    for (const { channel } of this.#links.members.values()) this.#links.deliver(channel, () => channel.send(message));
  }

  /** The service sums the range, for which workers send their part of this round again. */
  #takeOver(range: Range): void {
    const { round, additions, counted } = this.#ledger;
    const sum = this.#createSum(range.index, this.#ranges.length);
    range.sum = sum;
    range.squares = undefined;
    this.#ledger.forget(range.index);
    for (const { direct } of this.#links.members.values()) direct.delete(range.index);
    for (const addition of additions) sum.add(keyOf(addition), addition.last);
    this.#tellMembers(range, '');
    if (counted.length > 0 && range.received?.round !== round) this.#watch(range, sum, { round, due: counted.map(keyOf) });
  }

  /** A worker that left cannot send its part again. The coordinator then opens the round again. */
  #watch(range: Range, sum: RangeSum, { round, due }: { readonly round: number; readonly due: readonly string[] }): void {
    const deadline = this.#options.deadline(LIMITS.repeatMs);
    deadline.addEventListener('abort', () => {
      if (this.#over.signal.aborted || range.sum !== sum || this.#ledger.round !== round) return;
      if (due.every((key) => sum.has(key))) return;
      this.host.close(`range ${range.index} of round ${round} is lost with its reducer: the round begins again`);
    });
  }

  #createSum(range: number, ranges: number): RangeSum {
    const { codec, tensorSizes } = this.hello;
    return createRangeSum({ codec, tensorSizes, range, ranges });
  }

  #nowMs(): number {
    return this.#options.nowMs?.() ?? 0;
  }
}

const nameOf = ({ leaseId, range }: Pick<MessageOf<'gradientRange'>, 'leaseId' | 'range'>): string => `${leaseId} ${range}`;

const newMember = (): Pick<HubMember, 'claimed' | 'direct' | 'arrived' | 'supplied'> => ({
  claimed: new Set(),
  direct: new Set(),
  arrived: new Set(),
  supplied: new Set(),
});

const squaresOf = (measures: readonly SegmentMeasures[]): readonly number[] => measures.map(({ squares }) => squares);

/**
 * Of a run: those of the service, then those that its coordinator names.
 * @throws ProtocolError `limit_exceeded`, `invalid_message`
 */
function reducersOf({ reducers }: MessageOf<'host'>, options: ServerOptions): readonly ReducerAddress[] {
  const named = reducers.map((address) => ({ address, forWorkers: address }));
  const all = [...(options.reducers ?? []), ...named];
  if (all.length > LIMITS.reducers) {
    throw new ProtocolError('limit_exceeded', `${all.length} reducers`, `Name at most ${LIMITS.reducers} for a run.`);
  }
  if (all.length === 0 || options.connect) return all;
  throw new ProtocolError('invalid_message', 'this service cannot reach reducers', 'Name no reducers, or another service.');
}
