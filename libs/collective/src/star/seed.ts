/** Sends workers the pieces of the snapshot that this one keeps for others. */
import { LIMITS, ProtocolError, type Channel, type MessageOf } from '@troupe/protocol';
import type { KeptSnapshot } from '../port.js';
import type { LinksOptions } from './links.js';

type Taker = Pick<Channel, 'remote' | 'send' | 'drained'>;

export class Seed {
  readonly #kept: () => KeptSnapshot | undefined;
  readonly #deadline: LinksOptions['deadline'];
  /** What the counts below are of. */
  #snapshot: KeptSnapshot | undefined;
  /** Bytes sent, by worker: it may come back over another link. */
  readonly #sent = new Map<string, number>();

  constructor(kept: () => KeptSnapshot | undefined, deadline: LinksOptions['deadline']) {
    this.#kept = kept;
    this.#deadline = deadline;
  }

  /**
   * Answers one request. It waits while much is queued for the worker, so that the updates for it are not held up.
   * @throws ProtocolError `limit_exceeded` if the worker does not read; what the channel throws
   */
  async send(workerId: string, taker: Taker, { round, offset, bytes }: MessageOf<'wantPiece'>): Promise<void> {
    await this.#drained(taker);
    const snapshot = this.#kept();
    if (snapshot !== this.#snapshot) this.#sent.clear();
    this.#snapshot = snapshot;
    const piece = snapshot?.round === round ? snapshot.bytes.subarray(offset, offset + bytes) : undefined;
    const sentBytes = (this.#sent.get(workerId) ?? 0) + bytes;
    // A worker that asks on and on would take this one's upload from the others.
    const isDue = piece?.byteLength === bytes && sentBytes <= LIMITS.seedShares * snapshot!.bytes.byteLength;
    if (isDue) this.#sent.set(workerId, sentBytes);
    taker.send({ type: 'piece', round, offset, bytes: isDue ? bytes : 0 }, isDue ? piece : []);
  }

  async #drained(taker: Taker): Promise<void> {
    const deadline = this.#deadline(LIMITS.transferIdleMs);
    try {
      await taker.drained(LIMITS.snapshotPieceBytes, deadline);
    } catch (cause) {
      if (!deadline.aborted) throw cause;
      const message = `${taker.remote} does not read the pieces of a snapshot`;
      throw new ProtocolError('limit_exceeded', message, 'Nothing to do: it links to this worker again.', { cause });
    }
  }
}
