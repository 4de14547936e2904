/** A service's link to the reducer of a range. It survives the loss of the reducer: it connects again. */
import {
  createChannel,
  LIMITS,
  PROTOCOL_VERSION,
  ProtocolError,
  receiveWithin,
  type BodyReader,
  type Channel,
  type Message,
  type MessageOf,
} from '@troupe/protocol';
import { backoffMs } from '@troupe/transport';
import { isLinkFailure } from '../errors.js';
import { readBody } from './body.js';
import { either } from './either.js';
import type { ReducerAddress, ServerOptions } from './run-server.js';

/** What a reducer says. */
export interface ReducerListener {
  /** It waits for orders. */
  onReady(): void;
  onHeld(message: MessageOf<'held'>): void;
  /** @param squares of each segment */
  onMeasured(round: number, squares: readonly number[]): void;
  /** @param bytes of its range of an update */
  onUpdate(round: number, bytes: Uint8Array): void;
  /** It was ready, and its link ended. */
  onLost(reason: string): void;
  /** The service cannot go on: a bug, or no memory to sum the range itself. The link is not opened again. */
  onFailed(error: unknown): void;
  /** It could not be reached for the first time, or for the first time since it was lost. */
  onUnreachable(reason: string): void;
}

export interface RemoteReducerOptions extends Pick<ServerOptions, 'deadline' | 'token'> {
  readonly connect: NonNullable<ServerOptions['connect']>;
  readonly address: ReducerAddress;
  readonly assign: Omit<MessageOf<'assign'>, 'type' | 'versions' | 'token'>;
  /** Segments of its range, and bytes of it in an update. */
  readonly segments: number;
  readonly updateBytes: number;
  /** Aborts when the run is over. */
  readonly over: AbortSignal;
}

const BACKOFF = { firstMs: 500, longestMs: 10_000, jitter: [1, 1] } as const;

export interface RemoteReducer {
  readonly forWorkers: string;
  /** Present while the reducer follows orders. */
  readonly channel: Channel | undefined;
}

/** Keeps a link to the reducer until the run is over. */
export function openRemoteReducer(options: RemoteReducerOptions, listener: ReducerListener): RemoteReducer {
  const remote = new Remote(options, listener);
  remote.keep().catch((error: unknown) => listener.onFailed(error));
  return remote;
}

class Remote implements RemoteReducer {
  readonly forWorkers: string;
  channel: Channel | undefined;
  readonly #options: RemoteReducerOptions;
  readonly #listener: ReducerListener;

  constructor(options: RemoteReducerOptions, listener: ReducerListener) {
    this.forWorkers = options.address.forWorkers;
    this.#options = options;
    this.#listener = listener;
  }

  /** Rejects with what no new link mends. */
  async keep(): Promise<void> {
    const { over, deadline } = this.#options;
    for (let failures = 0; !over.aborted;) {
      const reason = await this.#serve();
      if (over.aborted) return;
      if (this.channel) {
        failures = 0;
        this.channel = undefined;
        this.#listener.onLost(reason);
      } else if (failures++ === 0) this.#listener.onUnreachable(reason);
      await either(over, deadline(backoffMs(failures, 0, BACKOFF))).ended;
    }
  }

  /** Serves one link to its end. @returns why it ended */
  async #serve(): Promise<string> {
    const { connect, address, deadline, over } = this.#options;
    let channel: Channel | undefined;
    const stop = () => channel?.close('the run is over');
    over.addEventListener('abort', stop, { once: true });
    const soon = either(over, deadline(LIMITS.reducerMs));
    try {
      const connection = await connect(address.address, soon.signal);
      channel = createChannel(connection, {
        accepts: ['assigned', 'refuse', 'held', 'measured', 'updateRange'],
        bodyBytes: (message) => this.#bodyBytes(message),
        deadline,
      });
      await this.#assign(channel);
      this.channel = channel;
      this.#listener.onReady();
      for (;;) {
        const { message, body } = await channel.receiveStreamed();
        await this.#hear(message, body);
      }
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      channel?.close(reason);
      if (!isLinkFailure(error)) throw error;
      return reason;
    } finally {
      soon.dispose();
      over.removeEventListener('abort', stop);
    }
  }

  async #assign(channel: Channel): Promise<void> {
    const { assign, token, deadline, over } = this.#options;
    channel.send({ type: 'assign', versions: [PROTOCOL_VERSION], token, ...assign });
    const what = 'the answer to assign';
    const { message } = await receiveWithin(channel, { deadline: deadline(LIMITS.answerMs), signal: over, what });
    if (message.type === 'assigned') return;
    const reason = message.type === 'refuse' ? `it refused (${message.code}): ${message.message}` : `it answered ${message.type}`;
    const remedy = message.type === 'refuse' ? message.remedy : 'Run the same version of Troupe on all machines.';
    throw new ProtocolError('unexpected_message', reason, remedy);
  }

  #bodyBytes(message: Message): number {
    const { segments, updateBytes } = this.#options;
    if (message.type === 'measured') return segments * Float64Array.BYTES_PER_ELEMENT;
    return message.type === 'updateRange' ? updateBytes : 0;
  }

  async #hear(message: Message, body: BodyReader): Promise<void> {
    switch (message.type) {
      case 'held':
        return this.#listener.onHeld(message);
      case 'measured':
        return this.#listener.onMeasured(message.round, squaresIn(await readBody(body)));
      case 'updateRange':
        return this.#listener.onUpdate(message.round, await readBody(body));
      case 'refuse':
        throw new ProtocolError('unexpected_message', `it refused (${message.code}): ${message.message}`, message.remedy);
      default:
        throw new ProtocolError(
          'unexpected_message',
          `it sent ${message.type}`,
          'Run the same version of Troupe on all machines.',
        );
    }
  }
}

/** @throws ProtocolError `invalid_message` for what no sum has */
function squaresIn({ buffer }: Uint8Array<ArrayBuffer>): readonly number[] {
  const squares = [...new Float64Array(buffer)];
  if (squares.every((each) => each >= 0 && each < Infinity)) return squares;
  throw new ProtocolError(
    'invalid_message',
    'it sent squares that no sum has',
    'Run the same version of Troupe on all machines.',
  );
}
