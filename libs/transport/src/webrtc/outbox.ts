import { KIND, message, MESSAGE_BYTES, pieceBytes } from './messages.js';
import type { RtcChannel } from './rtc.js';

/**
 * The data channel's own buffer is filled up to here; everything else waits in the outbox. Chromium closes a channel with 16 MiB in its
 * buffer, and what waits here can be dropped and counted.
 */
const HIGH_WATER_BYTES = 256 * 1024;
/** The outbox fills the buffer again when it falls to this. */
const LOW_WATER_BYTES = 128 * 1024;

export interface Outbox {
  /** Bytes that have not left, including those in the channel's buffer. */
  readonly bytes: number;
  sendFrame(frame: Uint8Array): void;
  sendControl(kind: number, content: Uint8Array): void;
  /** Moves messages to the channel's buffer as far as it has room. Throws what the channel throws. */
  pump(): void;
  /** Forgets what has not been moved. */
  clear(): void;
}

interface Item {
  readonly content: Uint8Array;
  /** Of a message that is not a frame. */
  readonly kind: number | undefined;
}

/** Cuts frames only when they leave, so that a frame which many links share is not copied for each of them while it waits. */
export function createOutbox(channel: RtcChannel): Outbox {
  let items: Item[] = [];
  let head = 0;
  /** Bytes of the first frame that have been moved. */
  let moved = 0;
  let waiting = 0;
  const isEmpty = (): boolean => head === items.length;
  const add = (item: Item): void => {
    items.push(item);
    waiting += item.content.byteLength;
  };
  const drop = (): void => {
    moved = 0;
    if (++head < 1024 && head < items.length) return;
    items = items.slice(head);
    head = 0;
  };
  const next = (): Uint8Array<ArrayBuffer> => {
    const { kind, content } = items[head];
    const end = moved + pieceBytes(content.byteLength - moved);
    const piece = message(kind ?? (end === content.byteLength ? KIND.last : KIND.part), content.subarray(moved, end));
    waiting -= end - moved;
    moved = end;
    if (end === content.byteLength) drop();
    return piece;
  };
  return {
    get bytes() {
      return waiting + channel.bufferedAmount;
    },
    sendFrame: (content) => add({ content, kind: undefined }),
    sendControl: (kind, content) => add({ content, kind }),
    pump() {
      do {
        while (!isEmpty() && channel.bufferedAmount + MESSAGE_BYTES <= HIGH_WATER_BYTES) channel.send(next());
        channel.bufferedAmountLowThreshold = isEmpty() ? 0 : LOW_WATER_BYTES;
        // Another thread empties the buffer: no event comes if it fell below the threshold before that was set.
      } while (!isEmpty() && channel.bufferedAmount <= LOW_WATER_BYTES);
    },
    clear() {
      items = [];
      head = moved = waiting = 0;
    },
  };
}
