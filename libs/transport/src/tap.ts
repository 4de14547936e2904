import type { Connection } from './connection.js';

export interface Taps {
  /** Called after the link has accepted a frame to send. */
  sent?(frame: Uint8Array): void;
  /** Called before a received frame is delivered; delivery waits for it. */
  received?(frame: Uint8Array): void | Promise<void>;
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
