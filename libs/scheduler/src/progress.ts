/** Reports of progress move the deadlines of leases that take long: a worker that proceeds keeps its lease, and one that stops loses it soon. */
import { STUCK_FACTOR, STUCK_MIN_MS } from './lending.js';
import { allowanceMs } from './pace.js';
import type { Lease, RunInput, RunState, WorkerRecord } from './state.js';

/** However often a worker reports, it loses the lease after this many times what it was granted. */
const MOST_TIMES = 2;
/** The next report, or the result, must come within this part of what the lease was granted, or within so many steps, */
const QUIET_PART = 0.25;
const QUIET_STEPS = 2;
/** and not before this time: a machine may be busy for a moment. */
const QUIET_MIN_MS = 10_000;
/** Of what its links usually take: the result has to travel. */
const TRANSFER_FACTOR = 1.5;

type Progress = Extract<RunInput, { type: 'progress' }>;

/** Only what is more than before counts. */
export function noteProgress(state: RunState, { workerId, leaseId, steps }: Progress, nowMs: number): void {
  const { localSteps = 1 } = state.settings;
  const worker = state.workers.get(workerId);
  const lease = worker?.unanswered.get(leaseId) ?? state.leases.get(leaseId);
  if (!worker || lease?.workerId !== workerId || steps <= lease.steps || steps >= localSteps) return;
  lease.steps = steps;
  prolong(lease, quietMs(lease, worker, localSteps), nowMs);
  const rest = lease.characters * (1 - steps / localSteps);
  for (const [later, characters] of leasesAfter(state, worker, lease))
    prolong(later, allowanceMs(worker.pace, rest + characters), nowMs);
}

function quietMs({ allowedMs }: Lease, { pace }: WorkerRecord, localSteps: number): number {
  const part = Math.max(QUIET_PART, QUIET_STEPS / localSteps);
  return Math.max(QUIET_MIN_MS, allowedMs * part) + pace.transferMs * TRANSFER_FACTOR;
}

/** A late lease is lent to others as well, and stays late; but its worker is not stuck. */
function prolong(lease: Lease, ms: number, nowMs: number): void {
  const endMs = lease.grantedAtMs + MOST_TIMES * lease.allowedMs;
  if (!lease.late) lease.deadlineAtMs = Math.min(nowMs + ms, endMs);
  const stuckMs = Math.max(STUCK_FACTOR * ms, STUCK_MIN_MS);
  lease.stuckAtMs = Math.min(nowMs + stuckMs, endMs + STUCK_MIN_MS);
}

/** The leases that the worker computes after this one, with the characters from its end to theirs. */
function leasesAfter({ leases }: RunState, worker: WorkerRecord, lease: Lease): (readonly [Lease, characters: number])[] {
  const inOrder = [...worker.unanswered.values(), ...[...worker.leases].flatMap((id) => leases.get(id) ?? [])];
  let characters = 0;
  return inOrder.slice(inOrder.indexOf(lease) + 1).map((later) => [later, (characters += later.characters)]);
}

/** The part of the round that is computed, 0 to 1, as far as workers say so. */
export function roundProgress({ units, leases, settings: { localSteps = 1 } }: RunState): number {
  const done = units.map(({ counted }): number => (counted ? 1 : 0));
  for (const { units: covered, steps } of leases.values())
    for (const index of covered) done[index] = Math.max(done[index], steps / localSteps);
  return done.reduce((sum, part) => sum + part, 0) / Math.max(1, units.length);
}
