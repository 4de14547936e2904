/** WebRTC for tests: each link is a pair of memory connections, which the two sides agree on by signals. */
import { TransportError, type Connection } from '@troupe/transport';
import { createMemoryPair, type MemoryConnection } from '@troupe/transport/memory';
import type { RtcLinks, RtcRequest, Signalling } from '@troupe/transport/webrtc';

export class RtcExchange {
  /** Requests of both sides: "w1 offers of w0". */
  readonly requests: (Pick<RtcRequest, 'iceServers' | 'signalling'> & { readonly what: string })[] = [];
  /** Signals that are lost on their way: "answer of w0 to w1". */
  readonly lost = new Set<string>();
  /** Links that are open: the end of the one that offered. */
  readonly links: { readonly what: string; readonly near: MemoryConnection }[] = [];
  readonly #far = new Map<string, Connection>();

  of(name: string): RtcLinks {
    return {
      offer: async ({ remote, signalling, iceServers, signal }) => {
        const what = `${name} offers ${remote}`;
        this.requests.push({ what, signalling, iceServers });
        const [near, far] = createMemoryPair([name, remote]);
        const id = `v=0 ${this.#far.size}`;
        this.#far.set(id, far);
        this.#send(signalling, name, remote, 'offer', id);
        await expectSignal(signalling, signal, 'answer');
        this.links.push({ what, near });
        return near;
      },
      answer: async ({ remote, signalling, iceServers, signal }) => {
        this.requests.push({ what: `${name} answers ${remote}`, signalling, iceServers });
        const id = await expectSignal(signalling, signal, 'offer');
        this.#send(signalling, name, remote, 'answer', id);
        return this.#far.get(id) ?? neverOpened(signal);
      },
    };
  }

  #send(signalling: Signalling, from: string, to: string, type: 'offer' | 'answer', sdp: string): void {
    if (!this.lost.has(`${type} of ${from} to ${to}`)) signalling.send({ type, generation: 1, sdp });
  }
}

/** The other side signals, and no path is found. */
function neverOpened(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    signal.addEventListener('abort', () => reject(new TransportError('aborted', 'the attempt was given up', 'Try again.')));
  });
}

async function expectSignal(signalling: Signalling, signal: AbortSignal, type: string): Promise<string> {
  const received = (await signalling.receive(signal)) as { readonly type?: unknown; readonly sdp?: unknown } | undefined;
  if (received?.type === type && typeof received.sdp === 'string') return received.sdp;
  throw new TransportError('refused', `the other side sent no ${type}`, 'Nothing to do.');
}
