/** What the scheduler decides that is out of the ordinary, as data: shells render it as text, count it and translate it. */
import type { ContributionRefusal, DeclineCode } from '@troupe/protocol';

/** Workers go by their names; a `reason` is the text that came with the input. */
export type Decision =
  /** Someone holds the run back: open leases still count, no new ones are dealt. */
  | { readonly kind: 'paused'; readonly by: string }
  | { readonly kind: 'resumed'; readonly by: string; readonly lent: Lent }
  /** These workers' leases are past their deadlines. */
  | { readonly kind: 'late'; readonly workers: readonly string[]; readonly lent: Lent }
  /** These workers were silent long after their deadlines, and are sent snapshots. */
  | { readonly kind: 'stuck'; readonly workers: readonly string[]; readonly lent: Lent }
  /** A worker left that had leases. */
  | { readonly kind: 'workerLeft'; readonly worker: string; readonly reason: string; readonly lent: Lent }
  /** A worker that had leases fetches a snapshot. */
  | { readonly kind: 'workerResynced'; readonly worker: string; readonly reason: string; readonly lent: Lent }
  /** A worker paused itself: it gets no leases until it is ready again. */
  | { readonly kind: 'workerPaused'; readonly worker: string; readonly reason: string; readonly lent: Lent }
  /** A worker gave a lease back. */
  | {
      readonly kind: 'declined';
      readonly worker: string;
      readonly code: DeclineCode;
      readonly reason: string;
      readonly lent: Lent;
    }
  /** A worker computed something wrong, which is not counted. */
  | {
      readonly kind: 'rejected';
      readonly worker: string;
      readonly result: ContributionRefusal;
      readonly reason: string;
      readonly lent: Lent;
    }
  /** The all-reduce service is back, empty: the round starts over. */
  | { readonly kind: 'reopened'; readonly lent: Lent };

/** What was lent in the same step. */
export interface Lent {
  readonly streams: number;
  /** To how many workers. */
  readonly workers: number;
  /** Streams that are not counted, and that no reliable lease covers now. */
  readonly uncovered: number;
  /** Who holds the run back; nothing is lent while there is anyone. */
  readonly pausedBy: readonly string[];
}
