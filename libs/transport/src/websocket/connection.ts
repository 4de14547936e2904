import { LIMITS } from '@troupe/config/limits';
import type { WebSocket } from 'ws';
import { closeInfo, closeReason } from '../close.js';
import { DEFAULT_FRAME_BYTES, type Connection } from '../connection.js';
import { createLinkState, type LinkState } from '../link.js';

export interface WebSocketOptions {
  /** The largest frame either way; a peer that sends a larger one is cut off. Default DEFAULT_FRAME_BYTES. */
  readonly frameBytes?: number;
  /** How often this side pings. Default 5 s. */
  readonly heartbeatMs?: number;
  /**
   * A link on which nothing came in for this long is `lost`. Default 20 s: every frame, ping and pong counts as life, and engines for the
   * processor compute in threads of their own, so that a sound worker answers within moments.
   */
  readonly heartbeatTimeoutMs?: number;
  /** Above this many bytes received and not taken, the socket is not read, so that TCP slows the sender. Default 64 MiB. */
  readonly keptBytes?: number;
  /** After close(): a peer that takes nothing for this long is cut off. Default 5 s. */
  readonly closeTimeoutMs?: number;
}

/** A browser's page sees no pings: an empty text, which is no frame, tells it that this side lives. */
function giveSign(socket: WebSocket): void {
  socket.ping();
  socket.send('', () => undefined);
}

/** Drops the socket when the other side is silent for too long. @returns what to call to stop, and to note a sign of life */
function startHeartbeat(socket: WebSocket, options: WebSocketOptions, dead: (reason: string) => void) {
  const everyMs = options.heartbeatMs ?? 5_000;
  const timeoutMs = options.heartbeatTimeoutMs ?? 20_000;
  const ticksAllowed = Math.max(1, Math.ceil(timeoutMs / everyMs));
  // Ticks are counted rather than time measured: when this process was busy for a minute, the other side was not silent, we
  // were deaf, and a blocked event loop ticks only once.
  let silentTicks = 0;
  const timer = setInterval(() => {
    // While this side does not read, it cannot hear a pong; its own pings still tell the other side that it lives.
    if (!socket.isPaused) silentTicks++;
    if (silentTicks > ticksAllowed) dead(`no sign of life for ${timeoutMs / 1000} s`);
    else if (socket.readyState === socket.OPEN) giveSign(socket);
  }, everyMs);
  timer.unref();
  return {
    stop: () => clearInterval(timer),
    alive: () => {
      silentTicks = 0;
    },
  };
}

/** Cuts a closing socket off once its queue stands still, so that a stopped peer cannot keep this process alive. */
function watchClosing(socket: WebSocket, timeoutMs: number): void {
  let left = socket.bufferedAmount;
  const timer = setInterval(() => {
    if (socket.bufferedAmount > 0 && socket.bufferedAmount < left) left = socket.bufferedAmount;
    else socket.terminate();
  }, timeoutMs);
  socket.once('close', () => clearInterval(timer));
}

/** Wires the socket's events to the link. Must run before the socket's first message can be emitted. */
function listenTo(socket: WebSocket, state: LinkState, options: WebSocketOptions): void {
  const keptBytes = options.keptBytes ?? LIMITS.receivedBytes;
  const lose = (reason: string) => {
    state.shut({ kind: 'lost', reason });
    socket.terminate();
  };
  const heartbeat = startHeartbeat(socket, options, lose);
  socket.on('message', (data, isBinary) => {
    heartbeat.alive();
    if (!isBinary && (data as Buffer).byteLength === 0) return;
    if (!isBinary) return lose('the other side sent text; only binary frames are spoken here');
    const buffer = data as Buffer;
    // A plain Uint8Array: Buffer's slice() shares memory where Uint8Array's copies.
    state.deliver(new Uint8Array(buffer.buffer, buffer.byteOffset, buffer.byteLength));
    if (!state.end && state.keptBytes > keptBytes) socket.pause();
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
    if (socket.isPaused && state.keptBytes <= (options.keptBytes ?? LIMITS.receivedBytes) / 2) socket.resume();
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
      // A failed write also ends in the socket's `error` or `close`, which is where it is told.
      socket.send(frame, { binary: true }, () => state.progress());
    },
    drained: (maxBufferedBytes, signal) => state.drained(maxBufferedBytes, signal),
    receive: (signal) => state.receive(signal),
    close(reason) {
      if (state.end) return;
      state.shut({ kind: 'clean', reason });
      // Otherwise the other side's answer would never be read.
      socket.resume();
      socket.close(1000, closeReason(reason));
      watchClosing(socket, options.closeTimeoutMs ?? LIMITS.closeMs);
    },
  };
}
