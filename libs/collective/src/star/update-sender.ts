/** Sends the updates of a run, range by range and in order, however the ranges come about. */
import { encodeFrames, openTransfer, type Channel, type MessageOf } from '@troupe/protocol';
import type { SegmentChunk } from '../codec.js';
import type { Links } from './links.js';

/** A range of an update that can be sent. */
export interface ReadyRange {
  readonly round: number;
  readonly range: number;
  readonly bytes: number;
  readonly chunks: readonly Pick<SegmentChunk, 'bytes'>[];
  /** Writes a chunk into `payload`, which has its length. */
  encode(index: number, payload: Uint8Array): void;
  /** All bytes, where they are in memory already. */
  readonly whole?: Uint8Array;
}

/** The links to send over, and a clock, ms. */
export interface SendingPlace {
  readonly links: Pick<Links, 'deliver' | 'deliverAll'>;
  nowMs(): number;
}

/**
 * Every chunk goes to all before the next is coded, so that all step at the same time.
 * @param onChunk sees each when it is coded
 * @returns ms that sending took
 */
export function sendRange(
  { links, nowMs }: SendingPlace,
  { round, range, bytes, chunks, encode }: ReadyRange,
  channels: readonly Channel[],
  onChunk: (payload: Uint8Array) => void = () => undefined,
): number {
  const transfer = openTransfer({ type: 'updateRange', round, range }, bytes);
  let receivers = channels;
  let sendMs = 0;
  const send = (frame: Uint8Array): void => {
    const startMs = nowMs();
    receivers = links.deliverAll(receivers, [frame]);
    sendMs += nowMs() - startMs;
  };
  send(transfer.head);
  for (const [index, chunk] of chunks.entries()) {
    const { frame, payload } = transfer.chunk(chunk.bytes);
    encode(index, payload);
    onChunk(payload);
    send(frame);
  }
  return sendMs;
}

export interface UpdateSenderOptions extends SendingPlace {
  /** Ranges of the run. */
  readonly ranges: number;
  /** Whether others send ranges too, and so a worker may lack one of them. */
  readonly keepCopies: boolean;
}

interface Copy {
  readonly round: number;
  readonly bytes: Uint8Array;
  /** Present when a worker lacked it: all that do share them. */
  frames?: readonly Uint8Array[];
}

interface Sending {
  readonly round: number;
  /** By range. */
  readonly receivers: readonly Channel[][];
  /** The range whose turn it is. */
  next: number;
}

export class UpdateSender {
  /** Time to send the last update to one receiver, ms. */
  sendMs = 0;
  readonly #options: UpdateSenderOptions;
  /** Of the last update, by range. */
  readonly #copies: (Copy | undefined)[] = [];
  #sending: Sending | undefined;

  constructor(options: UpdateSenderOptions) {
    this.#options = options;
  }

  /** The round of the last update that was begun; -1 before the first. */
  get round(): number {
    return this.#sending?.round ?? -1;
  }

  /**
   * @param host receives all ranges
   * @param direct the workers that receive the update, each with the ranges that come from others
   */
  begin(
    head: Omit<MessageOf<'update'>, 'type' | 'ranges'>,
    host: Channel,
    direct: ReadonlyMap<Channel, ReadonlySet<number>>,
  ): void {
    const { ranges, links } = this.#options;
    const all = Array.from({ length: ranges }, (_, range) => range);
    const receivers = all.map((): Channel[] => []);
    const heads = new Map<string, readonly Uint8Array[]>();
    for (const [channel, theirs] of [[host, new Set<number>()] as const, ...direct]) {
      const mine = all.filter((range) => !theirs.has(range));
      const name = mine.join();
      const frames = heads.get(name) ?? encodeFrames({ type: 'update', ...head, ranges: mine });
      heads.set(name, frames);
      if (!links.deliver(channel, () => channel.sendEncoded(frames))) continue;
      for (const range of mine) receivers[range].push(channel);
    }
    this.sendMs = 0;
    this.#sending = { round: head.round, receivers, next: 0 };
  }

  /** Sends the ranges that can be sent. */
  flush(find: (range: number) => ReadyRange | undefined): void {
    const sending = this.#sending;
    while (sending && sending.next < sending.receivers.length) {
      const ready = find(sending.next);
      if (!ready) return;
      const receivers = sending.receivers[sending.next];
      this.sendMs += this.#send(ready, receivers) / Math.max(receivers.length, 1);
      sending.next++;
    }
  }

  /** Keeps a copy. @returns ms that sending took */
  #send(ready: ReadyRange, receivers: readonly Channel[]): number {
    const { round, range, bytes, whole } = ready;
    if (!this.#options.keepCopies) return sendRange(this.#options, ready, receivers);
    const copy = whole ?? new Uint8Array(bytes);
    let at = 0;
    const sendMs = sendRange(this.#options, ready, receivers, (payload) => {
      if (!whole) copy.set(payload, at);
      at += payload.byteLength;
    });
    this.#copies[range] = { round, bytes: copy };
    return sendMs;
  }

  /**
   * A worker lacks a range that did not come from its reducer. It is sent now, or in its turn.
   * @returns false: it is no longer here
   */
  supply(channel: Channel, { round, range }: { readonly round: number; readonly range: number }): boolean {
    const copy = this.#copies[range];
    const sending = this.#sending;
    if (copy?.round === round) {
      const { links } = this.#options;
      copy.frames ??= encodeFrames({ type: 'updateRange', round, range }, copy.bytes);
      links.deliverAll([channel], copy.frames);
    } else if (sending?.round === round && sending.next <= range) sending.receivers[range].push(channel);
    else return round > this.round;
    return true;
  }
}
