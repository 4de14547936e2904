import type { Work } from '@troupe/engines';
import type { Progress } from '../messages.js';

/** Sums up what is computed between two reports to the page, since a round may take only a millisecond. */
export interface Tally {
  /** A gradient is done, of a lease or of the measurement before the first. */
  worked(work: Work): void;
  /** A lease of this round is computed and sent. @param credit characters since runWorker began */
  computed(round: number, credit: number): void;
  /** A contribution to this round counts. */
  counted(round: number, characters: number): void;
  /** What happened since the last report; undefined: nothing, and it was not long ago. */
  take(sentBytes: number, receivedBytes: number, heatFactor: number): Progress | undefined;
}

/** Speeds sink while nothing counts, so the page hears of that as well. */
const SILENT_MS = 1_000;

export function createTally(nowMs: () => number): Tally {
  let last: Work = { characters: 0, busyMs: 0, threads: 1 };
  let credit = 0;
  let round: number | undefined;
  let countedRound: number | undefined;
  let pending = { computed: 0, characters: 0, rounds: 0 };
  let reportedMs = nowMs();
  const reported = { sentBytes: 0, receivedBytes: 0, heatFactor: 1 };
  return {
    worked(work) {
      last = work;
    },
    computed(ofRound, creditNow) {
      pending.computed += creditNow - credit;
      [round, credit] = [ofRound, creditNow];
    },
    counted(ofRound, characters) {
      pending.characters += characters;
      // A round may have several leases.
      if (ofRound !== countedRound) pending.rounds++;
      countedRound = ofRound;
    },
    take(sentBytes, receivedBytes, heatFactor) {
      const sent = sentBytes - reported.sentBytes;
      const received = receivedBytes - reported.receivedBytes;
      const elapsedMs = nowMs() - reportedMs;
      const isNews = pending.computed + pending.characters + sent + received > 0 || heatFactor !== reported.heatFactor;
      if (!isNews && elapsedMs < SILENT_MS) return undefined;
      Object.assign(reported, { sentBytes, receivedBytes, heatFactor });
      reportedMs += elapsedMs;
      const sums = pending;
      pending = { computed: 0, characters: 0, rounds: 0 };
      const { threads } = last;
      return { kind: 'progress', round, ...sums, elapsedMs, threads, sentBytes: sent, receivedBytes: received, heatFactor };
    },
  };
}
