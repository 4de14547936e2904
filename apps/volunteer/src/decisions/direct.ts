/** Direct links to other machines: what this device may do with them, and what became of them. */
import type { TransportErrorCode } from '@troupe/transport';
import type { DirectState } from '../messages.js';

export interface DirectHost {
  /** What the browser says of the device; undefined where it says nothing. */
  readonly mobile: boolean | undefined;
  /** The device is operated with fingers: a phone or a tablet. */
  readonly coarsePointer: boolean;
  /** The browser gives this page threads. Without them, other machines would wait for this one while it computes. */
  readonly threads: boolean;
}

/** Whether this device sums for others. Phones and tablets do not: their links are slow and metered, and come and go. */
export function canSum({ mobile = false, coarsePointer, threads }: DirectHost): boolean {
  return threads && !mobile && !coarsePointer;
}

/** Why there is no direct link; texts.ts explains it. */
export type DirectObstacle = 'none' | 'blocked' | 'unanswered' | 'unusable';

/** @returns the number of machines with a direct link, or why there is none */
export function explainDirect({ linked, failures }: DirectState): number | DirectObstacle {
  if (linked > 0) return linked;
  const [first] = OBSTACLES.filter(({ codes }) => codes.some((code) => failures.includes(code)));
  return first?.obstacle ?? 'none';
}

/** The one that tells the most comes first. Others, such as `aborted`, say nothing of the network. */
const OBSTACLES: readonly { readonly obstacle: DirectObstacle; readonly codes: readonly TransportErrorCode[] }[] = [
  { obstacle: 'blocked', codes: ['unreachable'] },
  { obstacle: 'unusable', codes: ['refused', 'invalid_address'] },
  { obstacle: 'unanswered', codes: ['timeout', 'lost'] },
];
