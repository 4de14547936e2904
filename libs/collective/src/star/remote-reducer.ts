/** A reducer of a run, as the service that decides sees it. */
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
import type { SegmentRange } from '../ranges.js';
import { SERVICE_BACKOFF } from '../retries.js';
import { readBody } from './body.js';
import { either } from './either.js';
import type { ServerOptions } from './run-server.js';

/** What a reducer says. What it throws ends the link. */
export interface ReducerListener {
  /** It waits for orders. */
  onReady(): void;
  onHeld(message: MessageOf<'held'>): void;
  /** @param bytes of its range of a contribution that is audited */
  onCopied(message: MessageOf<'copied'>, bytes: Uint8Array): void;
  /** @param squares of each segment */
  onMeasured(message: RoundRange, squares: readonly number[]): void;
  /** @param bytes of its range of an update */
  onUpdate(message: RoundRange, bytes: Uint8Array): void;
  /** For a worker that opens a link to it. */
  onSignal(message: MessageOf<'signal'>): void;
  /** It was ready, and its link ended. */
  onLost(reason: string): void;
}

export interface RoundRange extends SegmentRange {
  readonly round: number;
}

export type Assignment = Omit<MessageOf<'assign'>, 'type' | 'versions' | 'token'>;

export type ReducerIdentity = Pick<RemoteReducer, 'id' | 'label' | 'isPeer' | 'addresses'>;

/** One that says it takes longer does not decide whom the run uses. */
const MAX_SERVICE_MS = 1_000;

export class RemoteReducer {
  /** Among the reducers of the run. */
  readonly id: string;
  /** For logs. */
  readonly label: string;
  /** For workers; see the message `reducer`. */
  readonly addresses: readonly string[];
  /** Whether it is a worker: what it says is checked. */
  readonly isPeer: boolean;
  /** Of the link that is served; the reducer may not follow orders yet. */
  link: Channel | undefined;
  /** Present while the reducer follows orders. */
  channel: Channel | undefined;
  /** How often it began to follow orders. */
  timesReady = 0;
  /** What it spends on a contribution and its part of an update, ms. */
  serviceMs = 0;
  /** Bytes of what it owed and sent. What nobody waits for does not count. */
  progress = 0;
  /** Ends when its link has room for what is passed on next. */
  passing: Promise<void> = Promise.resolve();
  readonly #listener: ReducerListener;

  constructor({ id, label, isPeer, addresses }: ReducerIdentity, listener: ReducerListener) {
    this.id = id;
    this.isPeer = isPeer;
    this.label = label;
    this.addresses = addresses;
    this.#listener = listener;
  }

  /**
   * Makes the other side of this link the reducer, and serves it to its end. Rejects with what ended it.
   * @param token that the other side was started with; one that offered itself needs none
   */
  async serve(
    channel: Channel,
    assignment: Assignment,
    token: string,
    { deadline }: Pick<ServerOptions, 'deadline'>,
  ): Promise<void> {
    let reason = '';
    this.link = channel;
    try {
      channel.send({ type: 'assign', versions: [PROTOCOL_VERSION], token, ...assignment });
      await answered(channel, deadline(LIMITS.answerMs));
      this.channel = channel;
      this.timesReady++;
      this.#listener.onReady();
      for (;;) {
        const { message, body } = await channel.receiveStreamed();
        await this.#hear(message, body);
      }
    } catch (error) {
      reason = error instanceof Error ? error.message : String(error);
      throw error;
    } finally {
      if (this.link === channel) this.link = undefined;
      if (this.channel === channel) {
        this.channel = undefined;
        this.serviceMs = 0;
        this.#listener.onLost(reason);
      }
    }
  }

  async #hear(message: Message, body: BodyReader): Promise<void> {
    switch (message.type) {
      case 'held':
        this.serviceMs = Math.min(message.serviceMs, MAX_SERVICE_MS);
        return this.#listener.onHeld(message);
      case 'copied':
        return this.#listener.onCopied(message, await this.#read(body));
      case 'measured':
        return this.#listener.onMeasured(message, squaresIn(await this.#read(body)));
      case 'updateRange':
        return this.#listener.onUpdate(message, await this.#read(body));
      case 'signal':
        return this.#listener.onSignal(message);
      case 'refuse':
        throw refusedBy(message);
      default:
        throw wrong(`it sent ${message.type}`, 'unexpected_message');
    }
  }

  #read(body: BodyReader): Promise<Uint8Array<ArrayBuffer>> {
    return readBody(body, undefined, ({ byteLength }) => (this.progress += byteLength));
  }
}

async function answered(channel: Channel, deadline: AbortSignal): Promise<void> {
  const { message } = await receiveWithin(channel, { deadline, what: 'the answer to assign' });
  if (message.type === 'assigned') return;
  if (message.type !== 'refuse') throw wrong(`it answered ${message.type}`, 'unexpected_message');
  throw refusedBy(message);
}

function refusedBy({ code, message, remedy }: MessageOf<'refuse'>): ProtocolError {
  return new ProtocolError('unexpected_message', `it refused (${code}): ${message}`, remedy);
}

export function wrong(what: string, code: 'invalid_message' | 'unexpected_message' = 'invalid_message'): ProtocolError {
  return new ProtocolError(code, what, 'Run the same version of Troupe on all machines.');
}

/** @throws ProtocolError `invalid_message` for what no sum has */
function squaresIn({ buffer }: Uint8Array<ArrayBuffer>): readonly number[] {
  const squares = [...new Float64Array(buffer)];
  if (squares.every((each) => each >= 0 && each < Infinity)) return squares;
  throw wrong('it sent squares that no sum has');
}

export interface KeepOptions extends Pick<ServerOptions, 'deadline' | 'token'> {
  readonly connect: NonNullable<ServerOptions['connect']>;
  /** For the service. */
  readonly address: string;
  readonly assignment: Assignment;
  /** Body bytes of a message from it. @throws ProtocolError for a message that must not come */
  bodyBytes(message: Message): number;
  /** Aborts when the run is over. */
  readonly over: AbortSignal;
  /** It could not be reached for the first time, or for the first time since it was lost. */
  onUnreachable(reason: string): void;
}

/** Keeps a link to a reducer until the run is over. Rejects with what no new link mends. */
export async function keepReducer(remote: RemoteReducer, options: KeepOptions): Promise<void> {
  const { over, deadline, onUnreachable } = options;
  for (let failures = 0; !over.aborted;) {
    const { reason, wasReady } = await serveOnce(remote, options);
    if (over.aborted) return;
    if (wasReady) failures = 0;
    else if (failures++ === 0) onUnreachable(reason);
    await either(over, deadline(backoffMs(failures, 0, SERVICE_BACKOFF))).ended;
  }
}

async function serveOnce(
  remote: RemoteReducer,
  { connect, address, assignment, token, deadline, over, bodyBytes }: KeepOptions,
): Promise<{ readonly reason: string; readonly wasReady: boolean }> {
  const { timesReady } = remote;
  let channel: Channel | undefined;
  const stop = () => channel?.close('the run is over');
  over.addEventListener('abort', stop, { once: true });
  const soon = either(over, deadline(LIMITS.reducerMs));
  try {
    const connection = await connect(address, soon.signal);
    channel = createChannel(connection, {
      accepts: ['assigned', 'refuse', 'copied', 'held', 'measured', 'updateRange'],
      bodyBytes,
      deadline,
    });
    if (over.aborted) stop();
    await remote.serve(channel, assignment, token, { deadline });
    return { reason: '', wasReady: true };
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    channel?.close(reason);
    if (!isLinkFailure(error)) throw error;
    return { reason, wasReady: remote.timesReady > timesReady };
  } finally {
    soon.dispose();
    over.removeEventListener('abort', stop);
  }
}
