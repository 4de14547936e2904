/** Measures whether this machine can open direct links: the WebRTC library, UDP, and the STUN and TURN servers of a run. */
import type { IceServerView } from '@troupe/run';
import { TransportError } from '@troupe/transport';
import { answerRtc, offerRtc, type Signal, type Signalling } from '@troupe/transport/webrtc';
import { placeOfIceUrl, probeIceServer, type IceProbeOptions, type NodeRtc } from '@troupe/transport/webrtc-node';
import type { ChannelFacts, ServerFacts } from './facts.js';
import { hasAnswered } from './findings.js';

/** Opens a link from this process to itself. @throws TransportError */
export async function measureChannel(
  rtc: NodeRtc,
  timeoutMs: number,
  nowMs: () => number,
  signal: AbortSignal,
): Promise<ChannelFacts> {
  const addresses = new Set<string>();
  const [near, far] = createSignalling((sent) => {
    const address = addressOf(sent);
    if (address !== undefined) addresses.add(address);
  });
  const startedMs = nowMs();
  const options = { rtc, remote: 'this machine', connectTimeoutMs: timeoutMs, signal };
  const ends = await Promise.allSettled([offerRtc({ ...options, signalling: near }), answerRtc({ ...options, signalling: far })]);
  const ms = nowMs() - startedMs;
  const open = ends.flatMap((end) => (end.status === 'fulfilled' ? [end.value] : []));
  // The other end answers that, and is closed too.
  open[0]?.close('only a check of the network');
  await Promise.all(open.map((end) => end.closed));
  const failed = ends.find((end) => end.status === 'rejected');
  if (!failed) return { ms, addresses: [...addresses] };
  signal.throwIfAborted();
  const message = `no data channel opened within this machine: ${(failed.reason as Error).message}`;
  throw new TransportError('unreachable', message, 'Check that a firewall on this machine lets Node send and receive UDP.');
}

/** Of a candidate (RFC 8839): foundation, component, protocol, priority, address ... */
function addressOf(signal: Signal): string | undefined {
  return signal.type === 'candidate' ? signal.candidate.split(' ')[4] : undefined;
}

/** @param heard called with what either end says */
function createSignalling(heard: (signal: Signal) => void): [near: Signalling, far: Signalling] {
  const [toNear, toFar] = [createMailbox(), createMailbox()];
  const end = (incoming: Mailbox, outgoing: Mailbox): Signalling => ({
    send(signal) {
      heard(signal);
      outgoing.put(signal);
    },
    receive: incoming.take,
  });
  return [end(toNear, toFar), end(toFar, toNear)];
}

interface Mailbox {
  put(signal: Signal): void;
  /** The next one. Rejects when aborted. One at a time may wait. */
  take(abort: AbortSignal): Promise<Signal>;
}

function createMailbox(): Mailbox {
  const waiting: Signal[] = [];
  let wake = (): void => {};
  return {
    put(signal) {
      waiting.push(signal);
      wake();
    },
    async take(abort) {
      const stop = (): void => wake();
      abort.addEventListener('abort', stop);
      try {
        for (;;) {
          abort.throwIfAborted();
          const signal = waiting.shift();
          if (signal) return signal;
          await new Promise<void>((resolve) => (wake = resolve));
        }
      } finally {
        abort.removeEventListener('abort', stop);
      }
    },
  };
}

type Asked = Pick<IceServerView, 'username' | 'credential'>;

/** Asks all servers at the same time. */
export async function measureServers(servers: readonly IceServerView[], options: IceProbeOptions): Promise<ServerFacts[]> {
  return Promise.all(servers.flatMap((server) => server.urls.map((url) => measureServer(url, server, options))));
}

async function measureServer(url: string, login: Asked, options: IceProbeOptions): Promise<ServerFacts> {
  const place = placeOfIceUrl(url);
  const { transport, ...where } = place;
  if (transport === 'dtls') return { url, place, answer: undefined };
  const answer = await probeIceServer({ ...where, transport }, login, options);
  if (transport !== 'udp' || hasAnswered(answer)) return { url, place, answer };
  // Most servers take both: an answer over TCP shows that the server runs, and UDP is blocked.
  return { url, place, answer, overTcp: await probeIceServer({ ...where, transport: 'tcp' }, login, options) };
}
