/** What a member or host receives from the service: messages, and the ranges of an update between them. */
import { ProtocolError, type BodyReader, type Channel, type Message, type MessageType, type Streamed } from '@troupe/protocol';
import { abortedWait } from '../errors.js';
import { nameOf, type SegmentRange } from '../ranges.js';
import { readBody } from './body.js';

/**
 * Reads on by itself, up to the next body that nobody has read, so that messages which must not wait are taken while the receiver does
 * something else. Ranges that come out of turn are kept until it is theirs: one that is sent again comes after those that were not.
 */
export class ServiceInbox<K extends MessageType> {
  readonly #channel: Channel<K>;
  readonly #takeNow: (message: Message) => boolean;
  readonly #queue: Streamed<K>[] = [];
  /** Came while a range was waited for. */
  readonly #ahead: Streamed<K>[] = [];
  readonly #early = new Map<string, Uint8Array>();
  /** Of `#early`. */
  #round = -1;
  #failure: Error | undefined;
  #wake = (): void => undefined;
  /** Lets the next message be read: the body of the last one is no longer needed. */
  #readOn = (): void => undefined;

  /** @param takeNow takes what must not wait, in the order of its arrival. @returns whether it was such a message */
  constructor(channel: Channel<K>, takeNow: (message: Message) => boolean = () => false) {
    this.#channel = channel;
    this.#takeNow = takeNow;
    void this.#pump();
  }

  /** Never rejects: those who wait learn why it ended. */
  async #pump(): Promise<void> {
    try {
      for (;;) {
        const { message, body } = await this.#channel.receiveStreamed();
        if (this.#takeNow(message)) continue;
        const isRead = body.bytes > 0 ? new Promise<void>((resolve) => (this.#readOn = resolve)) : undefined;
        this.#queue.push({ message, body: isRead ? this.#watched(body) : body });
        this.#wake();
        await isRead;
      }
    } catch (error) {
      this.#failure = error as Error;
      this.#wake();
    }
  }

  #watched(body: BodyReader): BodyReader {
    const readOn = this.#readOn;
    let left = body.bytes;
    return {
      bytes: body.bytes,
      async next(signal) {
        const piece = left > 0 ? await body.next(signal) : undefined;
        left -= piece?.byteLength ?? 0;
        if (left === 0) readOn();
        return piece;
      },
    };
  }

  /** The next message in the order of arrival. What is left of the body of the last one is skipped. */
  async #take(signal?: AbortSignal): Promise<Streamed<K>> {
    if (this.#queue.length === 0) this.#readOn();
    while (this.#queue.length === 0) {
      if (this.#failure) throw this.#failure;
      await this.#news(signal);
    }
    return this.#queue.shift()!;
  }

  /** @throws TransportError `aborted` */
  #news(signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const stop = (): void => reject(abortedWait());
      if (signal?.aborted) return stop();
      signal?.addEventListener('abort', stop, { once: true });
      this.#wake = () => {
        signal?.removeEventListener('abort', stop);
        resolve();
      };
    });
  }

  /** The next message that is not a range of an update; a range that nobody waits for came twice. Throws what the channel throws. */
  async next(signal?: AbortSignal): Promise<Streamed<K>> {
    for (;;) {
      const streamed = this.#ahead.shift() ?? (await this.#take(signal));
      if (streamed.message.type !== 'updateRange') return streamed;
    }
  }

  /**
   * The pieces of a range of the update of this round, as they arrive.
   * @throws ProtocolError when a later update comes first, and what the channel throws
   */
  async *range(round: number, range: SegmentRange, signal?: AbortSignal): AsyncGenerator<Uint8Array, void, undefined> {
    if (this.#round !== round) this.#early.clear();
    this.#round = round;
    const early = this.#early.get(nameOf(range));
    if (early) return yield early;
    for (;;) {
      const { message, body } = await this.#take(signal);
      if (message.type !== 'updateRange') this.#ahead.push({ message, body: await kept(body, signal) });
      else if (message.round > round) throw missed(round);
      else if (message.round === round && nameOf(message) !== nameOf(range))
        this.#early.set(nameOf(message), await readBody(body, signal));
      else if (message.round === round) {
        for (let piece = await body.next(signal); piece; piece = await body.next(signal)) yield piece;
        return;
      }
    }
  }
}

/** A body that is read later, after the next message has been received. */
async function kept(body: BodyReader, signal?: AbortSignal): Promise<BodyReader> {
  if (body.bytes === 0) return body;
  const whole: Uint8Array[] = [await readBody(body, signal)];
  return { bytes: body.bytes, next: () => Promise.resolve(whole.shift()) };
}

function missed(round: number): ProtocolError {
  return new ProtocolError(
    'unexpected_message',
    `a part of the update of round ${round} did not come before the next update`,
    'Nothing to do: the worker joins again by itself.',
  );
}
