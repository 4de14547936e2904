/** Reads what a reducer sends to a worker: its ranges of updates, and between them the pieces of a snapshot. */
import type { Channel, MessageOf, Streamed } from '@troupe/protocol';
import { abortedWait } from '../errors.js';
import type { SnapshotPiece } from '../port.js';
import { readBody } from './body.js';

/** What a worker accepts over its link to a reducer. */
export type FromReducer = 'joined' | 'refuse' | 'updateRange' | 'piece';

/**
 * Pieces are taken as they come. Anything else waits for its reader, and so does all that comes after it: the rest stays in the link, which
 * slows the reducer down.
 */
export class LinkReader {
  readonly #channel: Pick<Channel<FromReducer>, 'receiveStreamed' | 'send'>;
  /** Waits for its reader. */
  #next: Streamed<FromReducer> | undefined;
  /** Lets what comes after it be read. */
  #release = (): void => undefined;
  #failure: { readonly error: unknown } | undefined;
  #wake = (): void => undefined;
  /** By `nameOf`: whoever waits for the piece. */
  readonly #wanted = new Map<string, (bytes: Uint8Array<ArrayBuffer> | undefined) => void>();

  constructor(channel: Pick<Channel<FromReducer>, 'receiveStreamed' | 'send'>) {
    this.#channel = channel;
    void this.#pump();
  }

  /** Never rejects: `receive` does, and pieces that are waited for do not come. */
  async #pump(): Promise<void> {
    try {
      for (;;) {
        const received = await this.#channel.receiveStreamed();
        if (received.message.type === 'piece') await this.#take(received as Streamed<'piece'>);
        else await this.#offer(received);
      }
    } catch (error) {
      this.#failure = { error };
      for (const settle of this.#wanted.values()) settle(undefined);
      this.#wake();
    }
  }

  async #take({ message, body }: Streamed<'piece'>): Promise<void> {
    const bytes = message.bytes > 0 ? await readBody(body) : undefined;
    this.#wanted.get(nameOf(message))?.(bytes);
  }

  #offer(received: Streamed<FromReducer>): Promise<void> {
    return new Promise((resolve) => {
      [this.#next, this.#release] = [received, resolve];
      this.#wake();
    });
  }

  /** The next message that is no piece, with a body that arrives. Throws what `Channel.receiveStreamed` does. One at a time. */
  async receive(signal?: AbortSignal): Promise<Streamed<FromReducer>> {
    // Its reader has taken the last one: what it has not read of that is skipped.
    if (!this.#next) this.#release();
    while (!this.#next) {
      if (this.#failure) throw this.#failure.error;
      await this.#news(signal);
    }
    const next = this.#next;
    this.#next = undefined;
    return next;
  }

  /** @throws TransportError `aborted` */
  #news(signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve, reject) => {
      const abort = (): void => reject(abortedWait());
      this.#wake = () => {
        signal?.removeEventListener('abort', abort);
        resolve();
      };
      if (signal?.aborted) abort();
      else signal?.addEventListener('abort', abort, { once: true });
    });
  }

  /** @returns undefined if the reducer does not keep the snapshot, or the link ends, or `signal` aborts. @throws TransportError, ProtocolError */
  async piece(piece: SnapshotPiece, signal: AbortSignal): Promise<Uint8Array<ArrayBuffer> | undefined> {
    if (this.#failure || signal.aborted) return undefined;
    const name = nameOf(piece);
    const arrived = new Promise<Uint8Array<ArrayBuffer> | undefined>((resolve) => {
      this.#wanted.set(name, resolve);
      signal.addEventListener('abort', () => resolve(undefined), { once: true });
    });
    try {
      this.#channel.send({ type: 'wantPiece', ...piece });
      return await arrived;
    } finally {
      this.#wanted.delete(name);
    }
  }
}

const nameOf = ({ round, offset }: Pick<MessageOf<'piece'>, 'round' | 'offset'>): string => `${round}:${offset}`;
