/**
 * Everything that happens in a run, as one type. Every source of events puts them in one queue.
 * `RunConductor` passes each event to the parts in one stated order. A part that causes another
 * event puts that one in the queue, too.
 */
import type { HostEvent, ReduceAudit, ReduceCounted, ReducePeer, ReduceRejected, ReduceUpdate } from '@troupe/collective';
import { printable, type Channel, type MessageOf } from '@troupe/protocol';
import type { Credited } from '@troupe/run';
import type { Pass } from './gate.js';
import type { AuditFinding } from './ports.js';
import type { RunEffect, RunInput, RunState } from '@troupe/scheduler';

/**
 * Identifies a worker, from its hello until the roster forgets it. Its texts contain no control
 * characters.
 */
export interface WorkerIdentity {
  readonly id: string;
  readonly name: string;
  readonly kind: 'node' | 'browser';
  /** The address of its control link. */
  readonly remote: string;
  /** To whom its work is credited. Absent: to nobody. */
  readonly credit?: Credited | undefined;
  /** By its token: what it computes need not be audited. */
  readonly trusted: boolean;
  /** Somebody at its address has lied. */
  readonly suspect?: boolean;
  /** Of the signed token that it has shown. */
  readonly tokenId?: string | undefined;
}

/** A worker's control link while it is open. */
export interface ControlSession {
  readonly channel: Pick<Channel, 'send' | 'sendEncoded' | 'drained' | 'bufferedBytes' | 'close' | 'closed'>;
  readonly pass: Pick<Pass, 'countLease'>;
  /** Why the coordinator ended it: it removed the worker, or its address is suspect, or its token ended. */
  removedFor?: string;
}

/** The messages of a welcomed worker. Their texts contain no control characters. */
export type WorkerMessage = MessageOf<'ready' | 'decline' | 'progress' | 'resync' | 'seeded'>;
/** Why the scheduler is done. */
export type Ending = Extract<RunEffect, { type: 'finish' | 'fail' }>;
/** The scheduler's effects that concern neither a worker nor the all-reduce service. */
export type Outcome = Exclude<
  RunEffect,
  { type: 'openRound' | 'lease' | 'resync' | 'cancel' | 'park' | 'unpark' | 'leaveOut' | 'usePeers' | 'ban' | 'verify' }
>;
export type ReduceEvent = HostEvent;

/** What happens to the link to the all-reduce service. */
export type ReduceLinkEvent =
  | { readonly type: 'reduceLost'; readonly reason: string }
  /** The service answers, and refuses. Once for each reason. */
  | { readonly type: 'reduceRefused'; readonly reason: string; readonly remedy: string }
  /** The service is back, without any state of the round. */
  | { readonly type: 'reduceRestored' };

export type ConductorEvent =
  // From workers' control links.
  | { readonly type: 'workerJoined'; readonly worker: WorkerIdentity; readonly session: ControlSession }
  | { readonly type: 'workerMessage'; readonly worker: WorkerIdentity; readonly message: WorkerMessage }
  | { readonly type: 'workerLeft'; readonly worker: WorkerIdentity; readonly reason: string }
  /** A peer broke the protocol, or was not welcomed. */
  | { readonly type: 'peerRefused'; readonly name: string; readonly reason: string }
  // From the all-reduce service.
  | CountedEvent
  | { readonly type: 'rejected'; readonly rejection: ReduceRejected }
  /** A contribution to the current round whose lease was granted with an audit. */
  | { readonly type: 'audit'; readonly audit: ReduceAudit }
  // From the scheduler, which needs a lease computed, and the auditor.
  | Extract<RunEffect, { type: 'verify' }>
  | Extract<RunInput, { type: 'verified' }>
  | { readonly type: 'audited'; readonly lease: AuditedLease; readonly finding: AuditFinding }
  | { readonly type: 'peer'; readonly peer: ReducePeer }
  | Extract<RunInput, { type: 'lagging' }>
  /**
   * The update of the current round has arrived. The coordinator's replica has not applied it yet.
   */
  | { readonly type: 'update'; readonly update: ReduceUpdate }
  | ReduceLinkEvent
  // From people, from the clock, and from the follow-ups when validation falls behind.
  | { readonly type: 'order'; readonly order: Order }
  // From the run shell, and from the follow-ups when a validation says so.
  /** Something that counted since this round was computed wrongly, or may have been. `reason`: for people. */
  | { readonly type: 'tainted'; readonly since: number; readonly reason: string }
  /** The coordinator's replica has applied the update. `readyWorkers`: how many may get leases. */
  | { readonly type: 'updated'; readonly update: ReduceUpdate; readonly readyWorkers: number }
  /** `round`: the current one. */
  | { readonly type: 'outcome'; readonly outcome: Outcome; readonly round: number };

export type Order = Extract<RunInput, { type: 'start' | 'tick' | 'pause' | 'resume' | 'stop' | 'tuned' }>;

/**
 * A contribution that counts. The scheduler forgets a counted lease, so the event carries what it
 * knew about it.
 */
export interface CountedEvent {
  readonly type: 'counted';
  readonly contribution: ReduceCounted;
  /** Undefined when the lease was taken back in the meantime. */
  readonly grantedAtMs: number | undefined;
  /** The worker's speed as measured so far; undefined when it has left. */
  readonly charsPerSecond: number | undefined;
}

export type AuditedLease = Pick<ReduceAudit, 'round' | 'leaseId' | 'workerId'>;

/** @returns undefined when the event comes too late to matter: its round or the run is over */
export function reduceEvent(event: ReduceEvent, state: RunState): ConductorEvent | undefined {
  if (event.kind === 'rejected') return { type: 'rejected', rejection: { ...event, reason: printable(event.reason) } };
  if (event.kind === 'peer') return { type: 'peer', peer: event };
  if (event.kind === 'lagging') return { type: 'lagging', workerId: event.workerId };
  if (state.phase === 'over' || event.round !== state.round) return undefined;
  if (event.kind === 'audit') return { type: 'audit', audit: event };
  if (event.kind === 'update') return { type: 'update', update: event };
  return {
    type: 'counted',
    contribution: event,
    grantedAtMs: state.leases.get(event.leaseId)?.grantedAtMs,
    charsPerSecond: state.workers.get(event.workerId)?.pace.charsPerSecond,
  };
}

/**
 * Passes events to `handle` one at a time, in order. An event that is put while another one is
 * being handled waits.
 * @returns put, which throws what `handle` throws
 */
export function createEventQueue<E>(handle: (event: E) => void): (event: E) => void {
  const waiting: E[] = [];
  let busy = false;
  return (event) => {
    waiting.push(event);
    if (busy) return;
    busy = true;
    try {
      for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) handle(next);
    } finally {
      busy = false;
    }
  };
}
