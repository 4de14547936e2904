/**
 * Byte frames over an ordered, reliable, full-duplex link. Every transport (memory, WebSocket, WebRTC) is this one
 * interface, and one conformance suite runs against each.
 */
import { LIMITS } from '@troupe/config/limits';

export interface CloseInfo {
  /** `clean`: a side called close(); `lost`: the link broke or the heartbeat found it dead. */
  readonly kind: 'clean' | 'lost';
  /** For logs and for the other side. */
  readonly reason: string;
}

/**
 * The largest frame, unless a transport is opened with another limit. Every WebRTC data channel carries this much, so a protocol built on
 * it runs over any transport.
 */
export const DEFAULT_FRAME_BYTES = LIMITS.frameBytes;

export type TransportErrorCode =
  | 'closed'
  | 'lost'
  | 'refused'
  | 'unreachable'
  | 'timeout'
  | 'frame_too_large'
  | 'port_in_use'
  | 'invalid_address'
  | 'aborted'
  /** A second `receive` or `accept` while another one waits. */
  | 'busy';

/** Thrown by `send`, `receive` and `drained` after the link is closed, and when a link cannot be opened. */
export class TransportError extends Error {
  override readonly name = 'TransportError';
  readonly code: TransportErrorCode;
  /** What the user can do about it. */
  readonly remedy: string;
  constructor(code: TransportErrorCode, message: string, remedy: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
    this.remedy = remedy;
  }
}

export interface Connection {
  /** The other end, for logs: "127.0.0.1:4242", "memory:worker-1". */
  readonly remote: string;
  /** Bytes handed to `send` that have not left this process yet. */
  readonly bufferedBytes: number;
  /**
   * Queues one frame; frames arrive whole and in order. From here on the connection owns `frame`, and the caller must not write to it:
   * the memory transport hands over the same bytes.
   * @throws TransportError `closed`, `lost` or `frame_too_large`
   */
  send(frame: Uint8Array): void;
  /** Resolves when `bufferedBytes` is at or below `maxBufferedBytes`; rejects with TransportError when closed or aborted. */
  drained(maxBufferedBytes: number, signal?: AbortSignal): Promise<void>;
  /**
   * The next frame, in order; a frame that arrives before the call waits for it. Frames received before a close are still delivered;
   * then it rejects with TransportError `closed` or `lost`. Only one call may wait at a time (`busy`); an aborted call (`aborted`) takes no
   * frame.
   */
  receive(signal?: AbortSignal): Promise<Uint8Array>;
  /** Closes after everything sent has left. Idempotent. */
  close(reason: string): void;
  /** Resolves when the link is closed by either side or lost. Never rejects. */
  readonly closed: Promise<CloseInfo>;
}

/** The host in `Connection.remote`: "127.0.0.1" of "127.0.0.1:4242". A remote without a port is one already. */
export function hostOf(remote: string): string {
  return remote.replace(/:\d+$/, '');
}

export interface Listener {
  /** Where it listens, with the port: "ws://127.0.0.1:7070". */
  readonly address: string;
  /** The next incoming connection; rejects with TransportError `closed` after `close()`. */
  accept(signal?: AbortSignal): Promise<Connection>;
  /** Stops listening and closes every accepted connection that is still open. */
  close(reason: string): Promise<void>;
}
