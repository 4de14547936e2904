/** Reads what a reducer sends to a worker: its ranges of updates, and between them the pieces of a snapshot. */
import type { BodyReader, Channel, MessageOf, Streamed } from '@troupe/protocol';
import { abortedWait } from '../errors.js';
import type { SnapshotPiece } from '../port.js';
import { readBody } from './body.js';

/** What a worker accepts over its link to a reducer. */
export type FromReducer = 'joined' | 'refuse' | 'updateRange' | 'piece';
type Piece = Uint8Array<ArrayBuffer> | undefined;

/** A message with a body, which the pump has begun to receive. */
interface Offer extends Streamed<FromReducer> {
  isTaken: boolean;
  /** It is read to its end, or will not be. */
  end(): void;
}

/**
 * Pieces are taken as they come. Anything else waits for its reader, and so does what comes after it: the rest stays in the link, which
 * slows the reducer down. But while pieces are waited for, nothing holds them up: a range that nobody has begun to read is kept in memory.
 */
export class LinkReader {
  readonly #channel: Pick<Channel<FromReducer>, 'receiveStreamed' | 'send' | 'closed'>;
  #offered: Offer | undefined;
  /** The last one that nobody had begun to read. */
  #kept: Streamed<FromReducer> | undefined;
  /** What is being read is not read further. */
  #end = (): void => undefined;
  /** The pump looks whether it has to wait for a reader any longer. */
  #nudge = (): void => undefined;
  #failure: { readonly error: unknown } | undefined;
  #wake = (): void => undefined;
  /** By `nameOf`: whoever waits for the piece. */
  readonly #wanted = new Map<string, (bytes: Piece) => void>();

  constructor(channel: Pick<Channel<FromReducer>, 'receiveStreamed' | 'send' | 'closed'>) {
    this.#channel = channel;
    void this.#pump();
    void channel.closed.then(() => this.#giveUp());
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
      this.#giveUp();
      this.#wake();
    }
  }

  #giveUp(): void {
    for (const settle of this.#wanted.values()) settle(undefined);
  }

  async #take({ message, body }: Streamed<'piece'>): Promise<void> {
    const bytes = message.bytes > 0 ? await readBody(body) : undefined;
    this.#wanted.get(nameOf(message))?.(bytes);
  }

  async #offer({ message, body }: Streamed<FromReducer>): Promise<void> {
    let end = (): void => undefined;
    const ended = new Promise<void>((resolve) => (end = resolve));
    const offer: Offer = { message, body, isTaken: false, end };
    this.#offered = offer;
    this.#wake();
    // One that waits for it takes it first.
    await Promise.resolve();
    while (!offer.isTaken && this.#wanted.size === 0) await new Promise<void>((resolve) => (this.#nudge = resolve));
    if (offer.isTaken) return ended;
    this.#offered = undefined;
    this.#kept = { message, body: bodyOf(await readBody(body)) };
    this.#wake();
  }

  /** The next message that is no piece, with a body that arrives. Throws what `Channel.receiveStreamed` does. One at a time. */
  async receive(signal?: AbortSignal): Promise<Streamed<FromReducer>> {
    // What its reader has not read of the last one is skipped.
    this.done();
    for (;;) {
      const next = this.#takeNext();
      if (next) return next;
      if (this.#failure) throw this.#failure.error;
      await this.#news(signal);
    }
  }

  #takeNext(): Streamed<FromReducer> | undefined {
    const kept = this.#kept;
    this.#kept = undefined;
    if (kept || !this.#offered) return kept;
    const { message, body, end } = this.#offered;
    this.#offered.isTaken = true;
    this.#offered = undefined;
    this.#end = end;
    this.#nudge();
    return { message, body: endingWith(body, end) };
  }

  /** What was received last is not read further. */
  done(): void {
    this.#end();
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
  async piece(piece: SnapshotPiece, signal: AbortSignal): Promise<Piece> {
    if (this.#failure || signal.aborted) return undefined;
    const name = nameOf(piece);
    const arrived = new Promise<Piece>((resolve) => {
      this.#wanted.set(name, resolve);
      signal.addEventListener('abort', () => resolve(undefined), { once: true });
    });
    this.#nudge();
    try {
      this.#channel.send({ type: 'wantPiece', ...piece });
      return await arrived;
    } finally {
      this.#wanted.delete(name);
    }
  }
}

const nameOf = ({ round, offset }: Pick<MessageOf<'piece'>, 'round' | 'offset'>): string => `${round}:${offset}`;

/** The same body; calls `onEnd` when its last byte has been read. */
function endingWith(body: BodyReader, onEnd: () => void): BodyReader {
  let left = body.bytes;
  return {
    bytes: body.bytes,
    async next(signal) {
      const piece = await body.next(signal);
      left -= piece?.byteLength ?? left;
      if (left <= 0) onEnd();
      return piece;
    },
  };
}

function bodyOf(bytes: Uint8Array): BodyReader {
  const pieces = bytes.byteLength > 0 ? [bytes] : [];
  return { bytes: bytes.byteLength, next: async () => pieces.shift() };
}
