/**
 * Unusual decisions of the scheduler, as data: shells render them as text, count them or translate
 * them.
 */
import type { LocalAdvice } from './advice.js';
import type { ContributionRefusal, DeclineCode } from '@troupe/protocol';

/** Workers are given by name. `reason` is the text that came with the input. */
export type Decision =
  /** Someone paused the run: open leases still count, no new ones are granted. */
  | { readonly kind: 'paused'; readonly by: string }
  | { readonly kind: 'resumed'; readonly by: string; readonly lent: Lent }
  /** These workers' leases are past their deadlines. */
  | { readonly kind: 'late'; readonly workers: readonly string[]; readonly lent: Lent }
  /** These workers stayed silent long after their deadlines; each is sent a snapshot. */
  | { readonly kind: 'stuck'; readonly workers: readonly string[]; readonly lent: Lent }
  /** A worker left that had leases. */
  | { readonly kind: 'workerLeft'; readonly worker: string; readonly reason: string; readonly lent: Lent }
  /** A worker that had leases needs a snapshot. */
  | { readonly kind: 'workerResynced'; readonly worker: string; readonly reason: string; readonly lent: Lent }
  /** A worker paused itself: it gets no leases until it is ready again. */
  | { readonly kind: 'workerPaused'; readonly worker: string; readonly reason: string; readonly lent: Lent }
  /**
   * These workers receive no updates and no leases. `faster`: by how much a round is faster without
   * them, as a part of the round.
   */
  | { readonly kind: 'parked'; readonly workers: readonly string[]; readonly faster: number }
  /** Updates pile up at the link of this worker, so it receives none and no leases. It is not fetched back before `restMs` are over. */
  | { readonly kind: 'lagging'; readonly worker: string; readonly restMs: number }
  /**
   * These workers are fetched back. `faster`: rounds will be faster with them · `alone`: nobody else
   * can compute · `trial`: a trial has shown that rounds are faster with them.
   */
  | { readonly kind: 'unparked'; readonly workers: readonly string[]; readonly why: 'faster' | 'alone' | 'trial' }
  /** A worker returned a lease. */
  | {
      readonly kind: 'declined';
      readonly worker: string;
      readonly code: DeclineCode;
      readonly reason: string;
      readonly lent: Lent;
    }
  /** A worker sent a wrong result, which does not count. */
  | {
      readonly kind: 'rejected';
      readonly worker: string;
      readonly result: ContributionRefusal;
      readonly reason: string;
      readonly lent: Lent;
    }
  /**
   * The coordinator has computed a lease of the worker again, and the result differs. `since`: the first round in which something of it
   * counted that was not audited.
   */
  | { readonly kind: 'auditFailed'; readonly worker: string; readonly reason: string; readonly since: number | undefined }
  /**
   * The training loss is far above that of guessing, nats/char. The run stops when it stays above
   * `stopsAbove` for `rounds` rounds; 0 = never.
   */
  | {
      readonly kind: 'lossHigh';
      readonly trainLoss: number;
      readonly chanceLoss: number;
      readonly stopsAbove: number;
      readonly rounds: number;
    }
  /**
   * These workers sum the gradients from here on; none: the all-reduce service does. `able`: workers that could, if enough others could
   * as well. `compared`: how long a round took with workers that sum and with the service, ms, if both were tried.
   */
  | {
      readonly kind: 'topology';
      readonly reducers: readonly string[];
      readonly able: number;
      readonly compared?: { readonly peersMs: number; readonly starMs: number };
    }
  /**
   * These many workers wait for their links for most of an exact round. Local rounds would keep them busy; said once in a run.
   */
  | ({ readonly kind: 'thinLinks'; readonly workers: number } & LocalAdvice)
  /** The all-reduce service is back, empty: the round starts over. */
  | { readonly kind: 'reopened'; readonly lent: Lent };

/** What the same step lent. */
export interface Lent {
  readonly streams: number;
  /** The number of workers that got these streams. */
  readonly workers: number;
  /** Streams that are not counted and that no reliable lease covers. */
  readonly uncovered: number;
  /** Who paused the run. Nothing is lent until all of them resume it. */
  readonly pausedBy: readonly string[];
}
