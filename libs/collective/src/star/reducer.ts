/** The sum of one range of a run, on behalf of the service that decides what counts. */
import {
  LIMITS,
  PROTOCOL_VERSION,
  ProtocolError,
  type BodyReader,
  type Channel,
  type Message,
  type MessageOf,
} from '@troupe/protocol';
import { createGrants, keyOf, type ContributionKey, type Grants } from '../grants.js';
import type { SegmentMeasures } from '../gradient-sum.js';
import { createRangeSum, type RangeSum } from '../range-sum.js';
import { takeBody } from './body.js';
import { Links, type Link, type Member } from './links.js';
import { unexpected, type RunServer, type ServerOptions } from './run-server.js';
import { sendRange } from './update-sender.js';

/** @throws OptimError `out_of_memory` */
export function createReducer(assign: MessageOf<'assign'>, service: Channel, options: ServerOptions): RunServer {
  return new Reducer(assign, service, options);
}

class Reducer implements RunServer {
  readonly hello: MessageOf<'assign'>;
  readonly host: Channel;
  readonly #options: ServerOptions;
  readonly #links: Links;
  readonly #grants: Grants;
  readonly #sum: RangeSum;
  /** Workers that receive no updates. The order may come before they do. */
  readonly #unwanted = new Set<string>();
  /** The round of the next update. */
  #nextRound = 0;
  /** Time to add the last contribution, and to send the last update to one worker, ms. */
  #addMs = 0;
  #sendMs = 0;

  constructor(assign: MessageOf<'assign'>, service: Channel, options: ServerOptions) {
    this.hello = assign;
    this.host = service;
    this.#options = options;
    this.#sum = createRangeSum(assign);
    this.#links = new Links(options, this.#sum.updateBytes);
    this.#grants = createGrants(assign.streams);
  }

  bodyBytes(message: Message): number {
    if (message.type === 'passedRange') return this.#sum.contributionBytes;
    if (message.type !== 'gradientRange') return 0;
    if (message.range === this.hello.range) return this.#sum.contributionBytes;
    throw new ProtocolError(
      'invalid_message',
      `range ${message.range} at the reducer of range ${this.hello.range}`,
      'Run the same version of Troupe on all machines.',
    );
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

  async serveMember({ channel, connection }: Link, join: MessageOf<'join'>): Promise<void> {
    const { workerId } = join;
    await this.#links.admitted(join);
    const member: Member = { workerId, channel, connection, wanted: true };
    const leave = this.#links.add(member);
    try {
      channel.send({ type: 'joined', version: PROTOCOL_VERSION, round: this.#nextRound, reducers: [] });
      for (;;) {
        const { message, body } = await channel.receiveStreamed();
        if (message.type !== 'gradientRange') throw unexpected(message, 'a worker sends ranges of gradients to a reducer');
        await this.#take({ ...message, workerId }, body);
      }
    } finally {
      leave();
    }
  }

  end(): void {
    this.#links.end('the service no longer uses this reducer');
  }

  async #take({ round, leaseId, workerId }: ContributionKey, body: BodyReader): Promise<void> {
    const intake = this.#sum.intake();
    await takeBody(body, (piece) => intake.take(piece));
    const key: ContributionKey = { round, leaseId, workerId };
    await this.#links.until(() => !this.#grants.mayCome(key), LIMITS.grantMs);
    // The service knows that it is too late.
    if (round < this.#grants.round) return this.#sum.release(intake);
    const isGranted = this.#grants.find(key) !== undefined;
    const { defect = isGranted ? '' : 'its grant did not reach the reducer' } = intake;
    if (defect === '') this.#sendMeasures(this.#sum.hold(keyOf(key), intake));
    else this.#sum.release(intake);
    const serviceMs = this.#addMs + this.#sendMs;
    const held: MessageOf<'held'> = { type: 'held', ...key, defect, serviceMs };
    this.#links.deliver(this.host, () => this.host.send(held));
  }

  #onOrder(message: Message): void {
    switch (message.type) {
      case 'admit':
        return void this.#links.tickets.set(message.workerId, message.ticket);
      case 'dismiss':
        this.#unwanted.delete(message.workerId);
        return this.#links.dismiss(message);
      case 'subscribe':
        if (message.wanted) this.#unwanted.delete(message.workerId);
        else this.#unwanted.add(message.workerId);
        return;
      case 'openRound':
        this.#nextRound = message.round;
        this.#sum.clear();
        return this.#grants.openRound(message.round);
      case 'grant':
        return this.#grants.grant(message);
      case 'add':
        return this.#add(message);
      case 'drop':
        return message.round === this.#grants.round ? this.#sum.drop(keyOf(message)) : undefined;
      case 'finish':
        return this.#finish(message);
      default:
        throw unexpected(
          message,
          'a service orders its reducers to admit, dismiss, subscribe, openRound, grant, add, drop and finish',
        );
    }
  }

  #add({ last, ...key }: MessageOf<'add'>): void {
    if (key.round !== this.#grants.round) return;
    const startMs = this.#nowMs();
    const measures = this.#sum.add(keyOf(key), last);
    this.#addMs = this.#nowMs() - startMs;
    this.#sendMeasures(measures);
  }

  #sendMeasures(measures: readonly SegmentMeasures[] | undefined): void {
    if (!measures) return;
    const squares = Float64Array.from(measures, (segment) => segment.squares);
    const message: MessageOf<'measured'> = { type: 'measured', round: this.#grants.round };
    this.#links.deliver(this.host, () => this.host.send(message, new Uint8Array(squares.buffer)));
  }

  #finish({ round, factor }: MessageOf<'finish'>): void {
    this.#nextRound = round + 1;
    const members = this.#links.receivers().filter(({ workerId }) => !this.#unwanted.has(workerId));
    const { updateBytes: bytes, chunks } = this.#sum;
    const encode = (index: number, payload: Uint8Array): void => this.#sum.encode(chunks[index], factor, payload);
    const ready = { round, range: this.hello.range, bytes, chunks, encode };
    const place = { links: this.#links, nowMs: () => this.#nowMs() };
    const sendMs = sendRange(place, ready, [this.host, ...members.map(({ channel }) => channel)]);
    this.#sendMs = sendMs / Math.max(members.length, 1);
  }

  #nowMs(): number {
    return this.#options.nowMs?.() ?? 0;
  }
}
