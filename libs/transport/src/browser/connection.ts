import { LIMITS } from '@troupe/config/limits';
import { closeInfo, closeReason } from '../close.js';
import { DEFAULT_FRAME_BYTES, type CloseInfo, type Connection } from '../connection.js';
import { createLinkState, type LinkState } from '../link.js';
import type { BrowserSocket } from './socket.js';

export interface BrowserConnectionOptions {
  /** The largest frame either way; a peer that sends a larger one is cut off. Default DEFAULT_FRAME_BYTES. */
  readonly frameBytes?: number;
  /**
   * A browser reads whether or not anyone takes what came, and nothing can make it wait. Above this many bytes received and not taken
   * the link is cut. Default 512 MiB.
   */
  readonly keptBytes?: number;
  /**
   * A link on which nothing came in for this long, and up to a quarter more, is `lost`. Default 20 s: the other side gives a sign of life every 5 s, as an empty text,
   * because pages see no pings.
   */
  readonly silenceMs?: number;
  /** After close(): a peer that does not answer for this long is waited for no more. Default 5 s. */
  readonly closeTimeoutMs?: number;
}

/** Looks at silence within the time that is allowed. */
const LOOKS = 4;
/** Browsers do not say when a socket has sent what it was given: one has to look. */
const LOOK_MS = 10;

/** Takes over an open socket. Must run in the turn in which it opened: a later one may already bring frames. */
export function createConnection(socket: BrowserSocket, remote: string, options: BrowserConnectionOptions): Connection {
  const state = createLinkState(options.frameBytes ?? DEFAULT_FRAME_BYTES, () => socket.bufferedAmount);
  const waitToClose = listenTo(socket, state, options);
  return {
    remote,
    closed: state.closed,
    get bufferedBytes() {
      return socket.bufferedAmount;
    },
    send(frame) {
      state.checkSend(frame);
      socket.send(frame as Uint8Array<ArrayBuffer>);
    },
    async drained(maxBufferedBytes, signal) {
      const waiting = state.drained(maxBufferedBytes, signal);
      const timer = setInterval(() => state.progress(), LOOK_MS);
      try {
        await waiting;
      } finally {
        clearInterval(timer);
      }
    },
    receive: (signal) => state.receive(signal),
    close(reason) {
      if (state.end) return;
      const info: CloseInfo = { kind: 'clean', reason };
      state.shut(info);
      socket.close(1000, closeReason(reason));
      waitToClose(info);
    },
  };
}

/** Looks are counted rather than time measured: whoever slept or computed was deaf, and the other side not silent. */
function watchSilence(silenceMs: number, lose: (reason: string) => void): { heard(): void; stop(): void } {
  let silentLooks = 0;
  const timer = setInterval(() => {
    if (++silentLooks > LOOKS) lose(`no sign of life for ${silenceMs / 1000} s`);
  }, silenceMs / LOOKS);
  return {
    heard() {
      silentLooks = 0;
    },
    stop: () => clearInterval(timer),
  };
}

/** @returns what to call when this side has begun to close */
function listenTo(socket: BrowserSocket, state: LinkState, options: BrowserConnectionOptions): (info: CloseInfo) => void {
  const { frameBytes = DEFAULT_FRAME_BYTES, keptBytes = LIMITS.browserReceivedBytes, closeTimeoutMs = LIMITS.closeMs } = options;
  let timer: ReturnType<typeof setTimeout> | undefined;
  const waitToClose = (info: CloseInfo): void => {
    timer ??= setTimeout(() => state.settle(info), closeTimeoutMs);
  };
  const lose = (reason: string): void => {
    const info: CloseInfo = { kind: 'lost', reason };
    state.shut(info);
    // 1000 and 3000 to 4999 are all that a page may say.
    socket.close(4000, closeReason(reason));
    waitToClose(info);
  };
  const watch = watchSilence(options.silenceMs ?? LIMITS.silenceMs, lose);
  void state.closed.then(watch.stop);
  socket.onmessage = ({ data }) => {
    watch.heard();
    if (data === '') return;
    if (!(data instanceof ArrayBuffer)) return lose('the other side sent text; only binary frames are spoken here');
    if (data.byteLength > frameBytes) return lose(`the other side sent a frame over this link's ${frameBytes} bytes`);
    state.deliver(new Uint8Array(data));
    if (!state.end && state.keptBytes > keptBytes) lose('more came in than was taken');
  };
  // What it is about, browsers do not tell; a close always follows.
  socket.onerror = () => {};
  socket.onclose = ({ code, reason }) => {
    clearTimeout(timer);
    state.settle(closeInfo(code, reason));
  };
  return waitToClose;
}
