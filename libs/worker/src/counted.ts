/** Which contributions of this worker counted, as the all-reduce answers: others may have been faster with the same streams. */
import type { MemberEvent } from '@troupe/collective';
import type { MessageOf } from '@troupe/protocol';

export interface CountedWork {
  readonly round: number;
  readonly characters: number;
}

export interface CountedWatch {
  lent(lease: Pick<MessageOf<'lease'>, 'leaseId' | 'round' | 'streams'>): void;
  heard(event: Pick<MemberEvent, 'kind'> & Partial<Pick<MessageOf<'contributionResult'>, 'leaseId' | 'round' | 'result'>>): void;
}

/** @param window characters of a stream in a round */
export function watchCounted(window: number, onCounted: (work: CountedWork) => void): CountedWatch {
  const lent = new Map<string, CountedWork>();
  return {
    lent: ({ leaseId, round, streams }) => void lent.set(leaseId, { round, characters: streams.length * window }),
    heard({ kind, leaseId = '', round = -1, result }) {
      if (kind === 'result') {
        const work = lent.get(leaseId);
        lent.delete(leaseId);
        if (work && result === 'counted') onCounted(work);
      }
      // The update of a round follows the answers to its contributions.
      if (kind === 'update') for (const [id, work] of lent) if (work.round <= round) lent.delete(id);
    },
  };
}
