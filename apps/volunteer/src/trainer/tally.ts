import type { Work } from '@troupe/engines';
import type { Progress } from '../messages.js';

/** Sums up what is computed between two reports to the page, since a round may take only a millisecond. */
export interface Tally {
  /** A gradient is done, of a lease or of the measurement before the first. */
  worked(work: Work): void;
  /** A lease of this round is computed and sent. @param credit characters since runWorker began */
  computed(round: number, credit: number): void;
  /** What happened since the last call; undefined: nothing. */
  take(sentBytes: number, receivedBytes: number, heatFactor: number): Progress | undefined;
}

export function createTally(): Tally {
  let last: Work = { characters: 0, busyMs: 0, threads: 1 };
  let credit = 0;
  let round: number | undefined;
  let pending = { characters: 0, rounds: 0, busyMs: 0 };
  const reported = { sentBytes: 0, receivedBytes: 0, heatFactor: 1 };
  return {
    worked(work) {
      last = work;
    },
    computed(ofRound, creditNow) {
      pending.characters += creditNow - credit;
      // A round may have several leases.
      if (ofRound !== round) pending.rounds++;
      pending.busyMs += last.busyMs;
      [round, credit] = [ofRound, creditNow];
    },
    take(sentBytes, receivedBytes, heatFactor) {
      const sent = sentBytes - reported.sentBytes;
      const received = receivedBytes - reported.receivedBytes;
      if (sent === 0 && received === 0 && pending.characters === 0 && heatFactor === reported.heatFactor) return undefined;
      Object.assign(reported, { sentBytes, receivedBytes, heatFactor });
      const sums = pending;
      pending = { characters: 0, rounds: 0, busyMs: 0 };
      return { kind: 'progress', round, ...sums, threads: last.threads, sentBytes: sent, receivedBytes: received, heatFactor };
    },
  };
}
