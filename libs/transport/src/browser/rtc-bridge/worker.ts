/** The worker's side of the bridge: links that the page holds, as if they were its own. */
import { DEFAULT_FRAME_BYTES, TransportError, type CloseInfo, type Connection } from '../../connection.js';
import { aborted, createLinkState, type LinkState } from '../../link.js';
import type { RtcLinks, RtcRequest, Signal, Signalling } from '../../webrtc/index.js';
import { CREDIT_STEP_BYTES, type BridgePort, type Message, type Role, type ToPage, type ToWorker } from './messages.js';

type Post = (message: ToPage, transfer?: ArrayBuffer[]) => void;
type LinkMessage = Exclude<ToWorker, { readonly kind: 'ended' }>;

/** Opens links over WebRTC through the page, which calls `serveRtcBridge` with the other port. */
export function bridgeRtcLinks(port: BridgePort): RtcLinks {
  const links = new Map<number, BridgedLink>();
  const post: Post = (message, transfer = []) => port.postMessage(message, transfer);
  let count = 0;
  let ended: string | undefined;
  const take = (message: ToWorker): void => {
    if (message.kind !== 'ended') return links.get(message.link)?.take(message);
    ended = message.reason;
    for (const link of links.values()) link.end(ended);
  };
  port.addEventListener('message', ({ data }) => take(data as ToWorker));
  port.start();
  const open = async (role: Role, request: RtcRequest): Promise<Connection> => {
    if (request.signal.aborted) throw aborted(request.signal);
    if (ended !== undefined) throw noBridge(ended);
    const number = ++count;
    const link = openLink(number, role, request, post);
    links.set(number, link);
    void link.over.then(() => links.delete(number));
    return link.opening;
  };
  return { offer: (request) => open('offer', request), answer: (request) => open('answer', request) };
}

function noBridge(reason: string): TransportError {
  return new TransportError('closed', `the page opens no more links: ${reason}`, 'Start again from the page.');
}

interface BridgedLink {
  readonly opening: Promise<Connection>;
  take(message: LinkMessage): void;
  /** The page has ended the bridge. */
  end(reason: string): void;
  /** Never rejects. */
  readonly over: Promise<unknown>;
}

function openLink(link: number, role: Role, request: RtcRequest, post: Post): BridgedLink {
  const { remote, iceServers, signal } = request;
  const attempt = createAttempt(signal, () => post({ link, kind: 'abort' }));
  const over = new AbortController();
  const passSignal = createSignalPump(link, request.signalling, over.signal, post);
  let open: OpenLink | undefined;
  const fail = (error: TransportError): void => {
    attempt.reject(error);
    over.abort(error);
  };
  const onOpened = (name: string): void => {
    open = createOpenLink(link, name, post);
    void open.connection.closed.then(({ reason }) => over.abort(new Error(reason)));
    attempt.resolve(open.connection);
  };
  post({ link, kind: 'open', role, remote, iceServers });
  return {
    opening: attempt.ready,
    take(message) {
      if (message.kind === 'opened') onOpened(message.remote);
      else if (message.kind === 'failed') fail(errorFrom(message));
      else if (message.kind === 'nextSignal' || message.kind === 'signal') passSignal(message);
      else open?.take(message);
    },
    end(reason) {
      open?.end({ kind: 'clean', reason });
      fail(noBridge(reason));
    },
    over: aborting(over.signal),
  };
}

const aborting = (signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));

function errorFrom({ error: { code, message, remedy } }: Message<ToWorker, 'failed'>): TransportError {
  return new TransportError(code, message, remedy);
}

interface Attempt {
  readonly ready: Promise<Connection>;
  resolve(connection: Connection): void;
  reject(error: TransportError): void;
}

/** What the caller waits for. @param onAbort called when the caller gives up */
function createAttempt(signal: AbortSignal, onAbort: () => void): Attempt {
  let resolve!: Attempt['resolve'];
  let reject!: Attempt['reject'];
  const ready = new Promise<Connection>((...settle) => ([resolve, reject] = settle));
  const giveUp = (): void => {
    onAbort();
    reject(aborted(signal));
  };
  signal.addEventListener('abort', giveUp, { once: true });
  const settled = (): void => signal.removeEventListener('abort', giveUp);
  return {
    ready,
    resolve(connection) {
      settled();
      resolve(connection);
    },
    reject(error) {
      settled();
      reject(error);
    },
  };
}

/** @returns what takes the page's wishes: a signal to send, or to receive the next one */
function createSignalPump(
  link: number,
  signalling: Signalling,
  over: AbortSignal,
  post: Post,
): (message: Message<LinkMessage, 'signal' | 'nextSignal'>) => void {
  const lose = (error: unknown): void => post({ link, kind: 'signallingLost', reason: (error as Error).message });
  const receive = async (): Promise<void> => {
    try {
      post({ link, kind: 'signal', signal: await signalling.receive(over) });
    } catch (error) {
      lose(error);
    }
  };
  return (message) => {
    if (message.kind === 'nextSignal') return void receive();
    try {
      signalling.send(message.signal as Signal);
    } catch (error) {
      lose(error);
    }
  };
}

interface OpenLink {
  readonly connection: Connection;
  take(message: Message<LinkMessage, 'frame' | 'left' | 'closed'>): void;
  end(info: CloseInfo): void;
}

function createOpenLink(link: number, remote: string, post: Post): OpenLink {
  let bufferedBytes = 0;
  const unacknowledged = createAcknowledgement((bytes) => post({ link, kind: 'taken', bytes }));
  const state = createLinkState(
    DEFAULT_FRAME_BYTES,
    () => bufferedBytes,
    () => unacknowledged.unread(state.unreadBytes),
  );
  const sendFrame = (frame: Uint8Array): void => {
    bufferedBytes += frame.byteLength;
    // Other links may send the same frame, and the caller may still look at it.
    const copy = new Uint8Array(frame);
    post({ link, kind: 'frame', frame: copy }, [copy.buffer]);
  };
  const connection = createConnection(remote, state, () => bufferedBytes, {
    frame: sendFrame,
    close: (reason) => post({ link, kind: 'close', reason }),
  });
  return {
    connection,
    end: state.settle,
    take(message) {
      if (message.kind === 'closed') return state.settle(message.info);
      if (message.kind === 'left') {
        bufferedBytes -= message.bytes;
        return state.progress();
      }
      unacknowledged.received(message.frame.byteLength);
      state.deliver(message.frame);
    },
  };
}

interface LinkSender {
  frame(frame: Uint8Array): void;
  close(reason: string): void;
}

function createConnection(remote: string, state: LinkState, bufferedBytes: () => number, send: LinkSender): Connection {
  return {
    remote,
    closed: state.closed,
    get bufferedBytes() {
      return bufferedBytes();
    },
    send(frame) {
      state.checkSend(frame);
      send.frame(frame);
    },
    drained: (maxBufferedBytes, signal) => state.drained(maxBufferedBytes, signal),
    receive: (signal) => state.receive(signal),
    close(reason) {
      if (state.end) return;
      state.shut({ kind: 'clean', reason });
      send.close(reason);
    },
  };
}

/** Tells the page, in steps, what the reader has taken. */
function createAcknowledgement(acknowledge: (bytes: number) => void) {
  let waiting = 0;
  return {
    received(bytes: number): void {
      waiting += bytes;
    },
    /** @param bytes received and not taken yet */
    unread(bytes: number): void {
      const taken = waiting - bytes;
      if (taken < CREDIT_STEP_BYTES) return;
      waiting -= taken;
      acknowledge(taken);
    },
  };
}
