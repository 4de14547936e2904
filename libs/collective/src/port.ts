/**
 * The port of the all-reduce: what the workers and the coordinator of a run need, independent of who computes the sums. Apps choose an
 * implementation and give it the means to open links. `test/conformance.ts` states what every implementation does.
 */
import type { ContributionRefusal, MessageOf } from '@troupe/protocol';
import type { GradientShape } from './codec.js';
import type { Grant, RoundOrder } from './grants.js';
import type { AuditRule, ReductionConfig } from './ledger.js';
import type { ArrivingUpdate, ReduceUpdate } from './update.js';

export interface Collective {
  /**
   * Takes part in a run as a worker.
   * @throws CollectiveError `refused`; ProtocolError, `limit_exceeded` when no answer comes in time; TransportError
   */
  join(options: JoinOptions): Promise<CollectiveMember>;
  /**
   * Takes charge of a run as its coordinator. A host of the same run and owner takes over from the one before, whose link may be dead
   * without anyone noticing. Any other host is refused while one is there.
   * @throws CollectiveError `taken`, `refused`; ProtocolError, `limit_exceeded` when no answer comes in time; TransportError
   */
  host(options: HostOptions): Promise<CollectiveHost>;
}

export interface EntryOptions {
  /** Where the all-reduce service is. A service embedded in this process is reached without it. */
  readonly address: string;
  /** Aborts joining or hosting; it closes nothing afterwards. */
  readonly signal: AbortSignal;
  /**
   * Makes a signal that aborts after `ms`. With it, this side waits LIMITS.answerMs for an answer, and a message that stops halfway ends
   * the link.
   */
  readonly deadline?: (ms: number) => AbortSignal;
}

export interface JoinOptions extends GradientShape, EntryOptions {
  readonly runId: string;
  /** Of the run; rounding to int8 depends on it. */
  readonly seed: number;
  readonly workerId: string;
  /** From the coordinator's welcome. */
  readonly ticket: string;
}

export interface HostOptions extends ReductionConfig, EntryOptions {
  /** The secret the service was started with. */
  readonly token: string;
  /** The process that hosts. It keeps its owner for its whole life; no other process has the same. */
  readonly owner: string;
  /** Addresses of services that sum a range of the parameters each; absent: the service sums all, or has reducers of its own. */
  readonly reducers?: readonly string[];
}

/** What a worker computed for a lease. */
export interface Contribution extends Omit<MessageOf<'contribution'>, 'type' | 'runId'> {
  /** Gradient of the summed loss, [P]. */
  readonly gradient: Float32Array;
  /** [streams, L, S, H]. */
  readonly endStates: Float32Array;
}

/** What is known of a contribution before it is computed. */
export type ContributionLease = Pick<Contribution, 'round' | 'leaseId' | 'streams'>;

/** A contribution whose gradient is still being computed. No other can be sent before it ends. */
export interface OutgoingContribution {
  /**
   * Encodes and queues what is final and was not queued before: `gradient` [P] from index `from` on. The buffer is free again when it
   * returns. @throws CollectiveError `bad_length`; TransportError when the link is closed
   */
  add(gradient: Float32Array, from: number): void;
  /**
   * Queues the rest. What was added must not have changed. The buffers are free again when it returns.
   * @throws CollectiveError `bad_length`; TransportError when the link is closed
   */
  finish(contribution: Contribution): void;
  /**
   * It does not count: the gradient could not be computed, or is no longer needed. Idempotent; nothing after `finish`.
   * @throws TransportError when the link is closed
   */
  abandon(): void;
}

/** What the worker learns about its contribution: `counted`, or why not. */
export interface ReduceResult extends Omit<MessageOf<'contributionResult'>, 'type'> {
  readonly kind: 'result';
}

/** Whether the worker receives updates from here on, and from which round on. */
export interface ReduceSubscription extends Omit<MessageOf<'subscription'>, 'type'> {
  readonly kind: 'subscription';
}

/** What a worker receives, in the order of sending. */
export type MemberEvent = ArrivingUpdate | ReduceResult | ReduceSubscription;

/** What the coordinator learns about a contribution that counts. */
export interface ReduceCounted extends Omit<MessageOf<'counted'>, 'type'> {
  readonly kind: 'counted';
  /** [streams, L, S, H], the receiver's own. */
  readonly endStates: Float32Array;
}

/** What the coordinator learns about a contribution that does not count. */
export interface ReduceRejected extends Omit<MessageOf<'rejected'>, 'type'> {
  readonly kind: 'rejected';
  readonly result: ContributionRefusal;
}

/** A contribution that the coordinator is to audit. */
export interface ReduceAudit extends Omit<MessageOf<'audit'>, 'type'> {
  readonly kind: 'audit';
  /** The coded gradient as its worker sent it, and then end states float32 [streams, L, S, H]; the receiver's own. */
  readonly bytes: Uint8Array<ArrayBuffer>;
}

/** What the coordinator learns about a worker that can sum ranges for the others. */
export interface ReducePeer extends Omit<MessageOf<'peer'>, 'type'> {
  readonly kind: 'peer';
}

/** Workers that sum ranges: see the message `peers`. */
export type PeerChoice = Readonly<Record<'candidates' | 'reducers', readonly string[]>>;

/** Updates pile up at the link of the worker: it receives none until it is subscribed again. */
export interface ReduceLagging extends Omit<MessageOf<'lagging'>, 'type'> {
  readonly kind: 'lagging';
}

/** An update is whole and comes after the last contribution counted for it. */
export type HostEvent = ReduceCounted | ReduceRejected | ReduceAudit | ReducePeer | ReduceLagging | ReduceUpdate;

/** Bytes of a snapshot: `bytes` from `offset` on, of the one that is to compute `round` next. */
export type SnapshotPiece = Omit<MessageOf<'wantPiece'>, 'type'>;

/** A snapshot that this worker keeps for others. */
export interface KeptSnapshot {
  readonly round: number;
  readonly bytes: Uint8Array;
}

/** Another worker, to which there is a link. */
export interface SnapshotSource {
  /**
   * A piece of the snapshot that it keeps, unchecked; undefined if it keeps none, has sent this worker enough of it, or its link ends, or when
   * `signal` aborts.
   */
  fetch(piece: SnapshotPiece, signal: AbortSignal): Promise<Uint8Array<ArrayBuffer> | undefined>;
}

/** A worker's place in the all-reduce. */
export interface CollectiveMember {
  /** It receives the updates of this round and of all later rounds, until it is told otherwise. */
  readonly firstRound: number;
  /** Begins a contribution, whose parts leave as soon as they are computed. */
  begin(lease: ContributionLease): OutgoingContribution;
  /** Sends a contribution that is computed: `begin` and `finish`. */
  contribute(contribution: Contribution): void;
  /**
   * The next update, result or change of its subscription, in the order of sending; an update as soon as it begins to arrive, and
   * `signal` ends the wait for its parts too. Rejects with TransportError when the link closes, CollectiveError `refused` when the service
   * refuses this worker, ProtocolError for bad bytes.
   */
  receive(signal?: AbortSignal): Promise<MemberEvent>;
  /** Other workers that have links to this one may take pieces of this snapshot. It replaces the one before; undefined: they may take none. */
  keep(snapshot: KeptSnapshot | undefined): void;
  /** The worker with this id, once there is a link to it; undefined when none is being opened, or `signal` aborts before. */
  source(workerId: string, signal: AbortSignal): Promise<SnapshotSource | undefined>;
  /** Idempotent. A waiting `receive`, and every later one, rejects with TransportError `closed`. */
  close(reason: string): void;
}

/** The coordinator's place in the all-reduce. Sending throws TransportError when the link is closed. */
export interface CollectiveHost {
  /** Lets the worker join with this ticket. */
  admit(workerId: string, ticket: string): void;
  /** Takes the ticket back and closes the worker's link. */
  dismiss(workerId: string, reason: string): void;
  /**
   * Whether the worker receives updates. It does when it joins. It is told each change, with the first round whose update it
   * receives again: a snapshot of an earlier round would leave a gap.
   */
  subscribe(workerId: string, wanted: boolean): void;
  /** Has these workers sum from the next round on that nobody has begun; those that are lost are left out. */
  usePeers(choice: PeerChoice): void;
  openRound(order: RoundOrder): void;
  grant(grant: Grant): void;
  /** Decides whether a contribution that is held counts. It is ignored once its round is over. */
  rule(rule: AuditRule): void;
  /**
   * The next event, in order. Rejects with TransportError when
   * the link closes, CollectiveError when the service refuses this host (`refused`) or sends an update that must not be applied
   * (`not_finite`), ProtocolError for bad bytes.
   */
  receive(signal?: AbortSignal): Promise<HostEvent>;
  /** The service closes the links of all workers with it. Idempotent. */
  close(reason: string): void;
}
