import { LIMITS } from '@troupe/config/limits';
import type { WebSocket } from 'ws';
import { closeInfo, closeReason } from '../close.js';
import { DEFAULT_FRAME_BYTES, type Connection } from '../connection.js';
import { createLinkState, type LinkState } from '../link.js';

export interface WebSocketOptions {
  /** The largest frame in both directions; a larger one closes the link. Default DEFAULT_FRAME_BYTES. */
  readonly frameBytes?: number;
  /** How often this side pings. Default 5 s. */
  readonly heartbeatMs?: number;
  /**
   * A link that receives nothing for this long is `lost`. Default 20 s: every frame, ping and pong is a sign of life, and engines for the
   * processor compute in their own threads, so a healthy worker answers within moments.
   */
  readonly heartbeatTimeoutMs?: number;
  /** Above this many bytes received and not taken, the socket is not read, and TCP slows the sender. Default 64 MiB. */
  readonly unreadBytes?: number;
  /** After close(), a peer that reads nothing for this long is disconnected. Default 5 s. */
  readonly closeTimeoutMs?: number;
}

/** Pages see no pings, so an empty text, which is not a frame, shows them that this side is alive. */
function sendHeartbeat(socket: WebSocket, sent: () => void): void {
  socket.ping();
  socket.send('', sent);
}

/** Drops the socket when the other side is silent for too long. `alive` records a sign of life. */
function startHeartbeat(socket: WebSocket, options: WebSocketOptions, sent: () => void, dead: (reason: string) => void) {
  const everyMs = options.heartbeatMs ?? 5_000;
  const timeoutMs = options.heartbeatTimeoutMs ?? 20_000;
  const ticksAllowed = Math.max(1, Math.ceil(timeoutMs / everyMs));
  // Ticks are counted instead of time: while this process is busy for a minute, it cannot tell that the other side is silent, and a
  // blocked event loop ticks only once.
  let silentTicks = 0;
  const timer = setInterval(() => {
    // While this side does not read, it receives no pong; its own pings still show the other side that it is alive.
    if (!socket.isPaused) silentTicks++;
    if (silentTicks > ticksAllowed) dead(`no sign of life for ${timeoutMs / 1000} s`);
    else if (socket.readyState === socket.OPEN) sendHeartbeat(socket, sent);
  }, everyMs);
  timer.unref();
  return {
    stop: () => clearInterval(timer),
    alive: () => {
      silentTicks = 0;
    },
  };
}

/** Terminates a closing socket whose queue stands still, so a stopped peer cannot keep this process alive. */
function watchClosing(socket: WebSocket, timeoutMs: number): void {
  let left = socket.bufferedAmount;
  const timer = setInterval(() => {
    if (socket.bufferedAmount > 0 && socket.bufferedAmount < left) left = socket.bufferedAmount;
    else socket.terminate();
  }, timeoutMs);
  socket.once('close', () => clearInterval(timer));
}

/** Connects the socket's events to the link. Must run before the socket can emit its first message. */
function listenTo(socket: WebSocket, state: LinkState, options: WebSocketOptions): void {
  const unreadBytes = options.unreadBytes ?? LIMITS.receivedBytes;
  const lose = (reason: string) => {
    state.shut({ kind: 'lost', reason });
    socket.terminate();
  };
  const heartbeat = startHeartbeat(socket, options, state.progress, lose);
  socket.on('message', (data, isBinary) => {
    heartbeat.alive();
    if (!isBinary && (data as Buffer).byteLength === 0) return;
    if (!isBinary) return lose('the other side sent text instead of binary frames');
    const buffer = data as Buffer;
    // A plain Uint8Array, because slice() of a Buffer shares memory and that of a Uint8Array copies.
    state.deliver(new Uint8Array(buffer.buffer, buffer.byteOffset, buffer.byteLength));
    if (!state.end && state.unreadBytes > unreadBytes) socket.pause();
  });
  socket.on('ping', heartbeat.alive);
  socket.on('pong', heartbeat.alive);
  socket.on('error', (error) => {
    state.shut({ kind: 'lost', reason: error.message });
    watchClosing(socket, options.closeTimeoutMs ?? LIMITS.closeMs);
  });
  socket.on('close', (code, reason) => {
    heartbeat.stop();
    state.settle(closeInfo(code, reason.toString('utf8')));
  });
}

/** Takes over an open socket. */
export function createConnection(socket: WebSocket, remote: string, options: WebSocketOptions): Connection {
  const resume = () => {
    if (socket.isPaused && state.unreadBytes <= (options.unreadBytes ?? LIMITS.receivedBytes) / 2) socket.resume();
  };
  const state = createLinkState(options.frameBytes ?? DEFAULT_FRAME_BYTES, () => socket.bufferedAmount, resume);
  listenTo(socket, state, options);
  return {
    remote,
    closed: state.closed,
    get bufferedBytes() {
      return socket.bufferedAmount;
    },
    send(frame) {
      state.checkSend(frame);
      // A failed write is also reported by the socket's `error` or `close`.
      socket.send(frame, { binary: true }, () => state.progress());
    },
    drained: (maxBufferedBytes, signal) => state.drained(maxBufferedBytes, signal),
    receive: (signal) => state.receive(signal),
    close(reason) {
      if (state.end) return;
      state.shut({ kind: 'clean', reason });
      // A paused socket would never read the other side's answer.
      socket.resume();
      socket.close(1000, closeReason(reason));
      watchClosing(socket, options.closeTimeoutMs ?? LIMITS.closeMs);
    },
  };
}
