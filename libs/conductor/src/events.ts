/**
 * Everything that happens in a run, as one type. Whoever learns of something puts it in the queue; `RunConductor` hands each event to the
 * parts in one stated order, and a part that causes another event puts that one in the queue too.
 */
import type { ReduceCounted, ReduceRejected, ReduceUpdate } from '@troupe/collective';
import { printable, type Channel, type MessageOf } from '@troupe/protocol';
import type { RunEffect, RunInput, RunState } from '@troupe/scheduler';

/** What a worker is known by from its hello until it is forgotten. Its texts hold no control characters. */
export interface WorkerIdentity {
  readonly id: string;
  readonly name: string;
  readonly kind: 'node' | 'browser';
  /** Address of the other end of its control link. */
  readonly remote: string;
}

/** A worker's control link while it is open. */
export interface ControlSession {
  readonly channel: Pick<Channel, 'send' | 'close' | 'closed'>;
  /** Why an admin removed the worker. */
  removedFor?: string;
}

/** What a worker says once it is welcomed. Its texts hold no control characters. */
export type WorkerMessage = MessageOf<'ready' | 'decline' | 'resync'>;
/** Side jobs that are due. */
export type Due = Extract<RunEffect, { type: 'evaluate' | 'sample' | 'checkpoint' }>;
/** Why the run core is done. */
export type Ending = Extract<RunEffect, { type: 'finish' | 'fail' }>;
/** What the run core decides that is neither for a worker nor for the all-reduce service. */
export type Outcome = Exclude<RunEffect, { type: 'openRound' | 'lease' | 'resync' }>;
export type ReduceEvent = ReduceCounted | ReduceRejected | ReduceUpdate;

export type ConductorEvent =
  // From workers' control links.
  | { readonly type: 'workerJoined'; readonly worker: WorkerIdentity; readonly session: ControlSession }
  | { readonly type: 'workerMessage'; readonly worker: WorkerIdentity; readonly message: WorkerMessage }
  | { readonly type: 'workerLeft'; readonly worker: WorkerIdentity; readonly reason: string }
  /** A peer that was not welcomed. */
  | { readonly type: 'peerRefused'; readonly name: string; readonly reason: string }
  // From the all-reduce service.
  | CountedEvent
  | { readonly type: 'rejected'; readonly rejection: ReduceRejected }
  /** The update of the current round has arrived; the coordinator's replica has not applied it yet. */
  | { readonly type: 'update'; readonly update: ReduceUpdate }
  | { readonly type: 'reduceLost'; readonly reason: string }
  | { readonly type: 'reduceRefused'; readonly reason: string; readonly remedy: string }
  /** The service is back and knows nothing of the round. */
  | { readonly type: 'reduceRestored' }
  // From people, from the clock, and from validation when it falls behind.
  | { readonly type: 'order'; readonly order: Order }
  // From the run shell.
  /** The coordinator's replica has applied the update. `readyWorkers`: may be lent streams. */
  | { readonly type: 'updated'; readonly update: ReduceUpdate; readonly readyWorkers: number }
  /** `round`: the one being computed. */
  | { readonly type: 'outcome'; readonly outcome: Outcome; readonly round: number };

export type Order = Extract<RunInput, { type: 'start' | 'tick' | 'pause' | 'resume' | 'stop' }>;

/** A contribution counts, with what the run core knows of it before it hears this: it forgets a lease that is counted. */
export interface CountedEvent {
  readonly type: 'counted';
  readonly contribution: ReduceCounted;
  /** Undefined when the lease was taken back meanwhile. */
  readonly grantedAtMs: number | undefined;
  /** Measured speed of the worker until now; undefined when it has left. */
  readonly charsPerSecond: number | undefined;
}

/** @returns undefined for what comes too late to matter: the round is over, or the run is */
export function reduceEvent(event: ReduceEvent, state: RunState): ConductorEvent | undefined {
  if (event.kind === 'rejected') return { type: 'rejected', rejection: { ...event, reason: printable(event.reason) } };
  if (state.phase === 'over' || event.round !== state.round) return undefined;
  if (event.kind === 'update') return { type: 'update', update: event };
  return {
    type: 'counted',
    contribution: event,
    grantedAtMs: state.leases.get(event.leaseId)?.grantedAtMs,
    charsPerSecond: state.workers.get(event.workerId)?.pace.charsPerSecond,
  };
}

/**
 * Hands events to `handle` one at a time, in the order in which they were put: one that is put while another is being handled waits.
 * @returns put; throws what `handle` throws
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
