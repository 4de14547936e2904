/**
 * Every limit on what a peer may send, how much it may occupy and how long others wait for it. A peer
 * that exceeds a limit loses its own link or request and nothing else. Code that pages use imports
 * this file alone, as `@troupe/config/limits`: the rest of the library brings the validator with it.
 */
export const LIMITS = {
  // Frames and messages.
  /** One frame. WebRTC data channels carry no larger messages. */
  frameBytes: 256 * 1024,
  /**
   * Body bytes in one chunk that this side writes. Smaller than the largest frame: sockets deliver
   * 64 KiB at a time, and a frame within one such piece is read without copying.
   */
  chunkBytes: 32 * 1024,
  /** The msgpack of one message. It fits into one frame, and a lease of all streams fits into it. */
  messageBytes: 192 * 1024,
  /** Entries of all maps and arrays of one message. A lease names all streams. */
  messageItems: 40_000,
  /** The first frame of a link on which nobody has been admitted, except that of a coordinator or reducer: it names addresses. */
  firstFrameBytes: 4 * 1024,
  /** Entries of all maps and arrays of the first message. */
  firstMessageItems: 1_024,
  /** The body of one message, such as a gradient or a snapshot: 1 GiB. */
  bodyBytes: 1024 ** 3,
  /** Incomplete transfers of one peer at a time. */
  transfersInFlight: 4,
  /** Messages of one peer that begin between the chunks of another, of which the reader takes one after the other. */
  messagesAhead: 256,

  // Queues.
  /** Bytes queued for one peer before it counts as stuck. */
  bufferedBytes: 2 * 1024 ** 3,
  /**
   * Bytes queued for all peers of a process together before the one with most of them is disconnected.
   * Frames that many peers share do not count: other limits bound how many of them are queued.
   */
  queuedBytes: 512 * 1024 ** 2,
  /** Unread bytes above which a socket is paused, so that TCP slows the sender. */
  receivedBytes: 64 * 1024 ** 2,
  /** Unread bytes in a browser, which cannot pause a socket: above this the link is closed. */
  browserReceivedBytes: 512 * 1024 ** 2,
  /**
   * Bytes of updates queued for one worker before the all-reduce service drops it. If four updates are
   * larger, they are the limit.
   */
  updateBacklogBytes: 16 * 1024 ** 2,
  /**
   * A worker whose link is too slow for a run rests for this long, and twice as long each further time up to the most: each attempt costs a
   * snapshot. Without another for the longest rest, it is forgotten.
   */
  slowLinkRestMs: 60_000,
  slowLinkMostRestMs: 3_600_000,
  /** Bytes queued for a reducer above which the service reads no more ranges for it from workers. */
  passedBytes: 8 * 1024 ** 2,
  /** Snapshots in memory at a time. Workers that begin to receive around the same round share one. */
  snapshots: 2,
  /** Workers that are sent a snapshot at a time. One whose turn is over is still sent the rest, and no longer counts. */
  snapshotLinks: 4,
  snapshotTurnMs: 10_000,
  /**
   * When no snapshot fits a worker and no more may be held, the oldest makes way if its transfers have taken
   * longer than this. If nobody computes, they only have `snapshotTurnMs`: the run stands still.
   */
  snapshotYieldMs: 60_000,
  /** Time for a whole snapshot, however steadily the worker reads. */
  snapshotTransferMs: 600_000,
  /** A snapshot is sent in pieces of this size; the next follows when at most this much is queued for the worker. */
  snapshotPieceBytes: 256 * 1024,
  /** Other workers are asked to seed a snapshot once this many wait for a turn: it costs each seed a copy. */
  seedCrowd: 2,
  /** Workers that seed a snapshot at a time. */
  seeds: 8,
  /** Time for the seeds to answer, from the round of the snapshot on. */
  seedAnswerMs: 1_000,
  /** Seeds keep the snapshot this long at least, for those that come a little later. */
  seedMs: 10_000,
  /** A seed sends one worker at most this many times the bytes of the snapshot. */
  seedShares: 2,
  /** Time for one piece to arrive from a seed. */
  pieceMs: 15_000,
  /** Updates that a worker retains while it waits for a snapshot. Each is as large as the parameters. */
  missedUpdates: 16,
  /**
   * For a small model it retains more updates, up to this many bytes: a round takes a millisecond, and
   * each lost update costs another snapshot.
   */
  missedUpdateBytes: 64 * 1024 ** 2,

  // Messages of one worker that nobody asked for. Those beyond are read later; answers to leases and rounds come on top.
  /** To the coordinator at once, and a second. */
  controlBurst: 256,
  controlPerSecond: 20,
  /** Of a worker to the coordinator for each lease: a decline, and a message because of it. */
  controlPerLease: 2,
  /** To the all-reduce service or a reducer at once, and a second. */
  reduceBurst: 4_096,
  reducePerSecond: 500,
  /** To the service for each lease and round, and for each of their ranges. */
  reducePerRange: 4,
  /** Unread bytes of a worker's link to the coordinator above which its socket is paused: all of its messages are small. */
  unreadControlBytes: 256 * 1024,
  /** What an unread frame takes besides its bytes. */
  frameOverheadBytes: 256,
  /** How long, and for how many rounds, the service sends updates to a worker of which the coordinator has not heard. */
  unconfirmedMs: 1_000,
  unconfirmedRounds: 16,

  // Waits.
  /** Time for a new connection to send its hello. */
  helloMs: 10_000,
  /** Time to answer a handshake. Longer than `helloMs`, for which the all-reduce service waits for a ticket. */
  answerMs: 30_000,
  /** Time until a requested snapshot, or word that others come first, must begin to arrive. */
  snapshotMs: 60_000,
  /** How often a worker says how far it is with a lease. */
  progressMs: 2_000,
  /** How often workers that wait for a snapshot are told that others come first. */
  queuedMs: 20_000,
  /** A started transfer without progress for this long is aborted; but not one of a gradient, which leaves while it is computed. */
  transferIdleMs: 60_000,
  /** Time that a contribution waits for its grant before it is refused. */
  grantMs: 2_000,
  /** Time to reach a reducer. */
  reducerMs: 5_000,
  /** A reducer that owes an answer, and sends less than `reducerStallBytes` of it in this time, is no longer used. */
  reducerStallMs: 15_000,
  reducerStallBytes: 64 * 1024,
  /** Between two introductions of a worker to a reducer, and between two offers of a worker to sum. */
  introduceMs: 500,
  /**
   * Time in which the service must have the range of a lost reducer once more from the workers. Then the coordinator opens the
   * round again.
   */
  repeatMs: 10_000,
  /** After close(), a peer that does not answer for this long is disconnected. */
  closeMs: 5_000,
  /**
   * A browser's link counts as lost when nothing has arrived for this long. The coordinator sends a
   * sign of life every 5 s.
   */
  silenceMs: 20_000,

  // WebRTC links.
  /** The text of one offer or answer (SDP). With all of its candidates it has about 4 KiB. */
  signalBytes: 16 * 1024,
  /** The text of one ICE candidate. */
  candidateLength: 512,
  /** Signals from the other side until the link is open, and again until an ICE restart has succeeded. */
  signalsPerLink: 256,
  /** What the all-reduce service passes on for one worker in `signalWindowMs`: signals, and their characters. The rest is dropped. */
  signalsPerWorker: 2_048,
  signalCharacters: 4 * 1024 ** 2,
  signalWindowMs: 10_000,
  /** Links that a worker answers at a time. */
  rtcAnswers: 32,
  /** STUN and TURN servers, and addresses of one of them. */
  iceServers: 4,
  iceUrls: 4,
  /** Time to open a link, with its signalling. */
  rtcConnectMs: 15_000,
  /** Time for which TURN credentials are valid. They only have to last until a link has its relay. */
  turnCredentialsS: 600,

  // Texts and counts.
  nameLength: 64,
  /** Of a name and of a team in the credits of a run, in characters. */
  creditNameLength: 40,
  /** Names in the credits of a run; the smallest make room for new ones, and count as anonymous. */
  creditedNames: 10_000,
  /** Names in one entry of the history, and names and teams in one response. */
  creditsInEntry: 500,
  creditsShown: 100,
  reasonLength: 500,
  tokenLength: 256,
  /** Rounds whose leases a worker keeps for later, or has not handled yet. An honest coordinator is at most two ahead. */
  leaseRoundsAhead: 4,
  /** A shorter token that other machines can try is guessed. */
  shortestOpenToken: 12,
  /** Wrong tokens of one address that are refused at once; later ones are refused after `wrongTokenMs` each. */
  wrongTokensAtOnce: 10,
  wrongTokenMs: 1_000,
  /** Without another, those of an address are forgotten. */
  wrongTokensForgottenMs: 600_000,
  /** Addresses whose wrong tokens are counted. */
  wrongTokenAddresses: 4_096,
  /** Workers that have left, of which it is known who they were, in case that one is found to have lied. */
  rememberedWorkers: 4_096,
  /** Bans of one run. */
  bans: 4_096,
  /** Workers in one run. */
  workers: 10_000,
  /** Connections at a time that have not sent a hello. */
  unauthenticatedLinks: 256,

  // What one address, and one signed token, may have open and send; `--cap-scale` multiplies it. A school may be behind one address, so the
  // caps are above what 2,000 workers need, and below what keeps all others out.
  /** Links at a time: two for each of 2,048 workers. The server has room for five times as many. */
  cappedLinks: 4_096,
  /** Links opened in a window: all of them three times, as when the coordinator restarts twice. */
  cappedOpenings: 12_288,
  /** Frames in a window: 100,000 a second, about what one coordinator can take in from all. */
  cappedFrames: 6_000_000,
  /** Bytes in a window: what a network of 10 Gbit/s carries. */
  cappedBytes: 75e9,
  /** Leases in a window: 50,000 a second. */
  cappedLeases: 3_000_000,
  /** Sockets for each link that an address may have: a page that is opened loads its files over several. */
  cappedSocketsPerLink: 2,
  capWindowMs: 60_000,
  /** Addresses and tokens whose counts are kept although they have no link open. */
  cappedIdle: 65_536,

  /** Ranges that a run's parameters are cut into, each with a reducer. */
  reducers: 64,
  /** Workers that sum ranges for the others: each has a link to each. */
  peers: 16,
  /** Addresses of one reducer: for WebSockets and for WebRTC. */
  reducerAddresses: 4,
  /** Segments of a run's parameters: as many as the largest body holds, and one for each tensor. */
  segments: 65_536,
  addressLength: 2_048,

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
  /** H. */
  localSteps: 1_024,
  /** All windows of a run; numbers of windows are keys of random numbers, which have 32 bits. */
  windows: 4_000_000_000,
  learningRate: 1000,
  outerLearningRate: 10,
  clip: 1e9,
  /** The text to train on, decompressed. Its ids are kept in memory. */
  corpusBytes: 2 * 1024 ** 3,
  /** A named text that is downloaded. */
  downloadBytes: 256 * 1024 ** 2,

  // The coordinator's pages and API.
  /** Body of one request. */
  requestBytes: 16 * 1024,
  /** Time to complete a TLS handshake. */
  tlsHandshakeMs: 10_000,
  /** Dashboards connected at a time. */
  viewers: 500,
  /** How many of them only admins may have. */
  viewersKeptForAdmins: 50,
  /** Dashboards of one address, without those of admins: of a school, for example. */
  viewersOfAddress: 100,
  /** Dashboards of one address that have not been admitted. */
  unauthenticatedViewers: 20,
  viewerHelloMs: 1_000,
  viewerHelloBytes: 4 * 1024,
  /** A dashboard that was refused, or told that the run is over, and does not close for this long is disconnected. */
  viewerCloseMs: 2_000,
  /** Bytes queued for one dashboard before it is sent fewer messages. */
  viewerBufferedBytes: 512 * 1024,
  /** Points in one response of /api/history. */
  historyPoints: 20_000,
  /** The same for a reader without the admin token, and the default. */
  viewerHistoryPoints: 2_000,
  /** Playground requests that wait. */
  playRequests: 8,
  /** Characters in one answer of the playground, and in its opening. */
  playCharacters: 2_000,
  primeCharacters: 1_000,
  /** Downloads of a model at the same time, and bytes of the weights of one that the coordinator makes files of. */
  modelDownloads: 16,
  modelWeightBytes: 64 * 1024 ** 2,
  /** Bytes of finished files that are kept for the next downloads. */
  modelCacheBytes: 64 * 1024 ** 2,
  /** Making one of them must not take longer. */
  modelMakingMs: 120_000,
  /** Of those downloads, how many go to one address. */
  modelDownloadsPerAddress: 4,
  /** A reader of a large file that takes fewer bytes in such a time is cut off: 32 KiB/s. */
  downloadFloorBytes: 640 * 1024,
  downloadWindowMs: 20_000,
  /** A reader of any other answer that takes nothing for this long is cut off. */
  responseStalledMs: 60_000,
  /** Notifications (--notify) that wait, attempts to send one in a minute, and the time for an answer. */
  noticesWaiting: 20,
  noticesPerMinute: 10,
  noticeMs: 10_000,
  /** Rows of workers in one response. */
  workersShown: 500,
} as const;

export type Limits = { readonly [K in keyof typeof LIMITS]: number };
