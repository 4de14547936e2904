/** Sends a worker the pieces of the snapshot that this one keeps for others. */
import { LIMITS, type Channel, type MessageOf } from '@troupe/protocol';
import type { KeptSnapshot } from '../port.js';

export interface Seed {
  /**
   * Answers one request. It waits while much is queued for the worker, so that the updates for it are not held up, and takes the link for stuck
   * if that does not change. @throws what the channel throws
   */
  send(wanted: MessageOf<'wantPiece'>): Promise<void>;
}

export function createSeed(kept: () => KeptSnapshot | undefined, channel: Pick<Channel, 'send' | 'drained'>): Seed {
  let snapshot: KeptSnapshot | undefined;
  let sentBytes = 0;
  return {
    async send({ round, offset, bytes }) {
      await channel.drained(LIMITS.snapshotPieceBytes);
      const held = kept();
      if (held !== snapshot) [snapshot, sentBytes] = [held, 0];
      const piece = held?.round === round ? held.bytes.subarray(offset, offset + bytes) : undefined;
      // A worker that asks on and on would take this one's upload from the others.
      const isDue = piece?.byteLength === bytes && sentBytes + bytes <= LIMITS.seedShares * held!.bytes.byteLength;
      if (isDue) sentBytes += bytes;
      channel.send({ type: 'piece', round, offset, bytes: isDue ? bytes : 0 }, isDue ? piece : []);
    },
  };
}
