/**
 * Every message, one schema each. A message may carry a body of raw bytes (little-endian), which travels behind it in chunk
 * frames (see channel.ts). Two conversations use them: control (worker <-> coordinator) and reduce (worker <-> all-reduce
 * service <-> coordinator).
 */
import { GRADIENT_CODECS, TrainingConfigSchema } from '@troupe/config';
import * as v from 'valibot';
import { LIMITS } from '@troupe/config';

/** Raised when a message or frame changes incompatibly. */
export const PROTOCOL_VERSION = 4;

const text = (length: number) => v.pipe(v.string(), v.maxLength(length));
const id = v.pipe(v.string(), v.regex(/^[\w-]{1,64}$/));
const count = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
const finite = v.pipe(v.number(), v.finite());
const positive = v.pipe(finite, v.minValue(0));
const digest = v.pipe(v.string(), v.regex(/^[0-9a-f]{16}$/));
const reason = text(LIMITS.reasonLength);
const streamIds = v.pipe(v.array(v.pipe(count, v.maxValue(LIMITS.streams - 1))), v.minLength(1), v.maxLength(LIMITS.streams));
const versions = v.pipe(v.array(count), v.minLength(1), v.maxLength(16));

// ---- control: worker -> coordinator

export const HelloSchema = v.strictObject({
  type: v.literal('hello'),
  /** Protocol versions the worker speaks. */
  versions,
  token: text(LIMITS.tokenLength),
  /** Chosen by the person; shown on the dashboard as plain text. */
  name: text(LIMITS.nameLength),
  kind: v.picklist(['node', 'browser']),
});

/** The replica stands at `round` with these parameters, and leases are welcome. */
export const ReadySchema = v.strictObject({
  type: v.literal('ready'),
  round: count,
  layoutHash: digest,
  parametersDigest: digest,
  /** "wasm relaxed-simd". */
  engine: text(LIMITS.nameLength),
  /** Where it computes: "cpu, 2 threads", the name of a GPU. */
  device: text(LIMITS.nameLength),
  /** Measured on this machine with this model; 0 = not measured. */
  charsPerSecond: positive,
});

/** Why a lease comes back uncomputed. `not_finite`: loss or gradient overflowed; `engine`: the engine failed; `no_state`: a hidden state said to be held is not; `paused`: the volunteer paused. */
export const DECLINE_CODES = ['not_finite', 'engine', 'no_state', 'paused'] as const;
export type DeclineCode = (typeof DECLINE_CODES)[number];

export const DeclineSchema = v.strictObject({
  type: v.literal('decline'),
  leaseId: id,
  round: count,
  code: v.picklist(DECLINE_CODES),
  reason,
});

/** The replica missed an update or differs: send a snapshot. */
export const ResyncSchema = v.strictObject({ type: v.literal('resync'), reason });

/** The worker leaves by its own will. */
export const ByeSchema = v.strictObject({ type: v.literal('bye'), reason });

// ---- control: coordinator -> worker

export const WelcomeSchema = v.strictObject({
  type: v.literal('welcome'),
  version: count,
  runId: id,
  workerId: id,
  config: TrainingConfigSchema,
  layoutHash: digest,
  /** Where the all-reduce service is; a path ("/reduce") means: on the host that the worker reached the coordinator by. */
  reduceAddress: text(2048),
  /** Admits this worker, and no other, to the all-reduce service. */
  ticket: text(LIMITS.tokenLength),
});

export const RefuseSchema = v.strictObject({ type: v.literal('refuse'), code: text(64), message: reason, remedy: reason });

/** Body: parameters float32 [P], then the optimizer's state as `optimizerStateBytes` says (libs/optim). */
export const SnapshotSchema = v.strictObject({
  type: v.literal('snapshot'),
  /** The round these parameters compute next. */
  round: count,
  parametersDigest: digest,
});

/** Streams lent for one round. Body: their tokens and the states `given`, see lease-body.ts. */
export const LeaseSchema = v.strictObject({
  type: v.literal('lease'),
  leaseId: id,
  round: count,
  streams: streamIds,
  /**
   * Where the hidden state before the window comes from, for each stream: `z` zeros (the stream starts or wraps), `h` held by
   * this worker from the round before, `g` given in the body.
   */
  states: v.pipe(v.string(), v.regex(/^[zhg]+$/), v.maxLength(LIMITS.streams)),
  /** Until when the coordinator waits before it lends the streams to someone else as well. */
  deadlineMs: positive,
});

/**
 * Why a worker is told to go. `completed`: all rounds are computed · `stopped`: by a person, before that · `diverged`: loss or gradient
 * overflowed · `dismissed`: the run goes on without this worker.
 */
export const STOP_CODES = ['completed', 'stopped', 'diverged', 'dismissed'] as const;
export type StopCode = (typeof STOP_CODES)[number];

/** The run is over or the worker is dismissed; the connection closes. */
export const StopSchema = v.strictObject({ type: v.literal('stop'), code: v.picklist(STOP_CODES), reason });

// ---- reduce: worker -> service

export const JoinSchema = v.strictObject({
  type: v.literal('join'),
  versions,
  runId: id,
  workerId: id,
  ticket: text(LIMITS.tokenLength),
});

/** Body: see libs/collective, `contributionBytes`: scales, coded gradient sum [P], end states float32 [streams, L, S, H]. */
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
  /** Of the parameters it was computed with. */
  parametersDigest: digest,
  /** Time spent in the engine. */
  computeMs: positive,
});

// ---- reduce: service -> worker

export const JoinedSchema = v.strictObject({ type: v.literal('joined'), version: count });

export const CONTRIBUTION_REFUSALS = [
  'wrong_run',
  'wrong_round',
  'unknown_lease',
  'already_counted',
  'wrong_tokens',
  'wrong_length',
  'not_finite',
  'replica_diverged',
] as const;
export type ContributionRefusal = (typeof CONTRIBUTION_REFUSALS)[number];

export const ContributionResultSchema = v.strictObject({
  type: v.literal('contributionResult'),
  leaseId: id,
  round: count,
  result: v.picklist(['counted', ...CONTRIBUTION_REFUSALS]),
  reason,
});

/** The clipped mean gradient of a round. To workers and to the coordinator. Body: scales, coded gradient [P]. */
export const UpdateSchema = v.strictObject({
  type: v.literal('update'),
  runId: id,
  round: count,
  learningRate: positive,
  /** Characters that the mean is over. */
  tokens: count,
  /** Nats, summed. */
  lossSum: positive,
  /** Global L2 norm of the mean gradient before clipping. */
  gradientNorm: positive,
  /** The mean was multiplied by this: min(1, clip / gradientNorm). */
  clipScale: positive,
});

// ---- reduce: coordinator -> service

/** All that the service knows of a model: it adds vectors and never sees a corpus. */
export const HostSchema = v.strictObject({
  type: v.literal('host'),
  versions,
  /** The secret the service was started with. */
  token: text(LIMITS.tokenLength),
  runId: id,
  /** B, streams of a round. */
  streams: v.pipe(count, v.minValue(1), v.maxValue(LIMITS.streams)),
  /** T, characters per stream and round. */
  window: v.pipe(count, v.minValue(1), v.maxValue(LIMITS.window)),
  codec: v.picklist(GRADIENT_CODECS),
  /** Gradients are added in the order of their first streams, whenever they come: the sum is the same bits also where it rounds. */
  ordered: v.boolean(),
  /** Elements of each tensor in layout order; they sum to P. */
  tensorSizes: v.pipe(v.array(v.pipe(count, v.minValue(1))), v.minLength(1), v.maxLength(1024)),
  /** Floats of end state per stream: L*S*H. */
  stateFloats: v.pipe(count, v.minValue(1)),
});

export const AdmitSchema = v.strictObject({ type: v.literal('admit'), workerId: id, ticket: text(LIMITS.tokenLength) });
export const DismissSchema = v.strictObject({ type: v.literal('dismiss'), workerId: id, reason });

/** A round opens; anything counted for an earlier or the same round is dropped. */
export const OpenRoundSchema = v.strictObject({
  type: v.literal('openRound'),
  round: count,
  learningRate: positive,
  clip: positive,
  parametersDigest: digest,
});

/** `workerId` may contribute for these streams under this lease in this round. */
export const GrantSchema = v.strictObject({
  type: v.literal('grant'),
  round: count,
  leaseId: id,
  workerId: id,
  streams: streamIds,
});

// ---- reduce: service -> coordinator

export const HostedSchema = v.strictObject({ type: v.literal('hosted'), version: count });

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
});

export const RejectedSchema = v.strictObject({
  type: v.literal('rejected'),
  round: count,
  leaseId: id,
  workerId: id,
  result: v.picklist(CONTRIBUTION_REFUSALS),
  reason,
});

export const MESSAGE_SCHEMAS = {
  hello: HelloSchema,
  ready: ReadySchema,
  decline: DeclineSchema,
  resync: ResyncSchema,
  bye: ByeSchema,
  welcome: WelcomeSchema,
  refuse: RefuseSchema,
  snapshot: SnapshotSchema,
  lease: LeaseSchema,
  stop: StopSchema,
  join: JoinSchema,
  contribution: ContributionSchema,
  joined: JoinedSchema,
  contributionResult: ContributionResultSchema,
  update: UpdateSchema,
  host: HostSchema,
  admit: AdmitSchema,
  dismiss: DismissSchema,
  openRound: OpenRoundSchema,
  grant: GrantSchema,
  hosted: HostedSchema,
  counted: CountedSchema,
  rejected: RejectedSchema,
} as const;

export type MessageType = keyof typeof MESSAGE_SCHEMAS;
export type MessageOf<K extends MessageType> = v.InferOutput<(typeof MESSAGE_SCHEMAS)[K]>;
export type Message = { [K in MessageType]: MessageOf<K> }[MessageType];
