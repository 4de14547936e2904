/** Who sums the gradients, in words. */
import type { WorkerView } from '@troupe/run';
import type { Texts } from '../texts.js';
import type { Format } from './format.js';

/** Beside the state of a worker. `label` is empty for one that does not offer to sum. */
export interface PeerMark {
  readonly label: string;
  readonly what: string;
}

export function peerMark({ peer, state }: Pick<WorkerView, 'peer' | 'state'>, texts: Texts, format: Format): PeerMark {
  if (!peer || state === 'left') return { label: '', what: '' };
  const figures = [format.whole(peer.reachedBy), format.whole(peer.workers)] as const;
  return peer.sums
    ? { label: texts.sums, what: texts.sumsWhat(...figures) }
    : { label: texts.offers, what: texts.offersWhat(...figures) };
}

/** After the number of workers; empty while nobody offers to sum. */
export function summingText(workers: readonly Pick<WorkerView, 'peer'>[], texts: Texts, format: Format): string {
  const peers = workers.flatMap(({ peer }) => peer ?? []);
  const summing = peers.filter(({ sums }) => sums).length;
  if (summing > 0) return texts.whoSums(format.whole(summing));
  return peers.length > 0 ? texts.nobodySums : '';
}
