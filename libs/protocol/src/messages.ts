/**
 * One schema for each message. A message may carry a body of raw bytes (little-endian), which
 * follows it in chunk frames (see channel.ts). There are two conversations: control (worker <->
 * coordinator) and reduce (worker <-> all-reduce service <-> coordinator).
 */
import { GRADIENT_CODECS, LIMITS, TrainingConfigSchema } from '@troupe/config';
import * as v from 'valibot';

/** Incremented when a message or frame changes incompatibly. */
export const PROTOCOL_VERSION = 13;

const text = (length: number) => v.pipe(v.string(), v.maxLength(length));
const id = v.pipe(v.string(), v.regex(/^[\w-]{1,64}$/));
const count = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
const finite = v.pipe(v.number(), v.finite());
const positive = v.pipe(finite, v.minValue(0));
const digest = v.pipe(v.string(), v.regex(/^[0-9a-f]{16}$/));
const reason = text(LIMITS.reasonLength);
const streamIds = v.pipe(v.array(v.pipe(count, v.maxValue(LIMITS.streams - 1))), v.minLength(1), v.maxLength(LIMITS.streams));
const segment = v.pipe(count, v.maxValue(LIMITS.segments));
/** A range of the parameters: the segments [from, to), by their index in layout order. See `segmentsOf` in libs/collective. */
const range = { from: segment, to: segment };
/** Of a snapshot: `bytes` from `offset` on. */
const piece = { round: count, offset: count, bytes: v.pipe(count, v.maxValue(LIMITS.snapshotPieceBytes)) };
const address = text(LIMITS.addressLength);
const reducerAddresses = v.pipe(v.array(v.pipe(address, v.minLength(1))), v.maxLength(LIMITS.reducerAddresses));
/** The ranges of all parameters, one after the other; each ends before segment `to`. */
const ranges = v.pipe(
  v.array(v.strictObject({ to: segment, /** Who sums it; empty: the service. */ reducer: v.union([id, v.literal('')]) })),
  v.maxLength(LIMITS.reducers),
);
const versions = v.pipe(v.array(count), v.minLength(1), v.maxLength(16));

// ---- control: worker -> coordinator

export const HelloSchema = v.strictObject({
  type: v.literal('hello'),
  /** Protocol versions the worker speaks. */
  versions,
  token: text(LIMITS.tokenLength),
  /** Chosen by the user. The dashboard shows it as plain text. */
  name: text(LIMITS.nameLength),
  kind: v.picklist(['node', 'browser']),
  /** What this worker computes is credited to its name, for everyone who sees the run. Otherwise it counts as anonymous. */
  credited: v.boolean(),
  /** Credited with the name; empty: none. */
  team: text(LIMITS.nameLength),
});

/** The replica has these parameters at `round`, and the worker accepts leases. */
export const ReadySchema = v.strictObject({
  type: v.literal('ready'),
  round: count,
  layoutHash: digest,
  parametersDigest: digest,
  /** "wasm relaxed-simd". */
  engine: text(LIMITS.nameLength),
  /** The device that computes: "cpu, 2 threads", or the name of a GPU. */
  device: text(LIMITS.nameLength),
  /** Measured on this machine with this model; 0 = not measured. */
  charsPerSecond: positive,
});

/**
 * Why a worker returns a lease uncomputed. `not_finite`: loss or gradient overflowed · `engine`:
 * the engine failed · `no_state`: the worker does not hold a hidden state that the lease relies on
 * · `paused`: the volunteer paused · `cancelled`: the coordinator cancelled the lease before it was
 * computed · `dropped`: it was computed, but its streams had been counted by then, so the result was
 * not sent.
 */
export const DECLINE_CODES = ['not_finite', 'engine', 'no_state', 'paused', 'cancelled', 'dropped'] as const;
export type DeclineCode = (typeof DECLINE_CODES)[number];

/** Whether a worker returned the lease because its streams had been counted: that is no fault. */
export function isOvertaken(code: DeclineCode): boolean {
  return code === 'cancelled' || code === 'dropped';
}

export const DeclineSchema = v.strictObject({
  type: v.literal('decline'),
  leaseId: id,
  round: count,
  code: v.picklist(DECLINE_CODES),
  reason,
});

/**
 * How many steps of a local lease the worker has taken, which is less than all. It says so at most every LIMITS.progressMs, so that a lease
 * may take minutes and a worker that stops is found sooner.
 */
export const ProgressSchema = v.strictObject({
  type: v.literal('progress'),
  leaseId: id,
  steps: v.pipe(count, v.minValue(1), v.maxValue(LIMITS.localSteps - 1)),
});

/**
 * Asks for a snapshot, because the replica missed an update or differs. The snapshot must not be
 * older than `round`: the worker will not receive the updates of earlier rounds.
 */
export const ResyncSchema = v.strictObject({
  type: v.literal('resync'),
  reason,
  round: count,
  /** Whether the worker can take the snapshot from other workers and check it; see `sources`. */
  fromPeers: v.boolean(),
});

/** Answers `seed`: whether the worker keeps the snapshot of this round. */
export const SeededSchema = v.strictObject({ type: v.literal('seeded'), round: count, kept: v.boolean() });

/** The worker leaves by its own decision. */
export const ByeSchema = v.strictObject({ type: v.literal('bye'), reason });

// ---- control: coordinator -> worker

export const WelcomeSchema = v.strictObject({
  type: v.literal('welcome'),
  version: count,
  runId: id,
  workerId: id,
  config: TrainingConfigSchema,
  layoutHash: digest,
  /**
   * Address of the all-reduce service. A path ("/reduce") refers to the host at which the worker
   * reached the coordinator.
   */
  reduceAddress: address,
  /** Admits only this worker to the all-reduce service. */
  ticket: text(LIMITS.tokenLength),
});

export const RefuseSchema = v.strictObject({ type: v.literal('refuse'), code: text(64), message: reason, remedy: reason });

/** The snapshot that the worker waits for comes later, because others are served first. */
export const QueuedSchema = v.strictObject({
  type: v.literal('queued'),
  /** Workers that wait before this one. */
  ahead: count,
});

/** Body: parameters float32 [P], then the optimizer state (see `optimizerStateBytes` in libs/optim). */
export const SnapshotSchema = v.strictObject({
  type: v.literal('snapshot'),
  /** The round to compute next with these parameters. */
  round: count,
  parametersDigest: digest,
});

/**
 * Asks a worker that sums for others to keep a copy of its replica as it is before this round, which others may then take from it in
 * pieces; or, with `wanted` false, to keep none. The worker answers the former with `seeded`.
 */
export const SeedSchema = v.strictObject({ type: v.literal('seed'), round: count, wanted: v.boolean() });

/**
 * The snapshot that the worker waits for is at other workers: it takes the pieces from those to which it has links. If that fails, it
 * sends `resync` again. Body: the SHA-256 of each piece, 32 bytes each; all pieces but the last have LIMITS.snapshotPieceBytes.
 */
export const SourcesSchema = v.strictObject({
  type: v.literal('sources'),
  round: count,
  parametersDigest: digest,
  /** Workers that keep it. */
  workers: v.pipe(v.array(id), v.minLength(1), v.maxLength(LIMITS.seeds)),
});

/** Lends streams for one round. Body: see lease-body.ts. */
export const LeaseSchema = v.strictObject({
  type: v.literal('lease'),
  leaseId: id,
  round: count,
  streams: streamIds,
  /**
   * One letter per stream: the source of its hidden state before the window. `z`: zeros (the stream
   * starts or wraps around) · `h`: held by this worker from the previous round · `g`: given in the
   * body.
   */
  states: v.pipe(v.string(), v.regex(/^[zhg]+$/), v.maxLength(LIMITS.streams)),
  /** Time in ms that the coordinator waits before it also lends the streams to another worker. */
  deadlineMs: positive,
  /** In a local round, what the steps of the track depend on besides the body. */
  local: v.optional(
    v.strictObject({
      /** Maximum norm of the mean gradient of a step; 0 = none. */
      clip: v.pipe(v.number(), v.minValue(0), v.maxValue(LIMITS.clip)),
      /** The streams start over before this step, with states of zero. */
      wrapStep: v.optional(v.pipe(count, v.minValue(1), v.maxValue(LIMITS.localSteps - 1))),
    }),
  ),
});

/** The streams of this lease have been counted, so its result is no longer needed. */
export const CancelSchema = v.strictObject({ type: v.literal('cancel'), leaseId: id });

/** For people: the worker gets no leases and no updates, and why. `subscription` makes it so. */
export const ParkedSchema = v.strictObject({ type: v.literal('parked'), reason });

/**
 * Why a worker must leave. `completed`: all rounds are computed · `stopped`: a person stopped the
 * run before that · `diverged`: loss or gradient overflowed · `dismissed`: the run continues
 * without this worker.
 */
export const STOP_CODES = ['completed', 'stopped', 'diverged', 'dismissed'] as const;
export type StopCode = (typeof STOP_CODES)[number];

/** The run is over, or the worker is dismissed. The connection then closes. */
export const StopSchema = v.strictObject({ type: v.literal('stop'), code: v.picklist(STOP_CODES), reason });

// ---- reduce: worker -> service or reducer

export const JoinSchema = v.strictObject({
  type: v.literal('join'),
  versions,
  runId: id,
  workerId: id,
  ticket: text(LIMITS.tokenLength),
});

/**
 * A range of a coded gradient sum. It goes where the range is summed, or to the service, which passes it on. Body: the segments of the
 * range, the last one first.
 */
export const GradientRangeSchema = v.strictObject({
  type: v.literal('gradientRange'),
  round: count,
  leaseId: id,
  ...range,
});

// ---- reduce: worker -> worker that sums

/** Asks for a part of the snapshot that the other worker keeps. */
export const WantPieceSchema = v.strictObject({ type: v.literal('wantPiece'), ...piece });

/** Body: the bytes of the snapshot from `offset` on. With `bytes` 0: the worker does not keep it, or has sent enough of it. */
export const PieceSchema = v.strictObject({ type: v.literal('piece'), ...piece });

// ---- reduce: worker -> service

/**
 * Completes a contribution. The ranges of its gradient that go to the service come before it. Body: end states float32
 * [streams, L, S, H].
 */
export const ContributionSchema = v.strictObject({
  type: v.literal('contribution'),
  runId: id,
  round: count,
  leaseId: id,
  streams: streamIds,
  /** Characters: streams * T. */
  tokens: count,
  /** Nats, summed over the tokens. */
  lossSum: positive,
  /** Digest of the parameters that the gradient was computed with. */
  parametersDigest: digest,
  /** Time spent in the engine. */
  computeMs: positive,
});

/**
 * The reducers to which the worker has a link; at first none. It sends their ranges of its gradients to them, and receives their ranges
 * of updates from them.
 */
export const LinkedSchema = v.strictObject({
  type: v.literal('linked'),
  reducers: v.pipe(v.array(id), v.maxLength(LIMITS.reducers + LIMITS.peers)),
});

/** Asks for another `reducer` message: the link to it is lost, or could not be opened, and a ticket admits one link. */
export const IntroduceSchema = v.strictObject({ type: v.literal('introduce'), reducer: id });

/** A reducer did not send its range of the update of this round, or not all of it. */
export const LackingSchema = v.strictObject({ type: v.literal('lacking'), round: count, ...range });

/**
 * What the worker received from reducers of the update of this round. Sent when its parameters turn out to differ, so that a reducer is
 * found that sends others than it sends to the service.
 */
export const ReceivedSchema = v.strictObject({
  type: v.literal('received'),
  round: count,
  ranges: v.pipe(v.array(v.strictObject({ ...range, digest })), v.maxLength(LIMITS.reducers)),
});

/**
 * A signal of a WebRTC link between a worker and a reducer, which the service passes on: it comes with the id of the one it is for, and
 * leaves with that of its sender.
 */
export const SignalSchema = v.strictObject({
  type: v.literal('signal'),
  peer: id,
  /** Of this worker's links to this reducer, numbered by the worker. A later one replaces those before it. */
  link: count,
  /** JSON; see `Signal` in libs/transport. */
  signal: text(2 * LIMITS.signalBytes),
});

/** First message of a link whose worker sums ranges for the others. The service answers with `assign`. */
export const OfferSchema = v.strictObject({
  type: v.literal('offer'),
  versions,
  runId: id,
  workerId: id,
  /** That of `join`. */
  ticket: text(LIMITS.tokenLength),
  /**
   * Where it waits for the links of other workers. An address ":7072" is a port of the machine from which this link comes; "rtc:" stands for
   * WebRTC.
   */
  addresses: v.pipe(reducerAddresses, v.minLength(1)),
});

// ---- reduce: service -> worker

/** The worker receives the updates of `round` and of all later rounds. */
export const JoinedSchema = v.strictObject({
  type: v.literal('joined'),
  version: count,
  round: count,
  /** Of this round. None in the answer of a reducer. */
  ranges,
});

/** How the parameters are divided from this round on, and who sums what. It comes before the update of the round before. */
export const PartitionSchema = v.strictObject({ type: v.literal('partition'), round: count, ranges });

/** A reducer that the worker may link to; or, without an address, one that is lost: the service sums its ranges. */
export const ReducerSchema = v.strictObject({
  type: v.literal('reducer'),
  reducer: id,
  /** As in `offer`; an address ":7072" is a port of the machine at which the worker reached the service. */
  addresses: reducerAddresses,
  /** Admits one link of this worker to this reducer. */
  ticket: text(LIMITS.tokenLength),
  /** When it is lost, the worker sends its ranges of the contributions to this round, and to later ones, once more, to the service. */
  round: count,
});

/** For the WebRTC links that this worker opens or answers from now on. Credentials are good for minutes, so they come with each introduction. */
export const IceServersSchema = v.strictObject({
  type: v.literal('iceServers'),
  servers: v.pipe(
    v.array(
      v.strictObject({
        urls: v.pipe(v.array(address), v.minLength(1), v.maxLength(LIMITS.iceUrls)),
        /** Both empty: the server asks for none. */
        username: text(LIMITS.tokenLength),
        credential: text(LIMITS.tokenLength),
      }),
    ),
    v.maxLength(LIMITS.iceServers),
  ),
});

/**
 * The worker receives no more updates; or again, those of `round` and of all later rounds. It comes
 * in order with the updates.
 */
export const SubscriptionSchema = v.strictObject({ type: v.literal('subscription'), wanted: v.boolean(), round: count });

export const CONTRIBUTION_REFUSALS = [
  'wrong_run',
  'wrong_round',
  'unknown_lease',
  'already_counted',
  'wrong_tokens',
  'incomplete',
  'not_finite',
  'replica_diverged',
  'implausible',
  'audit_failed',
  'not_audited',
] as const;
export type ContributionRefusal = (typeof CONTRIBUTION_REFUSALS)[number];

/** Whether a contribution does not count because others were faster, or because nobody could audit it: that is no fault. */
export function isLostRace(result: ContributionRefusal | 'counted'): boolean {
  return result === 'already_counted' || result === 'wrong_round' || result === 'not_audited';
}

export const ContributionResultSchema = v.strictObject({
  type: v.literal('contributionResult'),
  leaseId: id,
  round: count,
  result: v.picklist(['counted', ...CONTRIBUTION_REFUSALS]),
  reason,
});

/** The clipped mean gradient of a round, sent to workers and to the coordinator. Its ranges follow. */
export const UpdateSchema = v.strictObject({
  type: v.literal('update'),
  runId: id,
  round: count,
  learningRate: positive,
  /** Number of characters in the mean. */
  tokens: count,
  /** Nats, summed. */
  lossSum: positive,
  /** Global L2 norm of the mean gradient before clipping. */
  gradientNorm: positive,
  /** Factor applied to the mean: min(1, clip / gradientNorm). */
  clipScale: positive,
  /** The ranges that the service sends, in this order. The others come from their reducers. */
  ranges: v.pipe(v.array(v.strictObject(range)), v.maxLength(LIMITS.reducers)),
});

/** A range of the update of a round, from the service or a reducer. Body: its coded segments. */
export const UpdateRangeSchema = v.strictObject({ type: v.literal('updateRange'), round: count, ...range });

// ---- reduce: coordinator -> service

/** Everything that the service knows about a model. It adds vectors and never sees a corpus. */
export const HostSchema = v.strictObject({
  type: v.literal('host'),
  versions,
  /** The secret that the service was started with. */
  token: text(LIMITS.tokenLength),
  runId: id,
  /** The coordinator's process, by a random id: two processes may have runs of the same id. */
  owner: id,
  /** B, streams of a round. */
  streams: v.pipe(count, v.minValue(1), v.maxValue(LIMITS.streams)),
  /** Characters per stream and round: T, or H * T in a local run. */
  window: v.pipe(count, v.minValue(1), v.maxValue(LIMITS.window * LIMITS.localSteps)),
  codec: v.picklist(GRADIENT_CODECS),
  /**
   * Add gradients in the order of their first streams, not in the order of arrival, so that
   * rounding cannot change the sum.
   */
  ordered: v.boolean(),
  /** Number of elements of each tensor in layout order; their sum is P. */
  tensorSizes: v.pipe(v.array(v.pipe(count, v.minValue(1))), v.minLength(1), v.maxLength(1024)),
  /** Floats of end state per stream: L*S*H. */
  stateFloats: v.pipe(count, v.minValue(1)),
  /** No hidden state of the model has a larger magnitude; 0: any may. */
  largestState: positive,
  /** Addresses of services that become reducers of this run. They have the same token. */
  reducers: v.pipe(v.array(address), v.maxLength(LIMITS.reducers)),
});

export const AdmitSchema = v.strictObject({ type: v.literal('admit'), workerId: id, ticket: text(LIMITS.tokenLength) });
/** Whether the worker receives updates from now on. It does when it joins. */
export const SubscribeSchema = v.strictObject({ type: v.literal('subscribe'), workerId: id, wanted: v.boolean() });
/**
 * The workers that sum ranges from the next round on that has not begun, as far as they are there. None: the service does, or reducers of
 * its own.
 */
export const PeersSchema = v.strictObject({
  type: v.literal('peers'),
  /** Those that others shall link to. */
  candidates: v.pipe(v.array(id), v.maxLength(LIMITS.peers)),
  /** Those of them that sum. */
  reducers: v.pipe(v.array(id), v.maxLength(LIMITS.peers)),
});
export const DismissSchema = v.strictObject({ type: v.literal('dismiss'), workerId: id, reason });

/** Opens a round. Contributions already counted for this round or an earlier one are dropped. */
export const OpenRoundSchema = v.strictObject({
  type: v.literal('openRound'),
  round: count,
  learningRate: positive,
  clip: positive,
  parametersDigest: digest,
});

/**
 * What becomes of a contribution. `none`: it counts when it is valid · `copy`: it counts, and the coordinator is sent a copy, to compute
 * the lease again · `hold`: the coordinator is sent a copy, and it counts only once the coordinator says so. A contribution whose norm is above
 * `mostNorm` is held whatever its lease was granted with.
 */
export const AUDIT_MODES = ['none', 'copy', 'hold'] as const;
export type AuditMode = (typeof AUDIT_MODES)[number];

/** Allows `workerId` to contribute for these streams under this lease in this round. */
export const GrantSchema = v.strictObject({
  type: v.literal('grant'),
  round: count,
  leaseId: id,
  workerId: id,
  streams: streamIds,
  audit: v.picklist(AUDIT_MODES),
  /** L2 norm of the gradient sum per character. Absent: any, and it is not measured. */
  mostNorm: v.optional(positive),
});

/**
 * Answers an `audit` of a contribution that is held. `sound`: it counts, unless its streams were counted in the meantime · `wrong`: the
 * coordinator has computed something else · `unknown`: nobody could compute it again.
 */
export const RuleSchema = v.strictObject({
  type: v.literal('rule'),
  round: count,
  leaseId: id,
  workerId: id,
  verdict: v.picklist(['sound', 'wrong', 'unknown']),
  /** For people. */
  reason,
});

// ---- reduce: service -> coordinator

export const HostedSchema = v.strictObject({ type: v.literal('hosted'), version: count });

/** A worker offers to sum ranges, or no longer does, or links to it have opened or ended. */
export const PeerSchema = v.strictObject({
  type: v.literal('peer'),
  workerId: id,
  offered: v.boolean(),
  /** Workers that receive updates, and those of them that have a link to this one. */
  members: count,
  linked: count,
});

/** Updates pile up at the link of the worker, which receives none from here on, as after `subscribe`. */
export const LaggingSchema = v.strictObject({ type: v.literal('lagging'), workerId: id });

/** A contribution that counts. Body: end states float32 [streams, L, S, H]. */
export const CountedSchema = v.strictObject({
  type: v.literal('counted'),
  round: count,
  leaseId: id,
  workerId: id,
  streams: streamIds,
  tokens: count,
  lossSum: positive,
  computeMs: positive,
  /** Time that the service spent on this contribution, and on sending an update to one worker. */
  serviceMs: positive,
  /** L2 norm of the gradient sum per character, if the grant asked for it. */
  norm: v.optional(positive),
});

export const RejectedSchema = v.strictObject({
  type: v.literal('rejected'),
  round: count,
  leaseId: id,
  workerId: id,
  computeMs: positive,
  result: v.picklist(CONTRIBUTION_REFUSALS),
  reason,
});

/**
 * A whole contribution, of a lease that was granted with an audit, or with a norm beyond that of its grant. With `copy` it comes before its
 * `counted`; with `hold`, and with `norm`, the service waits for `rule`. Body: the coded gradient as workers send it, the last segment
 * first, then end states float32 [streams, L, S, H].
 */
export const AuditSchema = v.strictObject({
  type: v.literal('audit'),
  round: count,
  leaseId: id,
  workerId: id,
  streams: streamIds,
  /** Nats, summed over the characters. */
  lossSum: positive,
  computeMs: positive,
  /** Its norm per character, if it is held because of that. */
  norm: v.optional(positive),
});

// ---- reduce: service -> reducer, which also receives admit, dismiss, subscribe, openRound and grant

/** Makes a service, or a worker that offered it, a reducer. */
export const AssignSchema = v.strictObject({
  type: v.literal('assign'),
  versions,
  token: text(LIMITS.tokenLength),
  runId: id,
  owner: id,
  /** Of the host. */
  streams: HostSchema.entries.streams,
  codec: HostSchema.entries.codec,
  tensorSizes: HostSchema.entries.tensorSizes,
});

/** The range that the reducer sums from this round on; an empty one: none any more. */
export const RangeSchema = v.strictObject({ type: v.literal('range'), round: count, ...range });

/** The range of a contribution of a worker that has no link to the reducer. Body: as that of `gradientRange`. */
export const PassedRangeSchema = v.strictObject({
  type: v.literal('passedRange'),
  round: count,
  leaseId: id,
  workerId: id,
  ...range,
});

/** The contribution counts: its range is added to the sum, after those named before. */
export const AddSchema = v.strictObject({
  type: v.literal('add'),
  round: count,
  /** Contributions of this round that were added before. */
  index: count,
  leaseId: id,
  workerId: id,
  /** The sum is then complete. */
  last: v.boolean(),
});

/** The contribution does not count: what is held of it is not needed. */
export const DropSchema = v.strictObject({ type: v.literal('drop'), round: count, leaseId: id, workerId: id });

/** The coordinator shall have a copy of the contribution, although its lease was granted without an audit. Answered with `copied`. */
export const CopySchema = v.strictObject({ type: v.literal('copy'), round: count, leaseId: id, workerId: id });

/** The factor of the mean is known: the range of the update is float32(sum * factor). It is sent to workers and to the service. */
export const FinishSchema = v.strictObject({ type: v.literal('finish'), round: count, factor: positive });

// ---- reduce: reducer -> service

export const AssignedSchema = v.strictObject({ type: v.literal('assigned'), version: count });

/** The range of a contribution has arrived. */
export const HeldSchema = v.strictObject({
  type: v.literal('held'),
  round: count,
  leaseId: id,
  workerId: id,
  /** What is wrong with it: it must then not count. Empty: nothing. */
  defect: reason,
  /** Time that the reducer spends on a contribution, and on sending its range of an update to one worker. */
  serviceMs: positive,
  /** Sum of x^2 of the range, if the grant names a norm. */
  squares: v.optional(positive),
});

/** Comes before `held` if the lease was granted with an audit, or answers `copy`. Body: the range as it arrived. */
export const CopiedSchema = v.strictObject({ type: v.literal('copied'), round: count, leaseId: id, workerId: id, ...range });

/** The sum is complete. Body: the sum of x^2 of each segment, float64. */
export const MeasuredSchema = v.strictObject({ type: v.literal('measured'), round: count, ...range });

export const MESSAGE_SCHEMAS = {
  hello: HelloSchema,
  ready: ReadySchema,
  decline: DeclineSchema,
  progress: ProgressSchema,
  resync: ResyncSchema,
  seeded: SeededSchema,
  bye: ByeSchema,
  welcome: WelcomeSchema,
  refuse: RefuseSchema,
  queued: QueuedSchema,
  snapshot: SnapshotSchema,
  seed: SeedSchema,
  sources: SourcesSchema,
  lease: LeaseSchema,
  cancel: CancelSchema,
  parked: ParkedSchema,
  stop: StopSchema,
  join: JoinSchema,
  gradientRange: GradientRangeSchema,
  wantPiece: WantPieceSchema,
  piece: PieceSchema,
  contribution: ContributionSchema,
  linked: LinkedSchema,
  introduce: IntroduceSchema,
  received: ReceivedSchema,
  signal: SignalSchema,
  offer: OfferSchema,
  lacking: LackingSchema,
  joined: JoinedSchema,
  partition: PartitionSchema,
  subscription: SubscriptionSchema,
  contributionResult: ContributionResultSchema,
  reducer: ReducerSchema,
  iceServers: IceServersSchema,
  update: UpdateSchema,
  updateRange: UpdateRangeSchema,
  host: HostSchema,
  admit: AdmitSchema,
  subscribe: SubscribeSchema,
  dismiss: DismissSchema,
  peers: PeersSchema,
  openRound: OpenRoundSchema,
  grant: GrantSchema,
  rule: RuleSchema,
  hosted: HostedSchema,
  peer: PeerSchema,
  lagging: LaggingSchema,
  counted: CountedSchema,
  rejected: RejectedSchema,
  audit: AuditSchema,
  assign: AssignSchema,
  assigned: AssignedSchema,
  range: RangeSchema,
  passedRange: PassedRangeSchema,
  add: AddSchema,
  drop: DropSchema,
  copy: CopySchema,
  finish: FinishSchema,
  copied: CopiedSchema,
  held: HeldSchema,
  measured: MeasuredSchema,
} as const;

export type MessageType = keyof typeof MESSAGE_SCHEMAS;
export type MessageOf<K extends MessageType> = v.InferOutput<(typeof MESSAGE_SCHEMAS)[K]>;
export type Message = { [K in MessageType]: MessageOf<K> }[MessageType];
