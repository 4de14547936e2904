import { LIMITS } from '@troupe/config/limits';
import { closeInfo, closeReason } from '../close.js';
import { DEFAULT_FRAME_BYTES, type CloseInfo, type Connection } from '../connection.js';
import { createLinkState, type LinkState } from '../link.js';
import type { BrowserSocket } from './socket.js';

export interface BrowserConnectionOptions {
  /** The largest frame in both directions; a larger one closes the link. Default DEFAULT_FRAME_BYTES. */
  readonly frameBytes?: number;
  /**
   * The link is closed above this many bytes received and not taken, because nothing can make a browser stop reading. Default 512 MiB.
   */
  readonly unreadBytes?: number;
  /**
   * A link that receives nothing for this long, and up to a quarter longer, is `lost`. Default 20 s: the other side sends a sign of life
   * every 5 s, as an empty text, because pages see no pings.
   */
  readonly silenceMs?: number;
  /** After close(), wait this long for the peer's answer. Default 5 s. */
  readonly closeTimeoutMs?: number;
}

/** Checks for silence within the time allowed. */
const LOOKS = 4;
/** Browsers do not report when a socket has sent its data, so `drained` polls. */
const LOOK_MS = 10;

/** Takes over an open socket. Must run in the turn in which it opens: frames may arrive in the next. */
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

/** Counts checks instead of measuring time: while this side sleeps or computes, it cannot tell that the other side is silent. */
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

/** @returns a function to call when this side starts to close */
function listenTo(socket: BrowserSocket, state: LinkState, options: BrowserConnectionOptions): (info: CloseInfo) => void {
  const {
    frameBytes = DEFAULT_FRAME_BYTES,
    unreadBytes = LIMITS.browserReceivedBytes,
    closeTimeoutMs = LIMITS.closeMs,
  } = options;
  let timer: ReturnType<typeof setTimeout> | undefined;
  const waitToClose = (info: CloseInfo): void => {
    timer ??= setTimeout(() => state.settle(info), closeTimeoutMs);
  };
  const lose = (reason: string): void => {
    const info: CloseInfo = { kind: 'lost', reason };
    state.shut(info);
    // Pages may only send the codes 1000 and 3000 to 4999.
    socket.close(4000, closeReason(reason));
    waitToClose(info);
  };
  const watch = watchSilence(options.silenceMs ?? LIMITS.silenceMs, lose);
  void state.closed.then(watch.stop);
  socket.onmessage = ({ data }) => {
    watch.heard();
    if (data === '') return;
    if (!(data instanceof ArrayBuffer)) return lose('the other side sent text instead of binary frames');
    if (data.byteLength > frameBytes) return lose(`the other side sent a frame larger than this link's ${frameBytes} bytes`);
    state.deliver(new Uint8Array(data));
    if (!state.end && state.unreadBytes > unreadBytes) lose('more came in than was read');
  };
  // Browsers do not say what the error is; a close always follows.
  socket.onerror = () => {};
  socket.onclose = ({ code, reason }) => {
    clearTimeout(timer);
    state.settle(closeInfo(code, reason));
  };
  return waitToClose;
}
