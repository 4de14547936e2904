import { CONFIG_LIMITS } from '@troupe/config';

/** Every limit on what a peer may send, in one place. */
export const LIMITS = {
  /** One frame on the wire. WebRTC data channels carry no more. */
  frameBytes: 256 * 1024,
  /**
   * Body bytes in one chunk that this side writes. Smaller than a frame may be: sockets hand over 64 KiB at a time, and a frame that
   * lies within one such piece is read without copying.
   */
  chunkBytes: 32 * 1024,
  /** One message's msgpack; fits in one frame, and holds a lease of every stream there can be. */
  messageBytes: 192 * 1024,
  /** The body attached to one message: gradients, snapshots. 1 GiB. */
  bodyBytes: 1024 ** 3,
  /** Transfers that a peer may have half sent at once. */
  transfersInFlight: 4,
  /** Bytes queued towards one peer before it counts as stuck. */
  bufferedBytes: 2 * 1024 ** 3,
  /** Until a new connection must have said hello. */
  helloMs: 10_000,
  /** Until a handshake must be answered; longer than the all-reduce service waits for a ticket, `helloMs`. */
  answerMs: 30_000,
  /** Until a snapshot that was asked for must begin to arrive. */
  snapshotMs: 60_000,
  /** A started transfer that makes no progress for this long is broken off. */
  transferIdleMs: 60_000,
  nameLength: 64,
  reasonLength: 500,
  tokenLength: 256,
  /** Workers in one run. */
  workers: 10_000,
  ...CONFIG_LIMITS,
} as const;

export type Limits = { readonly [K in keyof typeof LIMITS]: number };
