/** What the page of webrtc.test.ts runs: links over WebRTC whose signals the test carries. Bundled for the browser. */
import type { Connection } from '@troupe/transport';
import { browserRtc } from '@troupe/transport/browser';
import { answerRtc, offerRtc, type Rtc, type RtcOptions, type RtcPeer, type Signal } from '@troupe/transport/webrtc';

const FRAME_BYTES = 256 * 1024;

/** Bytes that both sides can make: a linear congruential generator. */
export function makeBytes(seed: number, bytes: number): Uint8Array<ArrayBuffer> {
  const words = new Uint32Array(bytes / 4);
  let state = seed;
  for (let i = 0; i < words.length; i++) words[i] = state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return new Uint8Array(words.buffer);
}

export async function sendBytes(link: Connection, data: Uint8Array<ArrayBuffer>): Promise<void> {
  for (let at = 0; at < data.length; at += FRAME_BYTES) {
    link.send(data.slice(at, at + FRAME_BYTES));
    await link.drained(4 * FRAME_BYTES);
  }
}

/** @returns the SHA-256 of the next `bytes`, in hexadecimal */
export async function receiveDigest(link: Connection, bytes: number): Promise<string> {
  const whole = new Uint8Array(bytes);
  for (let at = 0; at < bytes;) {
    const frame = await link.receive();
    whole.set(frame, at);
    at += frame.byteLength;
  }
  const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', whole));
  return [...digest].map((byte) => byte.toString(16).padStart(2, '0')).join('');
}

interface PageLink {
  readonly incoming: unknown[];
  readonly outgoing: Signal[];
  readonly opening: Promise<Connection>;
  peer: RtcPeer | undefined;
}

const links = new Map<string, PageLink>();
const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** The platform's WebRTC; the test may tell the link that its path is gone. */
function observe(rtc: Rtc, name: string): Rtc {
  return {
    after: rtc.after,
    createPeer: (config) => (links.get(name)!.peer = rtc.createPeer(config)),
  };
}

const page = {
  links,
  /** Begins to open a link. */
  open(name: string, role: 'offer' | 'answer', options: Partial<RtcOptions> = {}): void {
    const incoming: unknown[] = [];
    const outgoing: Signal[] = [];
    let opened!: (connection: Promise<Connection>) => void;
    const opening = new Promise<Connection>((resolve) => (opened = resolve));
    links.set(name, { incoming, outgoing, opening, peer: undefined });
    const signalling = {
      send: (signal: Signal) => void outgoing.push(signal),
      async receive(abort: AbortSignal): Promise<unknown> {
        while (incoming.length === 0) {
          abort.throwIfAborted();
          await pause(5);
        }
        return incoming.shift();
      },
    };
    const open = role === 'offer' ? offerRtc : answerRtc;
    opened(open({ rtc: observe(browserRtc()!, name), signalling, remote: 'other', ...options }));
  },
  give: (name: string, signal: unknown): void => void links.get(name)!.incoming.push(signal),
  take: (name: string): Signal[] => links.get(name)!.outgoing.splice(0),
  remote: async (name: string): Promise<string> => (await links.get(name)!.opening).remote,
  /** Sends and receives at once. @returns the digest of what came */
  async exchange(name: string, seed: number, bytes: number): Promise<string> {
    const link = await links.get(name)!.opening;
    const [digest] = await Promise.all([receiveDigest(link, bytes), sendBytes(link, makeBytes(seed, bytes))]);
    return digest;
  },
  close: async (name: string, reason: string): Promise<void> => (await links.get(name)!.opening).close(reason),
  closed: async (name: string) => (await links.get(name)!.opening).closed,
  /** Has the link believe that its path is gone, which makes the offerer restart ICE. */
  breakPath(name: string): void {
    const peer = links.get(name)!.peer!;
    Object.defineProperty(peer, 'connectionState', { value: 'disconnected', configurable: true });
    peer.onconnectionstatechange?.();
    Reflect.deleteProperty(peer, 'connectionState');
  },
};
export type Page = typeof page;
Object.assign(globalThis, { page });
