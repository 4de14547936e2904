import { connectBrowser } from '@troupe/transport/browser';
import { tap, type Connection } from '@troupe/transport';
import type { RtcLinks } from '@troupe/transport/webrtc';

/** The trainer's links: counts their traffic, and can close all of them at once. */
export interface Links {
  /** @throws TransportError */
  connect(address: string, signal: AbortSignal): Promise<Connection>;
  /** The same way to open links, which belong to the trainer's. */
  adopt(rtc: RtcLinks): RtcLinks;
  readonly sentBytes: number;
  readonly receivedBytes: number;
  breakOff(reason: string): void;
}

/** @param onEnd called when a link to the coordinator has ended, from either side; those to other machines may come and go */
export function createLinks(onEnd: () => void): Links {
  const open = new Set<Connection>();
  let sentBytes = 0;
  let receivedBytes = 0;
  const keep = (link: Connection): Connection => {
    open.add(link);
    void link.closed.then(() => open.delete(link));
    return tap(link, {
      sent: ({ byteLength }) => (sentBytes += byteLength),
      received: ({ byteLength }) => void (receivedBytes += byteLength),
    });
  };
  return {
    async connect(address, signal) {
      const link = await connectBrowser(address, { signal });
      void link.closed.then(onEnd);
      return keep(link);
    },
    adopt: (rtc) => ({
      offer: async (request) => keep(await rtc.offer(request)),
      answer: async (request) => keep(await rtc.answer(request)),
    }),
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
