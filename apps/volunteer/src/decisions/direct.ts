/** Direct links to other machines: what this device may do with them, and what became of them. */
import type { TransportErrorCode } from '@troupe/transport';
import type { DirectState } from '../messages.js';
import { isHandheld, type Device } from './device.js';

export interface DirectHost extends Pick<Device, 'mobile' | 'coarsePointer'> {
  /** The volunteer limits the rate of this device's links, which would hold up others. */
  readonly isRateLimited: boolean;
  /** The browser gives this page threads. Without them, other machines would wait for this one while it computes. */
  readonly threads: boolean;
}

/** Whether this device sums for others. Phones and tablets do not: their links are slow and metered, and come and go. */
export function canSum(host: DirectHost): boolean {
  return host.threads && !host.isRateLimited && !isHandheld(host);
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
