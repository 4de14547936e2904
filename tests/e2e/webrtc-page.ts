/**
 * What the page of webrtc.test.ts runs, and its Web Worker: links over WebRTC whose signals the test carries. Bundled for the browser.
 */
import type { Connection } from '@troupe/transport';
import { bridgeRtcLinks, browserRtc, serveRtcBridge, type BridgePort, type RtcBridge } from '@troupe/transport/browser';
import {
  answerRtc,
  createRtcLinks,
  offerRtc,
  type Rtc,
  type RtcLinks,
  type RtcOptions,
  type RtcPeer,
  type Signal,
  type Signalling,
} from '@troupe/transport/webrtc';

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

const scope = globalThis as unknown as Scope;

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

type Signalled = Partial<RtcOptions> & Pick<RtcOptions, 'signalling'>;

function openHere(name: string, role: 'offer' | 'answer', options: Signalled): Promise<Connection> {
  const open = role === 'offer' ? offerRtc : answerRtc;
  return open({ rtc: observe(browserRtc()!, name), remote: 'other', ...options });
}

/** In the worker: the links of its page. */
let bridged: RtcLinks | undefined;
const requestOf = (signalling: Signalling) => ({
  ...{ signalling, remote: 'other', iceServers: [], signal: new AbortController().signal },
});

/** The worker of this page, and the way to call it. */
let worker: { readonly thread: Thread; readonly bridge: RtcBridge; readonly answers: Map<number, (answer: unknown) => void> };
let calls = 0;

const page = {
  links,
  /** Starts a Web Worker with the same functions as this page, whose links this page holds. */
  startWorker(): void {
    const { port1, port2 } = new MessageChannel();
    const answers = new Map<number, (answer: unknown) => void>();
    const thread = new scope.Worker('/page.js', { type: 'module' });
    thread.onmessage = ({ data: [call, answer] }) => answers.get(call as number)?.(answer);
    const bridge = serveRtcBridge(port1 as unknown as BridgePort, createRtcLinks(browserRtc()!));
    worker = { thread, bridge, answers };
    thread.postMessage(port2, [port2]);
  },
  /** Calls a function of the worker. */
  inWorker(method: string, ...args: unknown[]): Promise<unknown> {
    const call = ++calls;
    worker.thread.postMessage([call, method, ...args]);
    return new Promise((resolve) => worker.answers.set(call, resolve));
  },
  endWorker(reason: string): void {
    worker.thread.terminate();
    worker.bridge.end(reason);
  },
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
    opened(bridged ? bridged[role](requestOf(signalling)) : openHere(name, role, { signalling, ...options }));
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

/** The part of a Web Worker that is used. */
interface Thread {
  postMessage(message: unknown, transfer?: unknown[]): void;
  onmessage: ((event: { readonly data: unknown[] }) => void) | null;
  terminate(): void;
}

/** What the page's scope, or the worker's, has beyond that of Node. */
interface Scope {
  readonly Worker: new (address: string, options: { readonly type: 'module' }) => Thread;
  readonly document?: unknown;
  onmessage: ((event: { readonly data: unknown }) => void) | null;
  postMessage(message: unknown): void;
}

/** The first message brings the port to the page; the others are calls. */
function serveCalls(): void {
  scope.onmessage = ({ data }) => {
    if (!Array.isArray(data)) {
      bridged = bridgeRtcLinks(data as BridgePort);
      return;
    }
    const [call, method, ...args] = data as [number, keyof Page, ...unknown[]];
    const answer = (page[method] as (...given: unknown[]) => unknown)(...args);
    void Promise.resolve(answer).then((value) => scope.postMessage([call, value]));
  };
}
if (!scope.document) serveCalls();
