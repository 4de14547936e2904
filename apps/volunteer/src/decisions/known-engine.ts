/** Which engine this tab has measured as the fastest for a model, so that a volunteer who pauses and resumes does not wait for that again. */
import type { KnownEngine } from '../messages.js';

/** @param lost engines that failed in this session: the next one is chosen anew */
export function reusable(known: KnownEngine | undefined, key: string, lost: readonly string[]): KnownEngine | undefined {
  return known?.key === key && lost.length === 0 ? known : undefined;
}

/** @returns undefined where the speed has to be measured: rests between gradients follow from the share */
export function knownSpeed(known: KnownEngine | undefined, share: number): number | undefined {
  return known?.share === share ? known.charsPerSecond : undefined;
}
