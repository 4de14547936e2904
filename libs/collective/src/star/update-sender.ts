/** Sends the updates of a run, range by range and in order, however the ranges come about. */
import { encodeFrames, openTransfer, type Channel, type MessageOf } from '@troupe/protocol';
import type { SegmentChunk } from '../codec.js';
import { nameOf, type SegmentRange } from '../ranges.js';
import type { Links } from './links.js';

/** A range of an update that can be sent. */
export interface ReadyRange {
  readonly round: number;
  readonly range: SegmentRange;
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
  const transfer = openTransfer({ type: 'updateRange', round, ...placeOf(range) }, bytes);
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

/** A range may know more than where it is. */
const placeOf = ({ from, to }: SegmentRange): SegmentRange => ({ from, to });

interface Copy {
  readonly round: number;
  readonly bytes: Uint8Array;
  /** Present when a worker lacked it: all that do share them. */
  frames?: readonly Uint8Array[];
}

interface Sending {
  readonly round: number;
  readonly ranges: readonly SegmentRange[];
  /** Of each range. */
  readonly receivers: readonly Channel[][];
  /** Whether others send ranges too, and so a worker may lack one of them. */
  readonly keepsCopies: boolean;
  /** The range whose turn it is. */
  next: number;
}

export class UpdateSender {
  /** Time to send the last update to one receiver, ms. */
  sendMs = 0;
  readonly #place: SendingPlace;
  /** Of the last update, by range. */
  readonly #copies = new Map<string, Copy>();
  #sending: Sending | undefined;

  constructor(place: SendingPlace) {
    this.#place = place;
  }

  /** The round of the last update that was begun; -1 before the first. */
  get round(): number {
    return this.#sending?.round ?? -1;
  }

  /**
   * @param ranges of all parameters, in layout order
   * @param host receives all of them
   * @param direct the workers that receive the update, each with the ranges that come from others
   */
  begin(
    head: Omit<MessageOf<'update'>, 'type' | 'ranges'>,
    ranges: readonly SegmentRange[],
    host: Channel,
    direct: ReadonlyMap<Channel, ReadonlySet<SegmentRange>>,
  ): void {
    const { links } = this.#place;
    const receivers = ranges.map((): Channel[] => []);
    const heads = new Map<string, readonly Uint8Array[]>();
    for (const [channel, theirs] of [[host, new Set<SegmentRange>()] as const, ...direct]) {
      const mine = ranges.filter((range) => !theirs.has(range));
      const name = mine.map(nameOf).join();
      const frames = heads.get(name) ?? encodeFrames({ type: 'update', ...head, ranges: mine.map(placeOf) });
      heads.set(name, frames);
      if (!links.deliver(channel, () => channel.sendEncoded(frames))) continue;
      for (const [index, range] of ranges.entries()) if (!theirs.has(range)) receivers[index].push(channel);
    }
    const keepsCopies = [...direct.values()].some(({ size }) => size > 0);
    this.#copies.clear();
    this.sendMs = 0;
    this.#sending = { round: head.round, ranges, receivers, keepsCopies, next: 0 };
  }

  /** Sends the ranges that can be sent. */
  flush(find: (index: number) => ReadyRange | undefined): void {
    const sending = this.#sending;
    while (sending && sending.next < sending.receivers.length) {
      const ready = find(sending.next);
      if (!ready) return;
      const receivers = sending.receivers[sending.next];
      const sendMs = sending.keepsCopies ? this.#sendAndKeep(ready, receivers) : sendRange(this.#place, ready, receivers);
      this.sendMs += sendMs / Math.max(receivers.length, 1);
      sending.next++;
    }
  }

  /** @returns ms that sending took */
  #sendAndKeep(ready: ReadyRange, receivers: readonly Channel[]): number {
    const { round, range, bytes, whole } = ready;
    const copy = whole ?? new Uint8Array(bytes);
    let at = 0;
    const sendMs = sendRange(this.#place, ready, receivers, (payload) => {
      if (!whole) copy.set(payload, at);
      at += payload.byteLength;
    });
    this.#copies.set(nameOf(range), { round, bytes: copy });
    return sendMs;
  }

  /** The bytes of a range of the update of this round, if it was the last and others sent ranges of it. */
  copyOf(round: number, range: SegmentRange): Uint8Array | undefined {
    const copy = this.#copies.get(nameOf(range));
    return copy?.round === round ? copy.bytes : undefined;
  }

  /**
   * A worker lacks a range that did not come from its reducer. It is sent now, or in its turn.
   * @returns false: it is no longer here
   */
  supply(channel: Channel, { round, ...range }: SegmentRange & { readonly round: number }): boolean {
    const copy = this.#copies.get(nameOf(range));
    const sending = this.#sending;
    const index = sending?.ranges.findIndex((each) => nameOf(each) === nameOf(range)) ?? -1;
    if (copy?.round === round) {
      copy.frames ??= encodeFrames({ type: 'updateRange', round, ...placeOf(range) }, copy.bytes);
      this.#place.links.deliverAll([channel], copy.frames);
    } else if (sending?.round === round && sending.next <= index) sending.receivers[index].push(channel);
    else return round > this.round;
    return true;
  }
}
