import { connectBrowser } from '@troupe/transport/browser';
import { createMeter, type Connection, type Traffic } from '@troupe/transport';
import type { RtcLinks } from '@troupe/transport/webrtc';

/** The trainer's links: counts and limits their traffic, and can close all of them at once. */
export interface Links extends Traffic {
  /** @throws TransportError */
  connect(address: string, signal: AbortSignal): Promise<Connection>;
  /** The same way to open links, which belong to the trainer's. */
  adopt(rtc: RtcLinks): RtcLinks;
  breakOff(reason: string): void;
}

/**
 * @param onEnd called when a link to the coordinator has ended, from either side; those to other machines may come and go
 * @param limit limits the rate of a link
 */
export function createLinks(onEnd: () => void, limit: (link: Connection) => Connection = (link) => link): Links {
  const open = new Set<Connection>();
  const meter = createMeter();
  const keep = (link: Connection): Connection => {
    open.add(link);
    void link.closed.then(() => open.delete(link));
    return limit(meter.count(link));
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
      return meter.sentBytes;
    },
    get receivedBytes() {
      return meter.receivedBytes;
    },
    breakOff(reason) {
      for (const link of open) link.close(reason);
    },
  };
}
