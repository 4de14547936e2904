/**
 * Leases of a local round take minutes, and a worker may hold several: the first one that joins holds all of them. What waits there is lent to
 * workers that have nothing to do as well, and whoever is first counts.
 */
import { expectedMs } from './pace.js';
import type { Lease, RunState, WorkerRecord } from './state.js';
import { mayRelieve } from './trust.js';

/** Another worker must be done in this part of the time: speeds are known roughly, and the lease may be computed twice. */
const WORTH_LENDING = 0.8;

/** A lease that its worker has not begun, and another one that would be done sooner. */
export interface Relief {
  readonly lease: Lease;
  readonly worker: WorkerRecord;
}

/**
 * Of a local round.
 * @param free workers that have nothing to do. Each gets at most one lease: then it is asked again.
 */
export function relieve(state: RunState, free: readonly WorkerRecord[]): Relief[] {
  const waiting = [...state.workers.values()].flatMap((holder) => waitingAt(state, holder));
  waiting.sort((a, b) => b.restMs - a.restMs);
  const inOrder = free.toSorted((a, b) => b.pace.charsPerSecond - a.pace.charsPerSecond);
  return inOrder.flatMap((worker) => {
    const place = waiting.findIndex((each) => isSooner(worker, each) && mayRelieve(state, worker, each.holder));
    return place < 0 ? [] : waiting.splice(place, 1).map(({ lease }) => ({ worker, lease }));
  });
}

interface Waiting {
  readonly lease: Lease;
  readonly holder: WorkerRecord;
  /** Until its worker is done with it, ms. */
  readonly restMs: number;
}

/** Workers take leases in the order in which they are granted. */
function waitingAt({ leases, settings: { localSteps = 1 } }: RunState, holder: WorkerRecord): Waiting[] {
  let characters = 0;
  return [...holder.leases].flatMap((id, place) => {
    const lease = leases.get(id)!;
    characters += lease.characters * (1 - lease.steps / localSteps);
    const waits = place > 0 && lease.steps === 0 && lease.reliable;
    return waits ? [{ lease, holder, restMs: expectedMs(holder.pace, characters) }] : [];
  });
}

function isSooner({ pace }: WorkerRecord, { lease, restMs }: Waiting): boolean {
  return expectedMs(pace, lease.characters) < WORTH_LENDING * restMs;
}
