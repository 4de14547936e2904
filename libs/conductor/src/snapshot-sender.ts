/**
 * Sends snapshots to workers. A snapshot is encoded once and shared by the workers that begin to
 * receive it around the same round. A few links are served at a time, piece by piece, so that a
 * slow link holds up little memory and small messages pass between the pieces.
 */
import { encodeFrames, LIMITS, ProtocolError, retainedUpdates } from '@troupe/protocol';
import type { RunEvent } from '@troupe/run';
import { TransportError } from '@troupe/transport';
import type { ConductorEvent, ControlSession, WorkerMessage } from './events.js';
import type { ControlServer } from './control-server.js';
import { Seeding, type SeedingParts } from './seeding.js';
import {
  mustBeTold,
  nextStart,
  noteServing,
  restsUntilMs,
  transfersToGiveUp,
  type GivenUp,
  type Moment,
  type Servings,
  type SnapshotQueue,
  type Start,
  type Transfer,
} from './snapshot-queue.js';

export interface SnapshotSenderParts extends SeedingParts {
  readonly workers: Pick<ControlServer, 'send' | 'leaveOut'>;
  /** P. */
  readonly parameters: number;
  /** Rounds completed. */
  round(): number;
  /** How many may get leases. */
  readyWorkers(): number;
  /** The link of a connected worker. */
  channelOf(workerId: string): ControlSession['channel'] | undefined;
  /** Monotonic, ms. */
  nowMs(): number;
  report(event: RunEvent): void;
  /** Ends the run: an error that no link explains. */
  readonly fail: (error: unknown) => void;
}

/**
 * While somebody computes, encoding and sending snapshots takes about this part of the coordinator's time: the next one begins later. One that
 * has begun is not held up, because the worker retains only so many updates.
 */
const SNAPSHOTS_PART = 0.1;

/** Frames that are sent together. */
type Piece = readonly Uint8Array[];

export class SnapshotSender {
  readonly #parts: SnapshotSenderParts;
  readonly #queue: SnapshotQueue = { waiting: new Map(), transfers: new Map() };
  /** By round. A snapshot is held until it has left for every worker, and for a moment while its round lasts. */
  readonly #held = new Map<number, readonly Piece[]>();
  /** By the worker's id, while it is connected. */
  readonly #servings = new Map<string, Servings>();
  readonly #seeding: Seeding;
  #lastUsedMs = 0;
  /** Until then no transfer begins while somebody computes. */
  #busyUntilMs = -Infinity;

  constructor(parts: SnapshotSenderParts) {
    this.#parts = parts;
    this.#seeding = new Seeding(parts, this.#queue);
  }

  /** Bytes of the snapshots in memory. */
  get heldBytes(): number {
    let bytes = 0;
    for (const frame of [...this.#held.values()].flat(2)) bytes += frame.byteLength;
    return bytes;
  }

  /**
   * Sends the worker a snapshot when its turn comes. Several requests before that count as one.
   * @param notBefore the snapshot must not be older than this round. Default: the current one
   */
  request(workerId: string, notBefore = this.#parts.round()): void {
    const { waiting } = this.#queue;
    this.#seeding.forget(workerId);
    const { toldMs = this.#parts.nowMs(), fromPeers = false } = waiting.get(workerId) ?? {};
    // It keeps its place: a request that comes again is no reason to wait longer.
    waiting.set(workerId, { notBefore, toldMs, fromPeers, restsUntilMs: restsUntilMs(this.#servings.get(workerId)) });
    this.#giveUp();
    this.#serve();
  }

  /** The worker needs no snapshot: it has one, is parked, or has left. One that is on its way is sent to its end. */
  forget(workerId: string): void {
    this.#queue.waiting.delete(workerId);
    this.#seeding.forget(workerId);
  }

  handle(event: ConductorEvent): void {
    switch (event.type) {
      case 'workerLeft':
        this.#servings.delete(event.worker.id);
        return this.forget(event.worker.id);
      case 'workerMessage':
        return this.#onMessage(event.worker.id, event.message);
      case 'updated':
        this.#giveUp();
        return this.#serve();
      case 'order':
        return event.order.type === 'tick' ? this.#tick() : undefined;
      default:
    }
  }

  #onMessage(workerId: string, message: WorkerMessage): void {
    switch (message.type) {
      case 'decline':
      case 'progress':
        return;
      case 'seeded':
        if (!this.#seeding.onSeeded(workerId, message)) return;
        break;
      case 'resync': {
        const request = this.#queue.waiting.get(workerId);
        if (request) request.fromPeers = message.fromPeers;
        break;
      }
      case 'ready':
        // It has restored a snapshot since it asked.
        this.forget(workerId);
        break;
      default:
        return message satisfies never;
    }
    this.#seeding.review(this.#moment());
  }

  #moment(): Moment {
    const { parameters, round, readyWorkers } = this.#parts;
    const nowMs = this.#parts.nowMs();
    const isSeeding = this.#seeding.isImminent(nowMs);
    return { round: round(), nowMs, retained: retainedUpdates(parameters), readyWorkers: readyWorkers(), isSeeding };
  }

  #tick(): void {
    for (const [workerId, transfer] of this.#queue.transfers) this.#noteProgress(workerId, transfer);
    this.#giveUp();
    this.#serve();
    const { nowMs } = this.#moment();
    let ahead = 0;
    for (const [workerId, waiting] of this.#queue.waiting) {
      if (mustBeTold(waiting, nowMs)) {
        waiting.toldMs = nowMs;
        this.#parts.workers.send(workerId, { type: 'queued', ahead });
      }
      ahead++;
    }
  }

  #noteProgress(workerId: string, transfer: Transfer): void {
    const bufferedBytes = this.#parts.channelOf(workerId)?.bufferedBytes ?? 0;
    if (bufferedBytes < transfer.bufferedBytes) transfer.progressMs = this.#parts.nowMs();
    transfer.bufferedBytes = bufferedBytes;
  }

  /** Starts what may start. */
  #serve(): void {
    this.#seeding.review(this.#moment());
    this.#discard();
    // Otherwise the next update or tick is early enough.
    while (!this.#rests()) {
      const start = nextStart(this.#queue, [...this.#held.keys()], this.#moment());
      if (!start || !this.#begin(start)) return;
    }
  }

  /** @returns false when there is nothing to send */
  #begin({ workerId, round }: Start): boolean {
    const channel = this.#parts.channelOf(workerId);
    const pieces = channel && (this.#held.get(round) ?? this.#encode());
    if (channel && !pieces) return false;
    this.#queue.waiting.delete(workerId);
    if (!channel || !pieces) return true;
    const { nowMs } = this.#moment();
    const transfer = { round, startedMs: nowMs, progressMs: nowMs, bufferedBytes: 0 };
    this.#queue.transfers.set(workerId, transfer);
    this.#servings.set(workerId, noteServing(this.#servings.get(workerId), nowMs));
    this.#lastUsedMs = nowMs;
    this.#send(channel, pieces, transfer)
      .then(() => {
        if (this.#queue.transfers.get(workerId) === transfer) this.#queue.transfers.delete(workerId);
        this.#serve();
      })
      .catch(this.#parts.fail);
    return true;
  }

  #encode(): readonly Piece[] | undefined {
    const state = this.#parts.take();
    if (!state) return undefined;
    const { round, parametersDigest, parts } = state;
    const encode = (): readonly Piece[] =>
      inPieces(encodeFrames({ type: 'snapshot', round, parametersDigest }, parts), LIMITS.snapshotPieceBytes);
    const pieces = this.#timed(encode);
    this.#held.set(round, pieces);
    return pieces;
  }

  /** Resolves when all of it has left, or the link is closed. */
  async #send(channel: ControlSession['channel'], pieces: readonly Piece[], transfer: Transfer): Promise<void> {
    try {
      for (const piece of pieces) {
        await channel.drained(LIMITS.snapshotPieceBytes);
        this.#timed(() => channel.sendEncoded(piece));
        transfer.progressMs = this.#parts.nowMs();
        transfer.bufferedBytes = channel.bufferedBytes;
      }
      await channel.drained(0);
    } catch (error) {
      if (!(error instanceof TransportError || error instanceof ProtocolError)) throw error;
      // The link's receive loop ends its session.
      channel.close(error.message);
    }
  }

  /** Takes note of the time that this takes, so that snapshots have no more than their part of it. */
  #timed<T>(act: () => T): T {
    const { nowMs } = this.#parts;
    const startMs = nowMs();
    try {
      return act();
    } finally {
      const tookMs = nowMs() - startMs;
      this.#busyUntilMs = Math.max(this.#busyUntilMs, startMs) + tookMs / SNAPSHOTS_PART;
    }
  }

  /** Those that compute have the coordinator to themselves for a while. */
  #rests(): boolean {
    return this.#parts.nowMs() < this.#busyUntilMs && this.#parts.readyWorkers() > 0;
  }

  #giveUp(): void {
    const moment = this.#moment();
    for (const [workerId, why] of transfersToGiveUp(this.#queue, moment)) {
      const text = this.#explain(why, moment);
      const restMs = why === 'inTheWay' ? 0 : this.#parts.workers.leaveOut(workerId, text);
      this.#disconnect(workerId, text, restMs);
    }
  }

  /** Disconnects a worker, if it is there, whose link is too slow to join. It joins again by itself, after a rest. */
  leaveOut(workerId: string, reason: string): void {
    if (!this.#parts.channelOf(workerId)) return;
    this.forget(workerId);
    this.#disconnect(workerId, reason, this.#parts.workers.leaveOut(workerId, reason));
  }

  #disconnect(workerId: string, reason: string, restMs: number): void {
    this.#parts.channelOf(workerId)?.close(reason);
    const when = restMs > 0 ? ` in ${Math.ceil(restMs / 60_000)} min` : '';
    this.#parts.report({
      event: 'note',
      level: 'warn',
      text: `worker ${workerId} is disconnected: ${reason}`,
      remedy: `It joins again by itself${when}. If this repeats, it needs a faster link, or the run longer rounds (a larger --batch, or --local-steps).`,
    });
    // Its end is noticed later; until then it must not hold the snapshot.
    this.#queue.transfers.delete(workerId);
  }

  #explain(why: GivenUp, { retained }: Moment): string {
    switch (why) {
      case 'stalled':
        return `it did not read its snapshot for ${LIMITS.transferIdleMs / 1000} s`;
      case 'outdated':
        return `its link is too slow: it did not receive a whole snapshot within ${retained} rounds`;
      case 'late':
        return `its link is too slow: it did not receive a whole snapshot within ${LIMITS.snapshotTransferMs / 60_000} minutes`;
      case 'inTheWay':
        return 'its link is slow, and another worker needs a newer snapshot than the one on its way';
    }
  }

  /** Lets go of snapshots that nobody is being sent, unless more workers are likely to ask for them. */
  #discard(): void {
    const { round: current, nowMs } = this.#moment();
    const used = new Set([...this.#queue.transfers.values()].map(({ round }) => round));
    for (const round of this.#held.keys()) {
      const wanted = round === current && nowMs - this.#lastUsedMs < LIMITS.snapshotTurnMs;
      if (!used.has(round) && !wanted) this.#held.delete(round);
    }
  }
}

/** Frames in pieces of at most `bytes`; a larger frame is a piece of its own. */
export function inPieces(frames: readonly Uint8Array[], bytes: number): readonly Piece[] {
  const pieces: Uint8Array[][] = [];
  let room = 0;
  for (const frame of frames) {
    if (frame.byteLength > room) {
      pieces.push([]);
      room = bytes;
    }
    pieces.at(-1)!.push(frame);
    room -= frame.byteLength;
  }
  return pieces;
}
