/**
 * Every limit on what a peer may send, how much it may occupy, and how long it is waited for, in one place. A peer that exceeds one loses its
 * own link or request and nothing else.
 */
export const LIMITS = {
  // Frames and messages.
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

  // Queues.
  /** Bytes queued towards one peer before it counts as stuck. */
  bufferedBytes: 2 * 1024 ** 3,
  /** Bytes received and not yet taken, above which a socket is not read, so that TCP slows the sender. */
  receivedBytes: 64 * 1024 ** 2,
  /** The same for a browser, which cannot stop reading: above it the link is closed. */
  browserReceivedBytes: 512 * 1024 ** 2,
  /** Bytes of updates queued towards one worker before the all-reduce service drops it, at least; else four updates. */
  updateBacklogBytes: 16 * 1024 ** 2,
  /** Updates that a worker retains while a snapshot is on its way; each is as large as the parameters. */
  missedUpdates: 16,
  /** Of a small model it retains more, up to this: a round takes a millisecond, and each lost update costs another snapshot. */
  missedUpdateBytes: 64 * 1024 ** 2,

  // Waits.
  /** Until a new connection must have said hello. */
  helloMs: 10_000,
  /** Until a handshake must be answered; longer than the all-reduce service waits for a ticket, `helloMs`. */
  answerMs: 30_000,
  /** Until a snapshot that was requested must begin to arrive. */
  snapshotMs: 60_000,
  /** A started transfer that makes no progress for this long is broken off. */
  transferIdleMs: 60_000,
  /** How long a contribution waits for its grant before it is refused. */
  grantMs: 2_000,
  /** After close(): a peer that does not answer for this long is cut off. */
  closeMs: 5_000,
  /** A browser's link on which nothing arrived for this long is lost; the coordinator sends a sign of life every 5 s. */
  silenceMs: 20_000,

  // Texts and counts.
  nameLength: 64,
  reasonLength: 500,
  tokenLength: 256,
  /** Workers in one run. */
  workers: 10_000,
  /** Connections at once that have not said hello. */
  unauthenticatedLinks: 256,

  // The largest configuration that a run may have.
  /** B, streams. */
  streams: 32_768,
  /** T, time steps. */
  window: 8_192,
  layers: 16,
  hidden: 16_384,
  embedding: 16_384,
  forgetBias: 100,
  /** V; ids travel as uint16. */
  vocabulary: 65_536,
  rounds: 100_000_000,
  learningRate: 1000,
  clip: 1e9,
  /** A text to train on, in a file or downloaded. */
  corpusBytes: 256 * 1024 ** 2,

  // The coordinator's pages and API.
  /** Body of one request. */
  requestBytes: 16 * 1024,
  /** Until a TLS handshake must be done. */
  tlsHandshakeMs: 10_000,
  /** Dashboards connected at once. */
  viewers: 500,
  /** Of them, those that have not said hello. */
  unauthenticatedViewers: 20,
  viewerHelloMs: 1_000,
  viewerHelloBytes: 4 * 1024,
  /** Bytes queued towards one dashboard before it is sent less. */
  viewerBufferedBytes: 512 * 1024,
  /** Points of one answer of /api/history. */
  historyPoints: 20_000,
  /** Playground requests that wait for their turn. */
  playRequests: 8,
  /** Characters of one answer of the playground, and of its opening. */
  playCharacters: 2_000,
  primeCharacters: 1_000,
  /** Rows of workers that one answer lists. */
  workersShown: 500,
} as const;

export type Limits = { readonly [K in keyof typeof LIMITS]: number };
