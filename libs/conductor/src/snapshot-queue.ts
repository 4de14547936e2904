/** Who is sent a snapshot next, of which round, and which links are too slow. Decisions only: snapshot-sender.ts acts. */
import { LIMITS } from '@troupe/protocol';

/** A worker that waits for its turn. */
export interface Waiting {
  /** Its snapshot must not be older: the worker receives the updates from this round on. */
  readonly notBefore: number;
  /** When it was last told that others come first, or asked. */
  toldMs: number;
  /** Whether it can take its snapshot from other workers. */
  fromPeers: boolean;
  /** Its transfer does not start before. */
  readonly restsUntilMs: number;
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
  /** Workers that may get leases. Without one, no round passes. */
  readonly readyWorkers: number;
  /** Whether those that can take their snapshot from other workers soon will. */
  readonly isSeeding: boolean;
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
export function nextStart(queue: SnapshotQueue, held: readonly number[], moment: Moment): Start | undefined {
  const first = firstInLine(queue, moment);
  if (!first) return undefined;
  const [workerId, { notBefore }] = first;
  const newest = Math.max(-1, ...held);
  if (fits(newest, notBefore, moment)) return { workerId, round: newest };
  return held.length < LIMITS.snapshots ? { workerId, round: moment.round } : undefined;
}

/** The worker whose turn it is, if a link may be served now. */
function firstInLine({ waiting, transfers }: SnapshotQueue, { round, nowMs, isSeeding }: Moment): [string, Waiting] | undefined {
  if (turnsTaken(transfers, nowMs) >= LIMITS.snapshotLinks) return undefined;
  // A link carries one snapshot at a time. A worker may have heard of an update before the coordinator has.
  return [...waiting].find(
    ([workerId, { notBefore, fromPeers, restsUntilMs }]) =>
      notBefore <= round && nowMs >= restsUntilMs && !transfers.has(workerId) && !(fromPeers && isSeeding),
  );
}

/** Whether a snapshot of the round `held` is of use to a worker. */
export function fits(held: number, notBefore: number, { round, retained }: Moment): boolean {
  // The worker must retain all updates since, also those of the rounds that the transfer takes.
  return held >= notBefore && round - held <= retained / 4;
}

export function turnsTaken(transfers: ReadonlyMap<string, Transfer>, nowMs: number): number {
  let taken = 0;
  for (const { startedMs } of transfers.values()) if (nowMs - startedMs < LIMITS.snapshotTurnMs) taken++;
  return taken;
}

/**
 * Why a transfer is given up. `outdated`: the worker has lost updates that must follow the snapshot.
 * `late`: the whole took too long. `inTheWay`: another worker needs a newer snapshot, for which there is no room.
 */
export type GivenUp = 'outdated' | 'stalled' | 'late' | 'inTheWay';

/** The transfers to give up, by worker id. */
export function transfersToGiveUp(queue: SnapshotQueue, moment: Moment): [string, GivenUp][] {
  const hopeless: [string, GivenUp][] = [];
  for (const [workerId, transfer] of queue.transfers) {
    const why = whyHopeless(transfer, moment);
    if (why) hopeless.push([workerId, why]);
  }
  // Those may free a snapshot, and then no other has to make way.
  return hopeless.length > 0 ? hopeless : transfersInTheWay(queue, moment).map((workerId) => [workerId, 'inTheWay']);
}

function whyHopeless(transfer: Transfer, { round, nowMs, retained }: Moment): GivenUp | undefined {
  if (round - transfer.round > retained) return 'outdated';
  if (nowMs - transfer.progressMs >= LIMITS.transferIdleMs) return 'stalled';
  return nowMs - transfer.startedMs >= LIMITS.snapshotTransferMs ? 'late' : undefined;
}

/**
 * The slow transfers of the oldest snapshot, if it must make way. While others compute, it must only when
 * all snapshots have had long: joiners with slow links would end each other's transfers in turn. While
 * nobody computes, no round passes, so all joiners fit the next snapshot, and none has to make way again.
 */
function transfersInTheWay(queue: SnapshotQueue, moment: Moment): string[] {
  const transfers = [...queue.transfers];
  const rounds = [...new Set(transfers.map(([, { round }]) => round))];
  const first = firstInLine(queue, moment);
  if (!first || rounds.length < LIMITS.snapshots || fits(Math.max(...rounds), first[1].notBefore, moment)) return [];
  const computing = moment.readyWorkers > 0;
  const patienceMs = computing ? LIMITS.snapshotYieldMs : LIMITS.snapshotTurnMs;
  const recent = new Set(
    transfers.filter(([, { startedMs }]) => moment.nowMs - startedMs < patienceMs).map(([, { round }]) => round),
  );
  if (computing && recent.size > 0) return [];
  const oldest = Math.min(...rounds.filter((round) => !recent.has(round)));
  return transfers.flatMap(([workerId, { round }]) => (round === oldest ? [workerId] : []));
}

/** The snapshots that a worker has been sent. */
export interface Servings {
  /** Lately. */
  count: number;
  atMs: number;
}

/** Snapshots that a worker may have without a rest: it joins, is late, and is fetched back. */
const FREE_SNAPSHOTS = 4;
const FIRST_REST_MS = 1_000;
const MAX_REST_MS = 60_000;

/** @returns when the worker may be sent another snapshot: each costs the link of all others as much as many updates */
export function restsUntilMs(servings: Servings | undefined): number {
  const more = servings ? Math.floor(servings.count) - FREE_SNAPSHOTS : -1;
  return more < 0 ? -Infinity : servings!.atMs + Math.min(FIRST_REST_MS * 2 ** more, MAX_REST_MS);
}

/** A transfer begins. One is forgotten in a minute. */
export function noteServing({ count, atMs }: Servings = { count: 0, atMs: 0 }, nowMs: number): Servings {
  return { count: Math.max(0, count - (nowMs - atMs) / MAX_REST_MS) + 1, atMs: nowMs };
}

/** Whether a worker must be told again that others come first: it gives up on a coordinator that is silent. */
export function mustBeTold({ toldMs }: Waiting, nowMs: number): boolean {
  return nowMs - toldMs >= LIMITS.queuedMs;
}
