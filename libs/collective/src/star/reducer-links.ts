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
import { TransportError, type Connection } from '@troupe/transport';
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
}

export class ReducerLinks {
  readonly #options: ReducerLinksOptions;
  readonly #open = new Map<number, Channel>();
  /** Ends attempts to connect. */
  readonly #attempts = new Map<number, AbortController>();
  #over = false;

  constructor(options: ReducerLinksOptions) {
    this.#options = options;
  }

  /** Ranges without a link to their reducer. */
  get missing(): number[] {
    return this.#options.ranges.flatMap((_, range) => (this.#open.has(range) ? [] : [range]));
  }

  get(range: number): Channel | undefined {
    return this.#open.get(range);
  }

  /** Begins to connect. A reducer that cannot be reached is no fault: the service passes its range on. */
  connect(range: number, address: string): void {
    const { connect } = this.#options;
    this.lose(range, 'its reducer is at another place');
    if (!connect || address === '' || this.#over) return;
    const attempt = new AbortController();
    this.#attempts.set(range, attempt);
    void this.#attempt(range, address, attempt, connect);
  }

  async #attempt(
    range: number,
    address: string,
    attempt: AbortController,
    connect: NonNullable<ReducerLinksOptions['connect']>,
  ): Promise<void> {
    const { deadline } = this.#options.join;
    const soon = either(attempt.signal, deadline?.(LIMITS.reducerMs) ?? attempt.signal);
    const { signal } = soon;
    try {
      const channel = await this.#join(range, await connect(address, signal), signal);
      if (this.#attempts.get(range) !== attempt) return channel.close('this link is no longer needed');
      this.#open.set(range, channel);
      void channel.closed.then(() => this.#forget(range, channel));
      this.#options.onOpened(range);
    } catch (error) {
      if (!(error instanceof TransportError) && !(error instanceof ProtocolError)) throw error;
    } finally {
      soon.dispose();
      if (this.#attempts.get(range) === attempt) this.#attempts.delete(range);
    }
  }

  async #join(range: number, connection: Connection, signal: AbortSignal): Promise<Channel> {
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
      if (message.type === 'joined') return channel;
      throw new ProtocolError('unexpected_message', `a reducer answered join with ${message.type}`, 'Nothing to do.');
    } catch (error) {
      channel.close((error as Error).message);
      throw error;
    }
  }

  #forget(range: number, channel: Channel): void {
    if (this.#open.get(range) !== channel) return;
    this.#open.delete(range);
    if (!this.#over) this.#options.onLost(range);
  }

  /** Without the link, if there is one. */
  lose(range: number, reason: string): void {
    this.#attempts.get(range)?.abort(new Error(reason));
    this.#attempts.delete(range);
    const channel = this.#open.get(range);
    channel?.close(reason);
    if (channel) this.#forget(range, channel);
  }

  /**
   * The pieces of the range of the update of this round, from its reducer. It ends early when the link is lost.
   * @throws ProtocolError when the reducer breaks the protocol; TransportError when `signal` aborts
   */
  async *receive(range: number, round: number, signal?: AbortSignal): AsyncGenerator<Uint8Array, void, undefined> {
    const channel = this.#open.get(range);
    if (!channel) return;
    try {
      for (;;) {
        const { message, body } = await channel.receiveStreamed(signal);
        // Those of earlier rounds came from the service.
        if (message.type !== 'updateRange' || message.round < round) continue;
        if (message.round > round) return;
        for (let piece = await body.next(signal); piece; piece = await body.next(signal)) yield piece;
        return;
      }
    } catch (error) {
      if (signal?.aborted || !(error instanceof TransportError)) throw error;
      this.lose(range, error.message);
    }
  }

  close(reason: string): void {
    this.#over = true;
    for (const range of this.#options.ranges.keys()) this.lose(range, reason);
  }
}
