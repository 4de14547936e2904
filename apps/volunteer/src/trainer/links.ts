import { connectBrowser } from '@troupe/transport/browser';
import { tap, type Connection } from '@troupe/transport';

/** The trainer's links: counts their traffic, and can close all of them at once. */
export interface Links {
  /** @throws TransportError */
  connect(address: string, signal: AbortSignal): Promise<Connection>;
  readonly sentBytes: number;
  readonly receivedBytes: number;
  breakOff(reason: string): void;
}

/** @param onEnd called when a link has ended, from either side */
export function createLinks(onEnd: () => void): Links {
  const open = new Set<Connection>();
  let sentBytes = 0;
  let receivedBytes = 0;
  return {
    async connect(address, signal) {
      const link = await connectBrowser(address, { signal });
      open.add(link);
      void link.closed.then(() => {
        open.delete(link);
        onEnd();
      });
      return tap(link, {
        sent: ({ byteLength }) => (sentBytes += byteLength),
        received: ({ byteLength }) => void (receivedBytes += byteLength),
      });
    },
    get sentBytes() {
      return sentBytes;
    },
    get receivedBytes() {
      return receivedBytes;
    },
    breakOff(reason) {
      for (const link of open) link.close(reason);
    },
  };
}
