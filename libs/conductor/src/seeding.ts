/**
 * Snapshots from workers to workers. When many wait for a snapshot, workers that sum for others and are in the run (seeds) each keep a copy
 * of their replica before the same round. The coordinator computes the digests of that snapshot from its own replica, and tells those that
 * wait which workers keep it. So a crowd costs the coordinator a few kilobytes for each joiner.
 */
import { LIMITS, type MessageOf } from '@troupe/protocol';
import type { ControlServer } from './control-server.js';
import { fits, turnsTaken, type Moment, type SnapshotQueue } from './snapshot-queue.js';

/** An order may reach seeds when they are in a later round already. The next one is then for a later round, up to this many ahead. */
const MOST_AHEAD = 2;

/** The replica at one moment. */
export interface ReplicaState {
  /** The round to compute next. */
  readonly round: number;
  readonly parametersDigest: string;
  /** See Replica.snapshotParts. */
  readonly parts: readonly Uint8Array[];
}

export interface SeedingParts {
  /** Workers that compute now, and to which joiners link. */
  seeds(): readonly string[];
  /** Undefined when a failed step has left the replica unusable. */
  take(): ReplicaState | undefined;
  readonly workers: Pick<ControlServer, 'send'>;
  /** Of these bytes, one after the other. */
  sha256(parts: readonly Uint8Array[]): Uint8Array;
}

/** What seeds keep. */
interface Order {
  readonly round: number;
  /** How long it waits for the first answer, from that round on. */
  readonly patienceMs: number;
  /** Those that have not answered. */
  readonly asked: Set<string>;
  /** Those that keep it. */
  readonly seeds: Set<string>;
  /** Of the coordinator's own replica, once that is in the round. */
  snapshot?: { readonly takenMs: number; readonly parametersDigest: string; readonly digests: Uint8Array };
  /** When workers were told to take it, ms. */
  readonly takers: Map<string, number>;
}

export class Seeding {
  readonly #parts: SeedingParts;
  readonly #queue: SnapshotQueue;
  #order: Order | undefined;
  #aheadRounds = 0;
  /** When the last order ended, ms. */
  #endedMs = -Infinity;

  constructor(parts: SeedingParts, queue: SnapshotQueue) {
    this.#parts = parts;
    this.#queue = queue;
  }

  /** Call it when the queue, a worker or the round has changed, and from time to time. */
  review(moment: Moment): void {
    const isDue = isCrowded(this.#queue, moment) && moment.nowMs - this.#endedMs >= LIMITS.snapshotTurnMs;
    if (!this.#order && isDue) this.#begin(moment);
    const order = this.#order;
    if (!order) return;
    this.#digest(order, moment);
    this.#refer(order, moment);
    if (isOver(order, this.#queue, moment)) this.#end(order, moment);
  }

  /** Whether those that wait will soon be told where to take the snapshot, unless the seeds are too late. */
  isImminent(nowMs: number): boolean {
    const { snapshot, asked } = this.#order ?? {};
    return snapshot !== undefined && asked!.size > 0 && nowMs - snapshot.takenMs < LIMITS.seedAnswerMs;
  }

  /** @returns whether it was asked */
  onSeeded(workerId: string, { round, kept }: MessageOf<'seeded'>): boolean {
    const order = this.#order;
    if (order?.round !== round || !order.asked.delete(workerId)) return false;
    if (kept) order.seeds.add(workerId);
    return true;
  }

  /** The worker has left, is parked, has a snapshot, or asks for one: it takes none, and as a seed it keeps none any more. */
  forget(workerId: string): void {
    this.#order?.takers.delete(workerId);
    this.#order?.asked.delete(workerId);
    this.#order?.seeds.delete(workerId);
  }

  #begin({ round }: Moment): void {
    const asked = this.#parts.seeds().slice(0, LIMITS.seeds);
    if (asked.length === 0) return;
    // The last attempt has time: meanwhile the coordinator serves those that wait.
    const patienceMs = this.#aheadRounds < MOST_AHEAD ? LIMITS.seedAnswerMs : LIMITS.seedMs;
    const dueRound = round + this.#aheadRounds;
    this.#order = { round: dueRound, patienceMs, asked: new Set(asked), seeds: new Set(), takers: new Map() };
    for (const id of asked) this.#parts.workers.send(id, { type: 'seed', round: dueRound, wanted: true });
  }

  /** Its own replica is in the round. */
  #digest(order: Order, { round, nowMs }: Moment): void {
    if (order.snapshot || round !== order.round) return;
    const state = this.#parts.take();
    if (!state) return;
    const { parts, parametersDigest } = state;
    const digests = piecesOf(parts, LIMITS.snapshotPieceBytes).map((piece) => this.#parts.sha256(piece));
    order.snapshot = { takenMs: nowMs, parametersDigest, digests: Uint8Array.from(digests.flatMap((digest) => [...digest])) };
  }

  /** Tells those that wait where the snapshot is. */
  #refer(order: Order, moment: Moment): void {
    const { round, seeds, snapshot, takers } = order;
    if (!snapshot || !isReady(order, moment)) return;
    const { parametersDigest, digests } = snapshot;
    const message: MessageOf<'sources'> = { type: 'sources', round, parametersDigest, workers: [...seeds] };
    for (const workerId of takersOf(order, this.#queue, moment)) {
      this.#queue.waiting.delete(workerId);
      takers.set(workerId, moment.nowMs);
      this.#parts.workers.send(workerId, message, digests);
    }
  }

  #end({ round, asked, seeds }: Order, { nowMs }: Moment): void {
    this.#order = undefined;
    const isTooLate = seeds.size === 0 && this.#aheadRounds < MOST_AHEAD;
    this.#aheadRounds = isTooLate ? this.#aheadRounds + 1 : 0;
    if (!isTooLate) this.#endedMs = nowMs;
    for (const id of [...asked, ...seeds]) this.#parts.workers.send(id, { type: 'seed', round, wanted: false });
  }
}

/** Whether workers wait that could take their snapshot from others, while the coordinator serves as many as it can. */
function isCrowded(queue: SnapshotQueue, { nowMs }: Moment): boolean {
  const able = [...queue.waiting.values()].filter(({ fromPeers }) => fromPeers);
  return able.length >= LIMITS.seedCrowd && turnsTaken(queue.transfers, nowMs) >= LIMITS.snapshotLinks;
}

/** Those that wait and are served by this snapshot. */
function takersOf({ round }: Pick<Order, 'round'>, { waiting, transfers }: SnapshotQueue, moment: Moment): string[] {
  return [...waiting].flatMap(([workerId, { notBefore, fromPeers }]) =>
    fromPeers && !transfers.has(workerId) && fits(round, notBefore, moment) ? [workerId] : [],
  );
}

/** All seeds have answered, or some have and the others have had time to. */
function isReady({ asked, seeds, snapshot }: Order, { nowMs }: Moment): boolean {
  return seeds.size > 0 && (asked.size === 0 || nowMs - snapshot!.takenMs >= LIMITS.seedAnswerMs);
}

function isOver(order: Order, queue: SnapshotQueue, moment: Moment): boolean {
  const { round, asked, seeds, snapshot, takers } = order;
  const { nowMs } = moment;
  if (asked.size + seeds.size === 0) return true;
  // A worker that has not taken it by now has lost updates that must follow it.
  const isOutdated = moment.round - round > moment.retained;
  if (!isOutdated && [...takers.values()].some((sinceMs) => nowMs - sinceMs < LIMITS.snapshotTransferMs)) return false;
  if (!snapshot) return moment.round > round;
  // Those that come now fit it as well.
  if (seeds.size === 0) return nowMs - snapshot.takenMs >= order.patienceMs;
  return nowMs - snapshot.takenMs >= LIMITS.seedMs && takersOf(order, queue, moment).length === 0;
}

/** Bytes that lie one after the other, cut every `bytes`. */
function piecesOf(parts: readonly Uint8Array[], bytes: number): Uint8Array[][] {
  const pieces: Uint8Array[][] = [];
  let room = 0;
  for (const part of parts) {
    for (let at = 0; at < part.byteLength;) {
      if (room === 0) {
        pieces.push([]);
        room = bytes;
      }
      const slice = part.subarray(at, at + room);
      pieces.at(-1)!.push(slice);
      at += slice.byteLength;
      room -= slice.byteLength;
    }
  }
  return pieces;
}
