/** The sum of a range of a run, on behalf of the service that decides what counts. */
import { PROTOCOL_VERSION, ProtocolError, type BodyReader, type Channel, type Message, type MessageOf } from '@troupe/protocol';
import { createGrants, isAudited, keyOf, type ContributionKey, type Grants } from '../grants.js';
import type { SegmentMeasures } from '../gradient-sum.js';
import { filled, type Intake } from '../intake.js';
import { createRangeSum, type RangeSum } from '../range-sum.js';
import { createRangeLayout, nameOf, type RangeLayout, type SegmentRange } from '../ranges.js';
import type { KeptSnapshot } from '../port.js';
import { readBody, takeBody } from './body.js';
import { Links, type Member, type NewLink } from './links.js';
import { RtcAnswers, type RtcAnswersOptions } from './rtc-answers.js';
import { unexpected, type RunServer, type ServerOptions } from './run-server.js';
import { Seed } from './seed.js';
import { sendRange } from './update-sender.js';

/** @throws OptimError `out_of_memory` */
export function createReducer(
  assign: MessageOf<'assign'>,
  service: Channel,
  options: ServerOptions,
  parts: ReducerParts,
): RunServer {
  return new Reducer(assign, service, options, parts);
}

export interface ReducerParts extends Pick<RtcAnswersOptions, 'serve'> {
  /** The snapshot that the worker of this reducer keeps for others. */
  kept(): KeptSnapshot | undefined;
}

/** What this reducer sums. */
interface Place extends SegmentRange {
  readonly sum: RangeSum;
}

class Reducer implements RunServer {
  readonly hello: MessageOf<'assign'>;
  readonly host: Channel;
  readonly #options: ServerOptions;
  readonly #links: Links;
  readonly #grants: Grants;
  readonly #answers: RtcAnswers;
  readonly #layout: RangeLayout;
  #place: Place | undefined;
  /** From a later round on. */
  #next: (SegmentRange & { readonly round: number }) | undefined;
  /** Workers that receive no updates. The order may come before they do. */
  readonly #unwanted = new Set<string>();
  /** The round of the next update. */
  #nextRound = 0;
  /** Contributions of this round. */
  #added = 0;
  /** Time to add the last contribution, and to send the last update to one worker, ms. */
  #addMs = 0;
  #sendMs = 0;

  readonly #seed: Seed;

  constructor(assign: MessageOf<'assign'>, service: Channel, options: ServerOptions, { serve, kept }: ReducerParts) {
    this.#seed = new Seed(kept, options.deadline);
    this.hello = assign;
    this.host = service;
    this.#options = options;
    this.#layout = createRangeLayout(assign);
    this.#links = new Links(options, this.#layout.leavingBytes({ from: 0, to: this.#layout.segments }), { tickets: 'once' });
    this.#grants = createGrants(assign.streams);
    this.#answers = new RtcAnswers({
      ...{ serve, rtc: options.rtc, log: options.log, deadline: options.deadline },
      send: (signal) => this.#links.deliver(service, () => service.send({ type: 'signal', ...signal })),
    });
  }

  bodyBytes(message: Message): number {
    return message.type === 'passedRange' || message.type === 'gradientRange' ? this.#layout.arrivingBytes(message) : 0;
  }

  async serveHost(): Promise<void> {
    this.host.send({ type: 'assigned', version: PROTOCOL_VERSION });
    for (;;) {
      const { message, body } = await this.host.receiveStreamed();
      if (message.type === 'passedRange') await this.#take(message, body);
      else this.#onOrder(message);
      this.#links.wake();
    }
  }

  async serveMember(link: NewLink, join: MessageOf<'join'>): Promise<void> {
    const { channel, connection } = link;
    const { workerId } = join;
    await this.#links.admitted(link, join);
    const member: Member = { workerId, channel, connection, wanted: true };
    const leave = this.#links.add(member);
    try {
      channel.send({ type: 'joined', version: PROTOCOL_VERSION, round: this.#nextRound, ranges: [] });
      for (;;) {
        const { message, body } = await channel.receiveStreamed();
        if (message.type === 'gradientRange') await this.#take({ ...message, workerId }, body);
        else if (message.type === 'wantPiece') await this.#seed.send(workerId, channel, message);
        else throw unexpected(message, 'a worker sends a reducer ranges of gradients, or asks it for pieces of a snapshot');
      }
    } finally {
      leave();
    }
  }

  end(): void {
    this.#answers.end();
    this.#links.end('the service no longer uses this reducer');
  }

  servePeer(_link: NewLink, offer: MessageOf<'offer'>): Promise<void> {
    return Promise.reject(unexpected(offer, 'a reducer has no reducers'));
  }

  async #take({ round, leaseId, workerId, ...range }: ContributionKey & SegmentRange, body: BodyReader): Promise<void> {
    const key: ContributionKey = { round, leaseId, workerId };
    const place = this.#at(range);
    // What comes before the order to sum it has no place yet.
    const early = place?.sum.intake();
    if (early) await takeBody(body, (piece) => early.take(piece));
    const bytes = early?.memory ?? (await readBody(body));
    if (round === this.#grants.round) this.#requirePlace(range, round);
    // The service waits for the grant as well, and knows how long; a link that carries much is no fault of the worker.
    await this.#links.until(() => !this.#grants.mayCome(key));
    if (!this.#grants.find(key)) return early && place === this.#place ? place?.sum.release(early) : undefined;
    const { sum } = this.#requirePlace(range, round);
    const intake = early && place === this.#place ? early : filled(sum.intake(), bytes);
    this.#hold(sum, key, intake);
  }

  #hold(sum: RangeSum, key: ContributionKey, intake: Intake): void {
    const { defect = '' } = intake;
    const grant = this.#grants.find(key);
    const isMeasured = defect === '' && grant?.mostNorm !== undefined;
    const measured = isMeasured ? { squares: sum.squaresOf(intake) } : {};
    if (defect === '') {
      if (isAudited(grant)) this.#copy(key, intake.memory.slice());
      this.#sendMeasures(sum.hold(keyOf(key), intake));
    } else sum.release(intake);
    const serviceMs = this.#addMs + this.#sendMs;
    const held: MessageOf<'held'> = { type: 'held', ...key, defect, serviceMs, ...measured };
    this.#links.deliver(this.host, () => this.host.send(held));
  }

  /** Sends the service what an audit needs. */
  #copy(key: ContributionKey, bytes: Uint8Array): void {
    if (!this.#place) return;
    const { from, to } = this.#place;
    this.#links.deliver(this.host, () => this.host.send({ type: 'copied', ...key, from, to }, bytes));
  }

  /** It may have been dropped in the meantime, or belong to a round that is over. */
  #sendHeld({ round, leaseId, workerId }: MessageOf<'copy'>): void {
    const key = { round, leaseId, workerId };
    const bytes = round === this.#grants.round ? this.#place?.sum.copyOf(keyOf(key)) : undefined;
    if (bytes) this.#copy(key, bytes);
  }

  #at(range: SegmentRange): Place | undefined {
    return this.#place && nameOf(this.#place) === nameOf(range) ? this.#place : undefined;
  }

  /** @throws ProtocolError `invalid_message` */
  #requirePlace(range: SegmentRange, round: number): Place {
    const place = this.#at(range);
    if (place) return place;
    const own = this.#place ? `segments ${this.#place.from} to ${this.#place.to - 1}` : 'nothing';
    throw new ProtocolError(
      'invalid_message',
      `segments ${range.from} to ${range.to - 1} at a reducer that sums ${own} in round ${round}`,
      'Run the same version of Troupe on all machines.',
    );
  }

  #onOrder(message: Message): void {
    switch (message.type) {
      case 'admit':
        this.#links.tickets.set(message.workerId, message.ticket);
        return this.#answers.expect(message.workerId);
      case 'dismiss':
        this.#unwanted.delete(message.workerId);
        this.#answers.forget(message.workerId);
        return this.#links.dismiss(message);
      case 'subscribe':
        if (message.wanted) this.#unwanted.delete(message.workerId);
        else this.#unwanted.add(message.workerId);
        return;
      case 'range':
        return this.#setRange(message);
      case 'openRound':
        return this.#openRound(message);
      case 'grant':
        return this.#grants.grant(message);
      case 'add':
        return this.#add(message);
      case 'drop':
        return message.round === this.#grants.round ? this.#place?.sum.drop(keyOf(message)) : undefined;
      case 'copy':
        return this.#sendHeld(message);
      case 'finish':
        return this.#finish(message);
      case 'iceServers':
        this.#answers.iceServers = message.servers;
        return;
      case 'signal':
        return this.#answers.take(message);
      default:
        throw unexpected(
          message,
          'a service sends its reducers admit, dismiss, subscribe, range, openRound, grant, add, drop, copy, finish, iceServers and signal',
        );
    }
  }

  /** From a later round on; an empty one: it sums nothing any more, and its last update has left. */
  #setRange(message: MessageOf<'range'>): void {
    const isEmpty = message.from === message.to;
    this.#next = isEmpty ? undefined : message;
    if (isEmpty) this.#place = undefined;
  }

  #openRound({ round }: MessageOf<'openRound'>): void {
    this.#nextRound = round;
    const next = this.#next && round >= this.#next.round ? this.#next : undefined;
    if (next && !this.#at(next)) {
      const { from, to } = next;
      const { codec, tensorSizes } = this.hello;
      this.#place = { from, to, sum: createRangeSum({ codec, tensorSizes, layout: this.#layout, range: next }) };
    } else this.#place?.sum.clear();
    this.#added = 0;
    this.#grants.openRound(round);
  }

  #add(message: MessageOf<'add'>): void {
    const { index, last, ...key } = message;
    if (key.round !== this.#grants.round) return;
    // A sum that lacks a contribution looks like any other.
    if (index !== this.#added++) throw unexpected(message, `${this.#added - 1} were added before`);
    const startMs = this.#nowMs();
    const measures = this.#place?.sum.add(keyOf(key), last);
    this.#addMs = this.#nowMs() - startMs;
    this.#sendMeasures(measures);
  }

  #sendMeasures(measures: readonly SegmentMeasures[] | undefined): void {
    if (!measures || !this.#place) return;
    const squares = Float64Array.from(measures, (segment) => segment.squares);
    const { from, to } = this.#place;
    const message: MessageOf<'measured'> = { type: 'measured', round: this.#grants.round, from, to };
    this.#links.deliver(this.host, () => this.host.send(message, new Uint8Array(squares.buffer)));
  }

  #finish({ round, factor }: MessageOf<'finish'>): void {
    if (!this.#place || round !== this.#grants.round) return;
    this.#nextRound = round + 1;
    const { sum } = this.#place;
    const members = this.#links.receivers().filter(({ workerId }) => !this.#unwanted.has(workerId));
    const { updateBytes: bytes, chunks } = sum;
    const encode = (index: number, payload: Uint8Array): void => sum.encode(chunks[index], { round, factor }, payload);
    const ready = { round, range: this.#place, bytes, chunks, encode };
    const place = { links: this.#links, nowMs: () => this.#nowMs() };
    const sendMs = sendRange(place, ready, [this.host, ...members.map(({ channel }) => channel)]);
    this.#sendMs = sendMs / Math.max(members.length, 1);
  }

  #nowMs(): number {
    return this.#options.nowMs?.() ?? 0;
  }
}
