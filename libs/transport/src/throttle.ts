import { DEFAULT_FRAME_BYTES, TransportError, type Connection } from './connection.js';
import { aborted, createLinkState } from './link.js';

/** Says when the next frame may pass, in one direction. Several links may share one. */
export interface Pacer {
  /** How long the next frame must wait, ms; 0: it may pass now. */
  waitMs(): number;
  /** A frame has passed. */
  passed(bytes: number): void;
  /** Resolves after `ms`; rejects with the signal's reason when aborted. */
  sleep(ms: number, signal: AbortSignal): Promise<void>;
}

const NEVER = new AbortController().signal;

/**
 * The same link with frames that wait for their pacers. A frame that is to be received stays in the link until then, so a transport that can
 * stop reading slows the other side. close() sends what waits at once.
 */
export function throttle(
  link: Connection,
  { sending, receiving }: { readonly sending: Pacer; readonly receiving: Pacer },
): Connection {
  const outgoing = createOutgoing(link, sending);
  let isReceiving = false;
  return {
    remote: link.remote,
    closed: link.closed,
    get bufferedBytes() {
      return link.bufferedBytes + outgoing.waitingBytes;
    },
    send: outgoing.send,
    async drained(most, signal) {
      await outgoing.drained(most, signal);
      await link.drained(Math.max(0, most - outgoing.waitingBytes), signal);
    },
    async receive(signal) {
      if (isReceiving)
        throw new TransportError('busy', 'another call is already waiting', 'Await the first call before the next.');
      isReceiving = true;
      try {
        await turnOf(receiving, signal);
        const frame = await link.receive(signal);
        receiving.passed(frame.byteLength);
        return frame;
      } finally {
        isReceiving = false;
      }
    },
    close: outgoing.close,
  };
}

/** @throws TransportError `aborted` */
async function turnOf(pacer: Pacer, signal: AbortSignal = NEVER): Promise<void> {
  for (let ms = pacer.waitMs(); ms > 0; ms = pacer.waitMs()) {
    await pacer.sleep(ms, signal).catch((error: unknown) => {
      throw signal.aborted ? aborted(signal) : error;
    });
  }
}

/** The frames of a link that wait to be sent. */
function createOutgoing(link: Connection, pacer: Pacer) {
  let waiting: Uint8Array[] = [];
  let waitingBytes = 0;
  const over = new AbortController();
  const state = createLinkState(DEFAULT_FRAME_BYTES, () => waitingBytes);
  void link.closed.then((info) => {
    state.shut(info);
    over.abort();
  });
  const pass = (frame: Uint8Array): void => {
    link.send(frame);
    pacer.passed(frame.byteLength);
  };
  const passNext = (): void => {
    const frame = waiting.shift()!;
    waitingBytes -= frame.byteLength;
    pass(frame);
    state.progress();
  };
  const passAll = async (): Promise<void> => {
    while (waiting.length > 0) {
      await turnOf(pacer, over.signal);
      if (waiting.length > 0) passNext();
    }
  };
  return {
    get waitingBytes() {
      return waitingBytes;
    },
    send(frame: Uint8Array): void {
      state.checkSend(frame);
      if (waiting.length === 0 && pacer.waitMs() === 0) return pass(frame);
      waitingBytes += frame.byteLength;
      // No caller sees this failure, but all see the end of the link: `closed` is the link's.
      if (waiting.push(frame) === 1) void passAll().catch(() => link.close('what was to be sent could not be'));
    },
    drained: (most: number, signal?: AbortSignal) => state.drained(most, signal),
    close(reason: string): void {
      try {
        while (waiting.length > 0) passNext();
      } catch {
        // The link has ended: there is nobody to send to.
        waiting = [];
      }
      state.shut({ kind: 'clean', reason });
      over.abort();
      link.close(reason);
    },
  };
}
