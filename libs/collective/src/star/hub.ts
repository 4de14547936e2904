/** Decides what counts in a run, sums the ranges that no reducer sums, and sends the updates. */
import {
  encodeFrames,
  isLostRace,
  LIMITS,
  MessageBudget,
  PROTOCOL_VERSION,
  ProtocolError,
  type BodyReader,
  type Channel,
  type Message,
  type MessageOf,
} from '@troupe/protocol';
import { TransportError } from '@troupe/transport';
import { createVectorMemory } from '@troupe/optim';
import { chunksOf, createSegmentReader, updateShape, type Segment, type SegmentChunk, type SegmentReader } from '../codec.js';
import type { SegmentMeasures } from '../gradient-sum.js';
import { isAudited, keyOf, type ContributionKey } from '../grants.js';
import { filled, type Intake } from '../intake.js';
import { createLedger, type Addition, type Audited, type Finish, type Ledger, type Ruling, type Verdict } from '../ledger.js';
import { createRangeSum, type RangeSum } from '../range-sum.js';
import { rangeDigest } from '../range-digest.js';
import {
  createRangeLayout,
  describeRanges,
  evenRanges,
  nameOf,
  type PartitionRange,
  type RangeLayout,
  type SegmentRange,
} from '../ranges.js';
import { AuditCopies } from './audit-copies.js';
import { readBody, takeBody } from './body.js';
import { either } from './either.js';
import { Links, type NewLink } from './links.js';
import { ReducerPool, type PoolMember } from './reducer-pool.js';
import { wrong, type ReducerListener, type RemoteReducer, type RoundRange } from './remote-reducer.js';
import { unexpected, type RunServer, type ServerOptions } from './run-server.js';
import { UpdateSender, type ReadyRange } from './update-sender.js';

/** @throws OptimError `out_of_memory` */
export function createHub(hello: MessageOf<'host'>, host: Channel, options: ServerOptions): RunServer {
  return new Hub(hello, host, options);
}

const REDUCE_RATE = { burst: LIMITS.reduceBurst, perSecond: LIMITS.reducePerSecond };

interface HubMember extends PoolMember {
  /** Until the coordinator has heard of it: when it joined, and the round of the next update then. */
  unconfirmed: { readonly sinceMs: number; readonly round: number } | undefined;
  /** The least that has waited for it since too much did, and since when. */
  lag?: { readonly bytes: number; readonly sinceMs: number } | undefined;
  /** How many messages of it are read. */
  readonly budget: MessageBudget;
  /** Ranges of contributions to this round that have come from it: "lease range". */
  readonly arrived: Set<string>;
  /** Ranges of the last update that it lacked and was sent. */
  readonly supplied: Set<string>;
}

/** A range of the parameters in a round, and who sums it. */
interface Range extends PartitionRange {
  readonly name: string;
  readonly leaving: readonly Segment[];
  /** Of `leaving`. */
  readonly chunks: readonly SegmentChunk[];
  /** To whom workers send it; absent: to the service. */
  readonly remote: RemoteReducer | undefined;
  /** The service's own sum; absent while the reducer sums the range. */
  sum: RangeSum | undefined;
  /** Of its segments in this round; absent until its sum is complete. */
  squares: readonly number[] | undefined;
  /** From its reducer, of the last update. */
  received: { readonly round: number; readonly bytes: Uint8Array } | undefined;
}

/** The ranges from a round on. */
interface Division {
  readonly round: number;
  readonly ranges: readonly Range[];
}

class Hub implements RunServer {
  readonly hello: MessageOf<'host'>;
  readonly host: Channel;
  readonly #options: ServerOptions;
  readonly #layout: RangeLayout;
  readonly #links: Links<HubMember>;
  readonly #ledger: Ledger;
  readonly #copies = new AuditCopies();
  /** What is held because of its norm, and whose copies are on their way from reducers. */
  readonly #fetching = new Map<string, Audited>();
  readonly #memory = createVectorMemory(0);
  /** Checks what peers send. */
  readonly #reader: SegmentReader;
  readonly #updates: UpdateSender;
  readonly #over = new AbortController();
  readonly #pool: ReducerPool<HubMember>;
  #now: Division;
  /** Of the division before. */
  #before: readonly Range[] = [];
  /** Of the round after, once workers are told. */
  #next: Division | undefined;
  /** The round of the next update. */
  #nextRound = 0;
  /** The finish of this round. */
  #finish: Finish | undefined;
  /** Time to add the last contribution, ms. */
  #addMs = 0;
  /** Runs from the first reducer on. */
  #stalls: Promise<void> | undefined;

  constructor(hello: MessageOf<'host'>, host: Channel, options: ServerOptions) {
    this.hello = hello;
    this.host = host;
    this.#options = options;
    this.#layout = createRangeLayout(hello);
    this.#ledger = createLedger(hello);
    this.#reader = createSegmentReader(updateShape(hello), this.#memory);
    this.#links = new Links(options, this.#layout.leavingBytes({ from: 0, to: this.#layout.segments }));
    this.#updates = new UpdateSender({ links: this.#links, nowMs: () => this.#nowMs() });
    this.#pool = new ReducerPool({
      ...{ options, links: this.#links },
      host: { hello, send: (message) => void this.#links.deliver(host, () => host.send(message)) },
      round: () => this.#ledger.round,
      bodyBytes: (message) => this.bodyBytes(message),
      isSumming: (remote) => this.#isSumming(remote),
      listenerOf: (remote) => this.#listenerOf(remote),
      onFailed: (error) => this.#fail(error),
    });
    this.#now = { round: 0, ranges: this.#divide().map((range) => this.#createRange(range)) };
    for (const range of this.#now.ranges) range.sum = this.#createSum(range);
  }

  bodyBytes(message: Message): number {
    switch (message.type) {
      case 'contribution':
        return this.#stateBytes(message);
      case 'gradientRange':
        return this.#layout.arrivingBytes(message);
      case 'updateRange':
        return this.#layout.leavingBytes(message);
      case 'copied':
        return this.#layout.arrivingBytes(message);
      case 'measured':
        // Checks the range.
        this.#layout.leavingBytes(message);
        return (message.to - message.from) * Float64Array.BYTES_PER_ELEMENT;
      default:
        return 0;
    }
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
    this.host.send({ type: 'hosted', version: PROTOCOL_VERSION });
    for (;;) {
      this.#onOrder((await this.host.receive()).message);
      this.#links.wake();
    }
  }

  async serveMember(link: NewLink, join: MessageOf<'join'>): Promise<void> {
    const { channel, connection } = link;
    const { workerId } = join;
    await this.#links.admitted(link, join);
    const nowMs = this.#nowMs();
    const member: HubMember = {
      ...{ workerId, channel, connection, wanted: true, ...newMember() },
      ...{ unconfirmed: { sinceMs: nowMs, round: this.#nextRound }, budget: new MessageBudget(REDUCE_RATE, nowMs) },
    };
    const leave = this.#links.add(member);
    try {
      const ranges = this.#divisionOf(this.#nextRound).ranges.map((range) => ({
        ...range,
        reducer: range.sum ? '' : range.reducer,
      }));
      channel.send({ type: 'joined', version: PROTOCOL_VERSION, round: this.#nextRound, ranges: describeRanges(ranges) });
      this.#pool.introduceAll(member);
      for (;;) {
        const { message, body } = await channel.receiveStreamed();
        await this.#hear(member, message, body);
        const waitMs = this.#options.nowMs ? member.budget.take(this.#nowMs()) : 0;
        if (waitMs > 0) await this.#links.pause(waitMs, channel);
      }
    } finally {
      leave();
      this.#pool.forget(workerId);
    }
  }

  async servePeer(link: NewLink, offer: MessageOf<'offer'>): Promise<void> {
    await this.#links.admitted(link, offer);
    await this.#pool.serve(link, offer);
  }

  end(): void {
    this.#over.abort(new Error('the coordinator left'));
    this.#pool.end('the coordinator left the all-reduce service');
    this.#links.end('the coordinator left the all-reduce service; join again through it');
  }

  // ---- orders of the coordinator

  #onOrder(message: Message): void {
    switch (message.type) {
      case 'admit':
        return void this.#links.tickets.set(message.workerId, message.ticket);
      case 'dismiss':
        this.#pool.dismiss(message);
        return this.#links.dismiss(message);
      case 'subscribe':
        return this.#subscribe(message);
      case 'peers':
        return this.#pool.choose(message);
      case 'openRound':
        return this.#openRound(message);
      case 'grant':
        this.#ledger.grant(message);
        this.#links.members.get(message.workerId)?.budget.earn(this.#messagesPerRange());
        return this.#toReducers(message);
      case 'rule':
        return this.#carryOut(this.#ledger.rule(message));
      default:
        throw unexpected(message, 'a coordinator sends admit, dismiss, subscribe, peers, openRound, grant and rule');
    }
  }

  /** The worker learns on its own link, in order with the updates, from which round on it receives them. */
  #subscribe(order: MessageOf<'subscribe'>): void {
    const { workerId, wanted } = order;
    const member = this.#links.members.get(workerId);
    if (member) member.unconfirmed = undefined;
    if (!member || member.wanted === wanted) return;
    member.wanted = wanted;
    this.#pool.tell(order);
    const { channel } = member;
    this.#links.deliver(channel, () => channel.send({ type: 'subscription', wanted, round: this.#nextRound }));
  }

  /** How many messages a worker may have to send because of a lease, or of an update. */
  #messagesPerRange(): number {
    return LIMITS.reducePerRange * (1 + this.#now.ranges.length);
  }

  /** A worker asks the coordinator for a snapshot as soon as it has joined. One that does not costs as much as one that computes. */
  #dropUnconfirmed(): void {
    const nowMs = this.#nowMs();
    for (const { workerId, unconfirmed } of this.#links.members.values()) {
      if (!unconfirmed || this.#nextRound - unconfirmed.round < LIMITS.unconfirmedRounds) continue;
      if (nowMs - unconfirmed.sinceMs >= LIMITS.unconfirmedMs) this.#subscribe({ type: 'subscribe', workerId, wanted: false });
    }
  }

  /** Others must not wait for a slow link, and what waits for it must not grow. One that reads nothing at all is dropped. */
  #leaveOutLagging(): void {
    const nowMs = this.#nowMs();
    for (const member of this.#links.members.values()) {
      const { workerId, wanted, connection, lag } = member;
      if (!this.#links.isLagging(member)) {
        member.lag = undefined;
        continue;
      }
      if (!lag || connection.bufferedBytes < lag.bytes) member.lag = { bytes: connection.bufferedBytes, sinceMs: nowMs };
      else if (nowMs - lag.sinceMs >= LIMITS.silenceMs) this.#links.isUnstuck(member);
      if (!wanted) continue;
      this.#options.log({ level: 'info', text: `worker ${workerId} is left out: updates pile up at its link` });
      this.#subscribe({ type: 'subscribe', workerId, wanted: false });
      this.#links.deliver(this.host, () => this.host.send({ type: 'lagging', workerId }));
    }
  }

  #openRound(order: MessageOf<'openRound'>): void {
    this.#nextRound = Math.max(this.#nextRound, order.round);
    this.#finish = undefined;
    this.#copies.clear();
    this.#fetching.clear();
    for (const { arrived, budget, wanted } of this.#links.members.values()) {
      arrived.clear();
      if (wanted) budget.earn(this.#messagesPerRange());
    }
    this.#dropUnconfirmed();
    if (this.#next) this.#beginDivision(this.#next);
    const { ranges } = this.#now;
    for (const range of ranges) {
      [range.squares, range.received] = [undefined, undefined];
      range.sum?.clear();
    }
    const refused = this.#ledger.openRound(order, ranges.length);
    this.#toReducers(order);
    for (const verdict of refused) this.#announce(verdict);
  }

  // ---- what workers send

  async #hear(member: HubMember, message: Message, body: BodyReader): Promise<void> {
    switch (message.type) {
      case 'gradientRange':
        if (await this.#takeRange(member.workerId, message, body)) member.arrived.add(arrivalOf(message.leaseId, message));
        return;
      case 'contribution': {
        const endStates = await readBody(body);
        await this.#granted(message);
        const offered = { workerId: member.workerId, message, endStates };
        return this.#carryOut(this.#ledger.offer(offered, this.#missing(member, message.leaseId)));
      }
      case 'linked':
        member.linked = new Set(message.reducers);
        return;
      case 'introduce':
        return this.#pool.introduceAgain(member, message.reducer);
      case 'signal':
        return this.#pool.signalTo(member, message);
      case 'lacking':
        return this.#supply(member, message);
      case 'received':
        return this.#compare(member, message);
      default:
        throw unexpected(message, 'a worker sends gradientRange, contribution, linked, introduce, signal, lacking and received');
    }
  }

  /** Waits a moment for the grant, which travels on the host's link and may arrive after the contribution. */
  #granted(key: Pick<ContributionKey, 'round' | 'leaseId'>): Promise<void> {
    return this.#links.until(() => !this.#ledger.grants.mayCome(key), LIMITS.grantMs);
  }

  /** @returns whether it belongs to a lease of this round */
  async #takeRange(workerId: string, message: MessageOf<'gradientRange'>, body: BodyReader): Promise<boolean> {
    const { round, leaseId } = message;
    const key: ContributionKey = { round, leaseId, workerId };
    // That of the round that is open, or of the next if the ranges stay the same. They may still be divided otherwise.
    const sum = this.#find(message)?.sum;
    const intake = sum?.intake();
    if (intake) await takeBody(body, (piece) => intake.take(piece));
    const bytes = intake?.memory ?? (await readBody(body));
    await this.#granted(key);
    const range = this.#find(message);
    if (!this.#ledger.grants.find(key) && (!range?.sum || range.sum !== sum)) return false;
    if (!range) throw wrong(`${describe(message)} is no range of round ${round}`);
    if (!range.sum) return this.#passOn(range, key, bytes);
    return this.#holdRange(range, range.sum, key, intake && range.sum === sum ? intake : filled(range.sum.intake(), bytes));
  }

  /** In the round that is open. */
  #find(range: SegmentRange): Range | undefined {
    const name = nameOf(range);
    return this.#now.ranges.find((each) => each.name === name);
  }

  /** @returns whether it belongs to a lease of this round */
  #holdRange(range: Range, sum: RangeSum, key: ContributionKey, intake: Intake): boolean {
    const { defect } = intake;
    const grant = this.#ledger.grants.find(key);
    const isGranted = grant !== undefined;
    // After a reducer was lost, the contribution may count already: what is wrong must not be added.
    const isSound = isGranted && defect === undefined;
    if (!isSound) sum.release(intake);
    else if (isAudited(grant)) this.#copies.put(key, range, intake.memory.slice());
    const squares = isSound && grant.mostNorm !== undefined ? sum.squaresOf(intake) : undefined;
    const measures = isSound ? sum.hold(keyOf(key), intake) : undefined;
    this.#carryOut(this.#ledger.hold(range.name, key, defect, squares));
    if (measures) this.#onMeasured(range, squaresOf(measures));
    return isGranted;
  }

  /** Ranges that should have come from the worker before it completes the contribution. */
  #missing({ linked, arrived }: HubMember, leaseId: string): string[] {
    const isHere = (range: Range) =>
      (range.remote !== undefined && linked.has(range.remote.id)) || arrived.has(arrivalOf(leaseId, range));
    return this.#now.ranges.flatMap((range) => (isHere(range) ? [] : [describe(range)]));
  }

  /** @returns whether it belongs to a lease of this round */
  async #passOn(range: Range, key: ContributionKey, bytes: Uint8Array): Promise<boolean> {
    const remote = range.remote!;
    remote.passing = remote.passing.then(() => roomFor(remote));
    await remote.passing;
    if (!this.#ledger.grants.find(key)) return false;
    const channel = range.sum ? undefined : remote.channel;
    const { from, to } = range;
    // After the reducer is lost, the worker sends the range again.
    if (channel) this.#links.deliver(channel, () => channel.send({ type: 'passedRange', ...key, from, to }, bytes));
    return true;
  }

  #supply(member: HubMember, { round, from, to }: MessageOf<'lacking'>): void {
    this.#layout.leavingBytes({ from, to });
    const { channel, supplied } = member;
    const name = `${round} ${nameOf({ from, to })}`;
    const isNew = !supplied.has(name) && this.#links.isUnstuck(member);
    if (supplied.size > LIMITS.reducers) supplied.clear();
    supplied.add(name);
    if (isNew && this.#updates.supply(channel, { round, from, to })) return;
    channel.close(`${describe({ from, to })} of the update of round ${round} are no longer here; join again`);
  }

  /** Replicas that received the same bytes are the same: a peer that sent others than it sent here sums no longer. */
  #compare({ workerId }: HubMember, { round, ranges }: MessageOf<'received'>): void {
    const then = round >= this.#now.round ? this.#now.ranges : this.#before;
    for (const { from, to, digest } of ranges) {
      const copy = this.#updates.copyOf(round, { from, to });
      const remote = then.find(({ name }) => name === nameOf({ from, to }))?.remote;
      if (!copy || !remote?.isPeer || rangeDigest(this.#memory, this.#layout.leaving({ from, to }), copy) === digest) continue;
      remote.link?.close(`it sent worker ${workerId} another part of the update of round ${round} than the service`);
    }
  }

  // ---- what counts

  #carryOut(rulings: readonly Ruling[]): void {
    const complete = this.#add(rulings.filter((ruling) => ruling.kind === 'add'));
    // A copy comes before the news that the contribution counts.
    for (const ruling of rulings) if (ruling.kind === 'audited') this.#sendCopy(ruling);
    for (const ruling of rulings) if (ruling.kind === 'verdict') this.#announce(ruling);
    for (const [range, squares] of complete) this.#onMeasured(range, squares);
  }

  /** @returns the ranges whose sum is complete, with the squares of their segments */
  #add(additions: readonly Addition[]): readonly (readonly [Range, readonly number[]])[] {
    for (const { kind: type, ...addition } of additions) this.#toReducers({ type, ...addition });
    const startMs = this.#nowMs();
    const complete = this.#now.ranges.flatMap((range) =>
      additions.flatMap((addition) => {
        const measures = range.sum?.add(keyOf(addition), addition.last);
        return measures ? [[range, squaresOf(measures)] as const] : [];
      }),
    );
    if (additions.length > 0) this.#addMs = this.#nowMs() - startMs;
    return complete;
  }

  #sendCopy(audited: Audited): void {
    const { workerId, message, endStates, norm, isUnexpected } = audited;
    const { round, leaseId, streams, lossSum, computeMs } = message;
    const key = { round, leaseId, workerId };
    if (isUnexpected) {
      // A reducer may be lost while it is asked.
      this.#fetching.set(keyOf(key), audited);
      if (!this.#fetchCopies(key) || !this.#fetching.delete(keyOf(key))) return;
    }
    const body = this.#copies.take(key, this.#now.ranges, endStates);
    if (!body) return this.#giveUpAudit(key);
    const audit: MessageOf<'audit'> = { type: 'audit', ...key, streams, lossSum, computeMs, ...(isUnexpected && { norm }) };
    this.#links.deliver(this.host, () => this.host.send(audit, body));
  }

  #giveUpAudit(key: ContributionKey): void {
    const reason = 'a part of it was lost with its reducer';
    this.#carryOut(this.#ledger.lose(key, reason));
  }

  /** Nobody has kept a copy. Its reducers are asked for theirs, and answer. @returns whether all of it is here */
  #fetchCopies(key: ContributionKey): boolean {
    const missing = this.#now.ranges.filter((range) => !this.#copies.has(key, range));
    for (const range of missing) {
      const copy = range.sum?.copyOf(keyOf(key));
      if (copy) this.#copies.put(key, range, copy);
      else if (!range.sum && range.remote) this.#pool.send(range.remote, { type: 'copy', ...key });
    }
    return missing.every((range) => this.#copies.has(key, range));
  }

  #onCopied(remote: RemoteReducer, { type: _type, from, to, ...key }: MessageOf<'copied'>, bytes: Uint8Array): void {
    if (!this.#rangeOf(remote, { round: key.round, from, to })) return;
    this.#copies.put(key, { from, to }, bytes);
    const audited = this.#fetching.get(keyOf(key));
    if (!audited || !this.#now.ranges.every((range) => this.#copies.has(key, range))) return;
    this.#sendCopy(audited);
  }

  #announce(verdict: Verdict): void {
    const { workerId, message, result, reason, endStates, norm } = verdict;
    const { leaseId, round, streams, tokens, lossSum, computeMs } = message;
    const lease = { round, leaseId, workerId, computeMs };
    if (result !== 'counted' && !this.#ledger.needs(lease)) this.#drop(lease);
    const channel = this.#links.members.get(workerId)?.channel;
    if (channel) this.#links.deliver(channel, () => channel.send({ type: 'contributionResult', leaseId, round, result, reason }));
    if (result === 'counted') {
      const reducersMs = this.#now.ranges.map(({ remote }) => remote?.serviceMs ?? 0);
      const serviceMs = Math.max(this.#addMs + this.#updates.sendMs, ...reducersMs);
      const counted: MessageOf<'counted'> = {
        type: 'counted',
        ...lease,
        streams,
        tokens,
        lossSum,
        serviceMs,
        ...(norm !== undefined && { norm }),
      };
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
    for (const { sum } of this.#now.ranges) sum?.drop(keyOf(key));
    this.#toReducers({ type: 'drop', ...key });
  }

  #onMeasured(range: Range, squares: readonly number[]): void {
    range.squares = squares;
    const { ranges } = this.#now;
    const complete = ranges.flatMap(({ squares: known }) => (known ? [known] : []));
    // After a reducer is lost, its range is measured once more.
    const isNew = !this.#finish && complete.length === ranges.length;
    if (isNew) this.#begin(this.#ledger.finish(complete.flat()));
    if (this.#finish) this.#flush();
    if (isNew) this.#pool.reportLinks();
  }

  #begin(finish: Finish): void {
    const { head, factor } = finish;
    const { ranges } = this.#now;
    this.#leaveOutLagging();
    const members = this.#links.receivers();
    this.#toReducers({ type: 'finish', round: head.round, factor });
    // Before the update: who has it may send contributions to the next round.
    this.#redivide(head.round + 1);
    const isDirect = ({ linked }: HubMember, { sum, remote }: Range) => !sum && remote !== undefined && linked.has(remote.id);
    const direct = members.map((member) => {
      return [member.channel, new Set(ranges.filter((range) => isDirect(member, range)))] as const;
    });
    this.#updates.begin(head, ranges, this.host, new Map(direct));
    this.#nextRound = head.round + 1;
    this.#finish = finish;
  }

  #flush(): void {
    this.#updates.flush((index) => this.#readyRange(this.#now.ranges[index]));
  }

  #readyRange(range: Range): ReadyRange | undefined {
    const { head, factor } = this.#finish!;
    const { sum, squares, received, chunks } = range;
    const ready = { round: head.round, range, bytes: this.#layout.leavingBytes(range), chunks };
    if (received?.round === head.round) {
      const encode = (index: number, payload: Uint8Array) => {
        const { offset, bytes } = chunks[index];
        payload.set(received.bytes.subarray(offset, offset + bytes));
      };
      return { ...ready, encode, whole: received.bytes };
    }
    if (!sum || !squares) return undefined;
    const mean = { round: head.round, factor };
    return { ...ready, encode: (index, payload) => sum.encode(chunks[index], mean, payload) };
  }

  // ---- who sums what

  /** From the next round on. */
  #divide(): PartitionRange[] {
    const { peers, own } = this.#pool;
    const owners = peers.length > 0 ? peers : own.map(({ id, channel }) => (channel ? id : ''));
    return evenRanges(this.hello, Math.max(1, owners.length)).map((range, index) => ({ ...range, reducer: owners[index] ?? '' }));
  }

  #divisionOf(round: number): Division {
    return this.#next && round >= this.#next.round ? this.#next : this.#now;
  }

  /** Tells workers and reducers who sums what from this round on, if that is something else than before. */
  #redivide(round: number): void {
    const ranges = this.#divide();
    const before = this.#now.ranges.map((range) => `${range.name} ${ownerOf(range)}`);
    if (ranges.every((range, index) => before[index] === `${nameOf(range)} ${range.reducer}`) && ranges.length === before.length)
      return;
    this.#next = { round, ranges: ranges.map((range) => this.#createRange(range)) };
    for (const { remote, from, to } of this.#next.ranges) if (remote) this.#pool.send(remote, { type: 'range', round, from, to });
    const message: MessageOf<'partition'> = { type: 'partition', round, ranges: describeRanges(ranges) };
    const channels = [...this.#links.members.values()].map(({ channel }) => channel);
    this.#links.deliverAll(channels, encodeFrames(message));
  }

  /** Own sums stay where the range stays. */
  #beginDivision({ round, ranges }: Division): void {
    for (const range of ranges) if (range.reducer === '') range.sum = this.#find(range)?.sum ?? this.#createSum(range);
    const before = this.#now.ranges;
    this.#before = before;
    this.#now = { round, ranges };
    this.#next = undefined;
    for (const { remote } of before) if (remote && !ranges.some((range) => range.remote === remote)) this.#release(remote);
    this.#pool.retire();
  }

  /** It sums nothing more: its memory is free. */
  #release(remote: RemoteReducer): void {
    this.#pool.send(remote, { type: 'range', round: this.#now.round, from: 0, to: 0 });
  }

  #createRange({ from, to, reducer }: PartitionRange): Range {
    const leaving = this.#layout.leaving({ from, to });
    return {
      ...{ from, to, reducer, name: nameOf({ from, to }), leaving, chunks: chunksOf(leaving, LIMITS.chunkBytes) },
      ...{ remote: this.#pool.find(reducer), sum: undefined, squares: undefined, received: undefined },
    };
  }

  #createSum(range: SegmentRange): RangeSum {
    const { codec, tensorSizes } = this.hello;
    return createRangeSum({ codec, tensorSizes, layout: this.#layout, range });
  }

  // ---- reducers

  /** To those that sum in this round. */
  #toReducers(message: Message): void {
    for (const { sum, remote } of this.#now.ranges) if (!sum && remote) this.#pool.send(remote, message);
  }

  #listenerOf(remote: () => RemoteReducer): ReducerListener {
    const who = (): string => remote().label;
    const log = this.#options.log;
    return {
      onReady: () => {
        log({ level: 'info', text: `${who()} is here` });
        this.#onReady(remote());
      },
      onCopied: (message, bytes) => this.#onCopied(remote(), message, bytes),
      onHeld: ({ type: _type, defect, serviceMs: _ms, squares, ...key }) => this.#onHeld(remote(), key, defect, squares),
      onMeasured: (message, squares) => {
        const range = this.#rangeOf(remote(), message);
        if (range && !this.#ledger.isComplete) throw wrong('it measured a sum that is not complete');
        if (range) this.#onMeasured(range, squares);
      },
      onUpdate: (message, bytes) => {
        const range = this.#rangeOf(remote(), message);
        if (!range) return;
        if (!this.#finish) throw wrong('it sent its part of an update before the norm was known');
        if (remote().isPeer) this.#check(range, bytes);
        range.received = { round: message.round, bytes };
        this.#flush();
      },
      onSignal: (message) => this.#pool.signalFrom(remote(), message),
      onLost: (reason) => {
        const instead = this.#isSumming(remote()) ? ' The service sums its range meanwhile.' : '';
        const level = instead === '' && remote().isPeer ? 'info' : 'warn';
        if (!this.#over.signal.aborted) log({ level, text: `${who()} is lost: ${reason}.${instead}` });
        this.#onLost(remote());
      },
    };
  }

  #onHeld(remote: RemoteReducer, key: ContributionKey, defect: string, squares: number | undefined): void {
    if (!this.#ledger.grants.find(key)) return;
    // Nobody need believe a worker that another one's work is worth nothing: the service sums the range, and looks for itself.
    if (remote.isPeer && defect !== '') throw wrong(`it holds a defective gradient: ${defect}`);
    for (const range of this.#rangesOf(remote)) {
      const before = this.#ledger.waitingFor(range.name);
      this.#carryOut(this.#ledger.hold(range.name, key, defect === '' ? undefined : defect, squares));
      if (this.#ledger.waitingFor(range.name) < before) remote.progress += LIMITS.reducerStallBytes;
    }
  }

  /** @throws ProtocolError `invalid_message` when an update with these bytes must not be applied */
  #check({ leaving }: Range, bytes: Uint8Array): void {
    for (const segment of leaving) {
      const part = this.#reader.read(segment, bytes.subarray(segment.offset, segment.offset + segment.bytes));
      const defect = this.#reader.defect(segment, part);
      if (defect !== undefined) throw wrong(`its part of an update must not be applied: ${defect}`);
    }
  }

  #onReady(remote: RemoteReducer): void {
    this.#pool.begin(remote);
    void (this.#stalls ??= this.#watchStalls());
    if (this.#ledger.round >= 0) return;
    // Nothing is summed yet.
    this.#redivide(this.#nextRound);
    if (this.#next) this.#beginDivision(this.#next);
  }

  /** In this round, or in the next. */
  #isSumming(remote: RemoteReducer): boolean {
    return [this.#now, this.#next].some((division) => division?.ranges.some((range) => range.remote === remote) === true);
  }

  /** What it sums in this round. */
  #rangesOf(remote: RemoteReducer): Range[] {
    return this.#now.ranges.filter((range) => range.remote === remote && !range.sum);
  }

  /** @throws ProtocolError `invalid_message` when it is not the reducer's range of the open round; undefined: that round is over */
  #rangeOf(remote: RemoteReducer, message: RoundRange): Range | undefined {
    if (message.round !== this.#ledger.round) return undefined;
    const range = this.#rangesOf(remote).find(({ name }) => name === nameOf(message));
    if (range) return range;
    throw wrong(`it sent ${describe(message)} of round ${message.round}, which are not its own`);
  }

  /** The coordinator connects again, and opens the round once more. */
  #fail(error: unknown): void {
    const reason = error instanceof Error ? error.message : String(error);
    this.#options.log({ level: 'warn', text: `the service cannot go on: ${reason}` });
    this.host.close(reason);
  }

  #onLost(remote: RemoteReducer): void {
    if (this.#over.signal.aborted) return;
    try {
      const ranges = this.#rangesOf(remote);
      for (const range of ranges) this.#takeOver(range);
      if (ranges.length > 0) this.#giveUpFetching();
      this.#withdraw(remote);
      this.#pool.announceLoss(remote);
      for (const range of ranges) this.#watchRepeat(range);
    } catch (error) {
      this.#fail(error);
    }
  }

  /** A part of them was at a reducer that is lost. */
  #giveUpFetching(): void {
    const given = [...this.#fetching.values()];
    this.#fetching.clear();
    for (const { workerId, message } of given) this.#giveUpAudit({ ...message, workerId });
  }

  /** From the division of the next round. Workers may have sent it their part already, and send it again. */
  #withdraw(remote: RemoteReducer): void {
    if (!this.#next) return;
    const without = (range: Range): Range => (range.remote === remote ? { ...range, reducer: '' } : range);
    this.#next = { ...this.#next, ranges: this.#next.ranges.map(without) };
  }

  /** The service sums the range, for which workers send their part of this round again. */
  #takeOver(range: Range): void {
    const sum = this.#createSum(range);
    range.sum = sum;
    range.squares = undefined;
    this.#ledger.forget(range.name);
    for (const addition of this.#ledger.additions) sum.add(keyOf(addition), addition.last);
  }

  /** A worker that left cannot send its part again. The coordinator then opens the round again. */
  #watchRepeat({ name, sum, received }: Range): void {
    const { round, counted } = this.#ledger;
    if (counted.length === 0 || received?.round === round) return;
    const due = counted.map(keyOf);
    const deadline = this.#options.deadline(LIMITS.repeatMs);
    deadline.addEventListener('abort', () => {
      if (this.#over.signal.aborted || this.#ledger.round !== round) return;
      if (due.every((key) => sum!.has(key))) return;
      this.host.close(`segments ${name} of round ${round} are lost with their reducer: the round begins again`);
    });
  }

  /** A reducer that answers pings but does not do its work holds up the round: its link is closed. */
  async #watchStalls(): Promise<void> {
    const over = this.#over.signal;
    let before = new Map<RemoteReducer, number>();
    for (let round = -1; !over.aborted; round = this.#ledger.round) {
      await either(over, this.#options.deadline(LIMITS.reducerStallMs)).ended;
      const owing = [...new Set(this.#now.ranges.flatMap((range) => (this.#isOwed(range) ? [range.remote!] : [])))];
      const isStalled = (remote: RemoteReducer) => remote.progress - (before.get(remote) ?? -Infinity) < LIMITS.reducerStallBytes;
      const stalled = round === this.#ledger.round ? owing.filter(isStalled) : [];
      before = new Map(owing.map((remote) => [remote, remote.progress]));
      for (const { channel } of stalled) channel?.close(`it owed an answer for ${LIMITS.reducerStallMs / 1000} s`);
    }
  }

  /** Whether the round waits for the reducer of the range. A contribution may wait for its own worker; those of two hardly do. */
  #isOwed({ name, remote, sum, squares, received }: Range): boolean {
    if (!remote || sum) return false;
    if (this.#finish) return received?.round !== this.#ledger.round;
    return (this.#ledger.isComplete && !squares) || this.#ledger.waitingFor(name) > 1;
  }

  #nowMs(): number {
    return this.#options.nowMs?.() ?? 0;
  }
}

const arrivalOf = (leaseId: string, range: SegmentRange): string => `${leaseId} ${nameOf(range)}`;

/** For people. */
const describe = ({ from, to }: SegmentRange): string => `segments ${from} to ${to - 1}`;

/** Who sums the range now. */
const ownerOf = ({ sum, remote }: Range): string => (sum || !remote ? '' : remote.id);

const newMember = (): Pick<HubMember, 'linked' | 'arrived' | 'supplied'> => ({
  linked: new Set(),
  arrived: new Set(),
  supplied: new Set(),
});

const squaresOf = (measures: readonly SegmentMeasures[]): readonly number[] => measures.map(({ squares }) => squares);

/** Workers are not read faster than the reducer reads. Never rejects. */
async function roomFor({ channel }: RemoteReducer): Promise<void> {
  try {
    await channel?.drained(LIMITS.passedBytes);
  } catch (error) {
    if (!(error instanceof TransportError)) throw error;
  }
}
