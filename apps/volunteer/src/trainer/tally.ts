import type { Progress } from '../messages.js';
import type { Work } from './throttled-engine.js';

/** Sums up what was computed between two reports to the page: rounds may take a millisecond. */
export interface Tally {
  /** A gradient is done; it may be of a lease, or a measurement before the first. */
  worked(work: Work): void;
  /** A lease of this round is computed and sent; `credit` counts up from the first of runWorker. */
  computed(round: number, credit: number): void;
  /** What happened since the last time; undefined: nothing. */
  take(sentBytes: number, receivedBytes: number, heatFactor: number): Progress | undefined;
}

export function createTally(): Tally {
  let last: Work = { characters: 0, busyMs: 0, threads: 1 };
  let credit = 0;
  let round: number | undefined;
  let open = { characters: 0, rounds: 0, busyMs: 0 };
  const told = { sentBytes: 0, receivedBytes: 0, heatFactor: 1 };
  return {
    worked(work) {
      last = work;
    },
    computed(ofRound, creditNow) {
      open.characters += creditNow - credit;
      // Several leases may be of one round.
      if (ofRound !== round) open.rounds++;
      open.busyMs += last.busyMs;
      [round, credit] = [ofRound, creditNow];
    },
    take(sentBytes, receivedBytes, heatFactor) {
      const sent = sentBytes - told.sentBytes;
      const received = receivedBytes - told.receivedBytes;
      if (sent === 0 && received === 0 && open.characters === 0 && heatFactor === told.heatFactor) return undefined;
      Object.assign(told, { sentBytes, receivedBytes, heatFactor });
      const sums = open;
      open = { characters: 0, rounds: 0, busyMs: 0 };
      return { kind: 'progress', round, ...sums, threads: last.threads, sentBytes: sent, receivedBytes: received, heatFactor };
    },
  };
}
