/** Who is sent a snapshot next, of which round, and which links are too slow. Decisions only: snapshot-sender.ts acts. */
import { LIMITS } from '@troupe/protocol';

/** A worker that waits for its turn. */
export interface Waiting {
  /** Its snapshot must not be older: the worker receives the updates from this round on. */
  readonly notBefore: number;
  /** When it was last told that others come first, or asked. */
  toldMs: number;
}

/** A snapshot on its way to a worker. */
export interface Transfer {
  /** Of the snapshot. */
  readonly round: number;
  readonly startedMs: number;
  /** When bytes last left for the worker. */
  progressMs: number;
  /** Queued for the worker when that was last looked at. */
  bufferedBytes: number;
}

export interface SnapshotQueue {
  /** By worker id, first come, first served. */
  readonly waiting: Map<string, Waiting>;
  /** By worker id. */
  readonly transfers: Map<string, Transfer>;
}

/** The run at the moment of a decision. */
export interface Moment {
  readonly round: number;
  readonly nowMs: number;
  /** Updates that a worker retains while it waits; see `retainedUpdates`. */
  readonly retained: number;
}

export interface Start {
  readonly workerId: string;
  /** Of the snapshot to send: one that is held, or the current round. */
  readonly round: number;
}

/**
 * The next transfer to start, if one may start now.
 * @param held rounds of the snapshots in memory
 */
export function nextStart(queue: SnapshotQueue, held: readonly number[], { round, nowMs, retained }: Moment): Start | undefined {
  const { waiting, transfers } = queue;
  if (turnsTaken(transfers, nowMs) >= LIMITS.snapshotLinks) return undefined;
  // A link carries one snapshot at a time. A worker may have heard of an update before the coordinator has.
  const first = [...waiting].find(([workerId, { notBefore }]) => notBefore <= round && !transfers.has(workerId));
  if (!first) return undefined;
  const [workerId, { notBefore }] = first;
  const newest = Math.max(-1, ...held);
  // The worker must retain all updates since, also those of the rounds that the transfer takes.
  const fresh = round - newest <= retained / 4;
  if (newest >= notBefore && fresh) return { workerId, round: newest };
  return held.length < LIMITS.snapshots ? { workerId, round } : undefined;
}

function turnsTaken(transfers: ReadonlyMap<string, Transfer>, nowMs: number): number {
  let taken = 0;
  for (const { startedMs } of transfers.values()) if (nowMs - startedMs < LIMITS.snapshotTurnMs) taken++;
  return taken;
}

/** Why a transfer is given up. `outdated`: the worker has lost updates that must follow the snapshot. */
export type Hopeless = 'outdated' | 'stalled';

/** The transfers to give up, by worker id. */
export function hopelessTransfers({ transfers }: SnapshotQueue, { round, nowMs, retained }: Moment): [string, Hopeless][] {
  const hopeless: [string, Hopeless][] = [];
  for (const [workerId, transfer] of transfers) {
    if (round - transfer.round > retained) hopeless.push([workerId, 'outdated']);
    else if (nowMs - transfer.progressMs >= LIMITS.transferIdleMs) hopeless.push([workerId, 'stalled']);
  }
  return hopeless;
}

/** Whether a worker must be told again that others come first: it gives up on a coordinator that is silent. */
export function mustBeTold({ toldMs }: Waiting, nowMs: number): boolean {
  return nowMs - toldMs >= LIMITS.queuedMs;
}
