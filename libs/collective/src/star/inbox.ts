/** What a member or host receives from the service: messages, and the ranges of an update between them. */
import { ProtocolError, type BodyReader, type Channel, type Message, type MessageType, type Streamed } from '@troupe/protocol';
import { readBody } from './remote-reducer.js';

/** Ranges that come out of turn are kept until it is theirs: one that is sent again comes after those that were not. */
export class ServiceInbox<K extends MessageType> {
  readonly #channel: Channel<K>;
  /** Came while a range was waited for. */
  readonly #ahead: Streamed<K>[] = [];
  #early = new Map<number, Uint8Array>();
  /** Of `#early`. */
  #round = -1;
  readonly #takeNow: (message: Message) => boolean;

  /** @param takeNow takes what must not wait, in the order of its arrival. @returns whether it was such a message */
  constructor(channel: Channel<K>, takeNow: (message: Message) => boolean = () => false) {
    this.#channel = channel;
    this.#takeNow = takeNow;
  }

  /** The next message that is not a range of an update; a range that nobody waits for came twice. Throws what the channel throws. */
  async next(signal?: AbortSignal): Promise<Streamed<K>> {
    for (;;) {
      const streamed = this.#ahead.shift() ?? (await this.#channel.receiveStreamed(signal));
      if (streamed.message.type !== 'updateRange' && !this.#takeNow(streamed.message)) return streamed;
    }
  }

  /**
   * The pieces of a range of the update of this round, as they arrive.
   * @throws ProtocolError when a later update comes first, and what the channel throws
   */
  async *range(round: number, range: number, signal?: AbortSignal): AsyncGenerator<Uint8Array, void, undefined> {
    if (this.#round !== round) [this.#round, this.#early] = [round, new Map()];
    const early = this.#early.get(range);
    if (early) return yield early;
    for (;;) {
      const streamed = await this.#channel.receiveStreamed(signal);
      const { message, body } = streamed;
      if (this.#takeNow(message)) continue;
      if (message.type !== 'updateRange') this.#ahead.push({ message, body: await kept(body, signal) } as Streamed<K>);
      else if (message.round > round) throw missed(round);
      else if (message.round === round && message.range !== range) this.#early.set(message.range, await readBody(body, signal));
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
