/** A worker's links to the reducers of its run. Without one, the service passes the range on. */
import {
  createChannel,
  LIMITS,
  PROTOCOL_VERSION,
  ProtocolError,
  receiveWithin,
  type Channel,
  type Message,
} from '@troupe/protocol';
import { backoffMs, type Connection } from '@troupe/transport';
import { isLinkFailure } from '../errors.js';
import { bytesOf, type Segment } from '../codec.js';
import type { JoinOptions } from '../port.js';
import { either } from './either.js';

export interface ReducerLinksOptions {
  readonly join: Pick<JoinOptions, 'runId' | 'workerId' | 'ticket' | 'deadline'>;
  /** Segments of each range in an update. */
  readonly ranges: readonly (readonly Segment[])[];
  /** Opens a link to a reducer. Absent: this worker only uses the service. */
  readonly connect: ((address: string, signal: AbortSignal) => Promise<Connection>) | undefined;
  onOpened(range: number): void;
  /** What was sent last may not have arrived. */
  onLost(range: number): void;
  /** A bug: no link is kept from here on. */
  onFailed(error: Error): void;
}

interface Link {
  readonly channel: Channel;
  /** The reducer sends its range of the updates from this round on. */
  readonly firstRound: number;
}

const BACKOFF = { firstMs: 1_000, longestMs: 30_000, jitter: [1, 1] } as const;

export class ReducerLinks {
  readonly #options: ReducerLinksOptions;
  readonly #open = new Map<number, Link>();
  /** The efforts to keep a link; each ends when it is aborted. */
  readonly #efforts = new Map<number, AbortController>();

  constructor(options: ReducerLinksOptions) {
    this.#options = options;
  }

  /** Ranges without a link to their reducer. */
  get missing(): number[] {
    return this.#options.ranges.flatMap((_, range) => (this.#open.has(range) ? [] : [range]));
  }

  get(range: number): Channel | undefined {
    return this.#open.get(range)?.channel;
  }

  /** The reducer is at this address. One that cannot be reached is no fault: the service passes its range on. */
  connect(range: number, address: string): void {
    this.leave(range, 'its reducer is at another place');
    if (!this.#options.connect || address === '') return;
    const effort = new AbortController();
    this.#efforts.set(range, effort);
    this.#keep(range, address, effort.signal).catch((error: unknown) => this.#options.onFailed(error as Error));
  }

  /** The reducer is lost: no link to it is kept. @returns whether there was one */
  leave(range: number, reason: string): boolean {
    this.#efforts.get(range)?.abort(new Error(reason));
    this.#efforts.delete(range);
    return this.lose(range, reason);
  }

  /** Closes a link that does not work, and opens another. @returns whether there was one */
  lose(range: number, reason: string): boolean {
    const link = this.#open.get(range);
    if (!link) return false;
    this.#open.delete(range);
    link.channel.close(reason);
    this.#options.onLost(range);
    return true;
  }

  async #keep(range: number, address: string, signal: AbortSignal): Promise<void> {
    const { deadline } = this.#options.join;
    for (let failures = 0; !signal.aborted;) {
      const link = await this.#attempt(range, address, signal);
      if (link && !signal.aborted) {
        failures = 0;
        this.#open.set(range, link);
        this.#options.onOpened(range);
        await link.channel.closed;
        if (this.#open.get(range) === link) this.lose(range, 'its link is lost');
      } else link?.channel.close('this link is no longer needed');
      if (!deadline) return;
      await either(signal, deadline(backoffMs(++failures, 0, BACKOFF))).ended;
    }
  }

  async #attempt(range: number, address: string, stop: AbortSignal): Promise<Link | undefined> {
    const { connect, join } = this.#options;
    const soon = either(stop, join.deadline?.(LIMITS.reducerMs) ?? stop);
    try {
      return await this.#join(range, await connect!(address, soon.signal), soon.signal);
    } catch (error) {
      if (!isLinkFailure(error)) throw error;
      return undefined;
    } finally {
      soon.dispose();
    }
  }

  async #join(range: number, connection: Connection, signal: AbortSignal): Promise<Link> {
    const { join, ranges } = this.#options;
    const { runId, workerId, ticket, deadline } = join;
    const channel: Channel = createChannel(connection, {
      accepts: ['joined', 'refuse', 'updateRange'],
      ...(deadline && { deadline }),
      bodyBytes: (message: Message) => (message.type === 'updateRange' ? bytesOf(ranges[range]) : 0),
    });
    try {
      channel.send({ type: 'join', versions: [PROTOCOL_VERSION], runId, workerId, ticket });
      const { message } = await receiveWithin(channel, { deadline: signal, what: 'the answer of a reducer' });
      if (message.type === 'joined') return { channel, firstRound: message.round };
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
  async *receive(range: number, round: number, signal?: AbortSignal): AsyncGenerator<Uint8Array, void, undefined> {
    const link = this.#open.get(range);
    if (!link || link.firstRound > round) return;
    try {
      for (;;) {
        const { message, body } = await link.channel.receiveStreamed(signal);
        // Those of earlier rounds came from the service.
        if (message.type !== 'updateRange' || message.round < round) continue;
        if (message.round > round) return;
        for (let piece = await body.next(signal); piece; piece = await body.next(signal)) yield piece;
        return;
      }
    } catch (error) {
      if (signal?.aborted || !isLinkFailure(error)) throw error;
      this.lose(range, error.message);
    }
  }

  close(reason: string): void {
    for (const range of this.#options.ranges.keys()) this.leave(range, reason);
  }
}
