import type { Connection } from './connection.js';

export interface Taps {
  /** Called after the link has accepted a frame to send. */
  sent?(frame: Uint8Array): void;
  /** Called before a received frame is delivered; delivery waits for it. */
  received?(frame: Uint8Array): void | Promise<void>;
}

/** Bytes of frames, of any number of links. */
export interface Traffic {
  readonly sentBytes: number;
  readonly receivedBytes: number;
}

/** Counts the frames of links. */
export interface Meter extends Traffic {
  /** The same link, counted. */
  count(link: Connection): Connection;
}

/** @param onTraffic called after each frame */
export function createMeter(onTraffic: (traffic: Traffic) => void = () => {}): Meter {
  let [sentBytes, receivedBytes] = [0, 0];
  const add = (sent: number, received: number): void => {
    sentBytes += sent;
    receivedBytes += received;
    onTraffic({ sentBytes, receivedBytes });
  };
  return {
    count: (link) =>
      tap(link, { sent: ({ byteLength }) => add(byteLength, 0), received: ({ byteLength }) => add(0, byteLength) }),
    get sentBytes() {
      return sentBytes;
    },
    get receivedBytes() {
      return receivedBytes;
    },
  };
}

/** The same link, with callbacks that see every frame. */
export function tap(link: Connection, { sent, received }: Taps): Connection {
  return {
    remote: link.remote,
    closed: link.closed,
    get bufferedBytes() {
      return link.bufferedBytes;
    },
    send(frame) {
      link.send(frame);
      sent?.(frame);
    },
    async receive(signal) {
      const frame = await link.receive(signal);
      await received?.(frame);
      return frame;
    },
    drained: (most, signal) => link.drained(most, signal),
    close: (reason) => link.close(reason),
  };
}
