/** A worker's links to the reducers of its run. Without one, the service passes the range on. */
import {
  createChannel,
  LIMITS,
  PROTOCOL_VERSION,
  ProtocolError,
  receiveWithin,
  type Channel,
  type MessageOf,
} from '@troupe/protocol';
import { backoffMs, type Connection } from '@troupe/transport';
import type { IceServer } from '@troupe/transport/webrtc';
import { isLinkFailure } from '../errors.js';
import type { JoinOptions, SnapshotSource } from '../port.js';
import { nameOf, type RangeLayout, type SegmentRange } from '../ranges.js';
import { STEADY_MS, WORKER_BACKOFF } from '../retries.js';
import { either } from './either.js';
import { LinkReader, type FromReducer } from './link-reader.js';
import type { Reach } from './reach.js';
import { RTC_ADDRESS, type OpenSignalling } from './signals.js';

/** Where a reducer is, and what admits one link to it. */
export type Introduction = Pick<MessageOf<'reducer'>, 'reducer' | 'addresses' | 'ticket'>;

export interface ReducerLinksOptions {
  readonly join: Pick<JoinOptions, 'runId' | 'workerId' | 'deadline'>;
  readonly layout: RangeLayout;
  /** Absent: this worker only uses the service. */
  readonly reach: Reach | undefined;
  /** Signals of one link of this worker to a reducer. */
  openSignalling(reducer: string): OpenSignalling;
  onOpened(): void;
  /** What was sent last may not have arrived. */
  onLost(reducer: string): void;
  /** Another link to the reducer needs another introduction. */
  onWanted(reducer: string): void;
  /** A bug: no link is kept from here on. */
  onFailed(error: Error): void;
}

interface Link {
  readonly channel: Channel<FromReducer>;
  readonly reader: LinkReader;
  /** The reducer sends its range of the updates from this round on. */
  readonly firstRound: number;
  /** Ends the wait for its part of an update; present while there is one. */
  waiting: AbortController | undefined;
  /** A piece has come since the watch began, which runs while `watched`. */
  progressed: boolean;
  watched: boolean;
}

/** The effort to have a link to a reducer, until it is given up. */
interface Effort {
  readonly stop: AbortController;
  failures: number;
}

/** Links in a row that brought nothing; then the worker waits for the service to name the reducer again. */
const MAX_FAILURES = 8;
/** The service tells of those that no longer matter: more than these it never names at a time. */
const MAX_LINKS = LIMITS.reducers + LIMITS.peers;

export class ReducerLinks {
  /** For the links that are opened from now on. */
  iceServers: readonly IceServer[] = [];
  readonly #options: ReducerLinksOptions;
  readonly #open = new Map<string, Link>();
  readonly #efforts = new Map<string, Effort>();
  /** Whoever waits for a link to open. */
  readonly #waiting = new Set<() => void>();

  constructor(options: ReducerLinksOptions) {
    this.#options = options;
  }

  /** The reducers to which there is a link. */
  get reducers(): string[] {
    return [...this.#open.keys()];
  }

  get(reducer: string): Pick<Channel, 'sendEncoded'> | undefined {
    return this.#open.get(reducer)?.channel;
  }

  /** One that cannot be reached is no fault: the service passes its range on. */
  connect(introduction: Introduction): void {
    const { reducer } = introduction;
    const { reach, onFailed } = this.#options;
    const addresses = introduction.addresses.filter((address) => reach?.reaches(address));
    if (addresses.length === 0 || this.#open.has(reducer)) return;
    const before = this.#efforts.get(reducer);
    if (!before && this.#efforts.size >= MAX_LINKS) return;
    const failures = before?.failures ?? 0;
    before?.stop.abort(new Error('it was introduced again'));
    const effort: Effort = { stop: new AbortController(), failures };
    this.#efforts.set(reducer, effort);
    this.#keep({ ...introduction, addresses }, effort).catch((error: unknown) => onFailed(error as Error));
  }

  /** The reducer is lost: no link to it is kept. @returns whether there was one */
  leave(reducer: string, reason: string): boolean {
    this.#efforts.get(reducer)?.stop.abort(new Error(reason));
    this.#efforts.delete(reducer);
    this.#wakeWaiting();
    return this.lose(reducer, reason);
  }

  /** Closes a link that does not work, and opens another. @returns whether there was one */
  lose(reducer: string, reason: string): boolean {
    const link = this.#open.get(reducer);
    if (!link) return false;
    this.#open.delete(reducer);
    link.channel.close(reason);
    this.#options.onLost(reducer);
    return true;
  }

  /** From one introduction to the wish for the next. */
  async #keep(introduction: Introduction, effort: Effort): Promise<void> {
    const { reducer } = introduction;
    const { signal } = effort.stop;
    const link = await this.#attempt(introduction, effort.failures, signal);
    if (link && !signal.aborted) {
      this.#open.set(reducer, link);
      this.#options.onOpened();
      this.#wakeWaiting();
      const steady = this.#options.join.deadline?.(STEADY_MS);
      await link.channel.closed;
      if (steady?.aborted) effort.failures = 0;
      if (this.#open.get(reducer) === link) this.lose(reducer, 'its link is lost');
    } else link?.channel.close('this link is no longer needed');
    const { deadline } = this.#options.join;
    if (!deadline || signal.aborted || ++effort.failures > MAX_FAILURES) return;
    await either(signal, deadline(backoffMs(effort.failures, 0, WORKER_BACKOFF))).ended;
    if (!signal.aborted) this.#options.onWanted(reducer);
  }

  /** One address after the other, each with a ticket of its own. */
  async #attempt({ reducer, addresses, ticket }: Introduction, failures: number, stop: AbortSignal): Promise<Link | undefined> {
    const { reach, join, openSignalling } = this.#options;
    const address = addresses[failures % addresses.length];
    // An attempt over WebRTC has a deadline of its own, after which it says why there is no path; then the reducer has to answer.
    const deadlineMs = LIMITS.reducerMs + (address === RTC_ADDRESS ? LIMITS.rtcConnectMs : 0);
    const soon = either(stop, join.deadline?.(deadlineMs) ?? stop);
    const call = { reducer, address, iceServers: this.iceServers, openSignalling: () => openSignalling(reducer) };
    try {
      return await this.#join(ticket, await reach!.connect(call, soon.signal), soon.signal);
    } catch (error) {
      if (!isLinkFailure(error)) throw error;
      return undefined;
    } finally {
      soon.dispose();
    }
  }

  async #join(ticket: string, connection: Connection, signal: AbortSignal): Promise<Link> {
    const { join, layout } = this.#options;
    const { runId, workerId, deadline } = join;
    const channel = createChannel<FromReducer>(connection, {
      accepts: ['joined', 'refuse', 'updateRange', 'piece'],
      ...(deadline && { deadline }),
      bodyBytes: (message) => {
        if (message.type === 'updateRange') return layout.leavingBytes(message);
        return message.type === 'piece' ? message.bytes : 0;
      },
    });
    try {
      channel.send({ type: 'join', versions: [PROTOCOL_VERSION], runId, workerId, ticket });
      const { message } = await receiveWithin(channel, { deadline: signal, what: 'the answer of a reducer' });
      if (message.type === 'joined') {
        const reader = new LinkReader(channel);
        return { channel, reader, firstRound: message.round, waiting: undefined, progressed: false, watched: false };
      }
      throw new ProtocolError('unexpected_message', `a reducer answered join with ${message.type}`, 'Nothing to do.');
    } catch (error) {
      channel.close((error as Error).message);
      throw error;
    }
  }

  /**
   * The pieces of the range of the update of this round, from its reducer. It ends early when the link is lost or of no use.
   * @throws TransportError when `signal` aborts
   */
  async *receive(
    reducer: string,
    range: SegmentRange,
    round: number,
    signal?: AbortSignal,
  ): AsyncGenerator<Uint8Array, void, undefined> {
    const link = this.#open.get(reducer);
    if (!link || link.firstRound > round) return;
    const patience = new AbortController();
    const soon = signal ? either(signal, patience.signal) : patience;
    link.waiting = patience;
    this.#watch(link);
    try {
      for (;;) {
        const { message, body } = await link.reader.receive(soon.signal);
        // Those of earlier rounds came from the service.
        if (message.type !== 'updateRange' || message.round < round) continue;
        if (message.round > round || nameOf(message) !== nameOf(range)) return;
        for (let piece = await body.next(soon.signal); piece; piece = await body.next(soon.signal)) {
          link.progressed = true;
          yield piece;
        }
        // Only one that does its work is called again soon.
        const effort = this.#efforts.get(reducer);
        if (effort) effort.failures = 0;
        return;
      }
    } catch (error) {
      if (signal?.aborted || !isLinkFailure(error)) throw error;
      this.lose(reducer, error.message);
    } finally {
      link.waiting = undefined;
      link.reader.done();
      if ('dispose' in soon) soon.dispose();
    }
  }

  /** The reducer as a source of snapshots, once there is a link to it; undefined when none is being opened, or `signal` aborts before. */
  async source(reducer: string, signal: AbortSignal): Promise<SnapshotSource | undefined> {
    while (!signal.aborted && this.#efforts.has(reducer)) {
      const link = this.#open.get(reducer);
      if (link) return { fetch: (piece, abort) => this.#fetch(reducer, link, () => link.reader.piece(piece, abort)) };
      await this.#anyChange(signal);
    }
    return undefined;
  }

  #wakeWaiting(): void {
    for (const wake of this.#waiting) wake();
  }

  #anyChange(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const wake = (): void => {
        signal.removeEventListener('abort', wake);
        this.#waiting.delete(wake);
        resolve();
      };
      this.#waiting.add(wake);
      signal.addEventListener('abort', wake, { once: true });
    });
  }

  async #fetch(
    reducer: string,
    link: Link,
    fetch: () => ReturnType<SnapshotSource['fetch']>,
  ): ReturnType<SnapshotSource['fetch']> {
    try {
      return await fetch();
    } catch (error) {
      if (!isLinkFailure(error)) throw error;
      if (this.#open.get(reducer) === link) this.lose(reducer, error.message);
      return undefined;
    }
  }

  /** A reducer that pauses for long in the middle of an update holds up this worker: the service sends the rest. One timer at a time. */
  #watch(link: Link): void {
    const { deadline } = this.#options.join;
    link.progressed = true;
    if (!deadline || link.watched) return;
    link.watched = true;
    const expire = (): void => {
      link.watched = false;
      if (!link.waiting) return;
      if (!link.progressed) return link.waiting.abort(new Error('its reducer pauses'));
      this.#watch(link);
      link.progressed = false;
    };
    deadline(LIMITS.reducerMs).addEventListener('abort', expire, { once: true });
  }

  close(reason: string): void {
    for (const reducer of [...this.#efforts.keys(), ...this.#open.keys()]) this.leave(reducer, reason);
  }
}
