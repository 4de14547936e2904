/** Which engine this tab has measured as the fastest for a model, so that a volunteer who pauses and resumes does not wait for that again. */
import type { EngineKind, EngineTrial } from '../messages.js';

export interface KnownEngine {
  /** Of what was measured: the model, the sizes and what was allowed. */
  readonly key: string;
  readonly kind: EngineKind;
  /** Of its kernels; undefined: it chooses them itself. */
  readonly variant: string | undefined;
  readonly trials: readonly EngineTrial[];
  /** The share of the device at which its speed was measured, 0.1 to 1. */
  readonly share: number;
  /** Undefined: the measurement was not finished. */
  readonly charsPerSecond: number | undefined;
}

/** @param lost engines that failed in this session: the next one is chosen anew */
export function reusable(known: KnownEngine | undefined, key: string, lost: readonly string[]): KnownEngine | undefined {
  return known?.key === key && lost.length === 0 ? known : undefined;
}

/** @returns undefined where the speed has to be measured: rests between gradients follow from the share */
export function knownSpeed(known: KnownEngine | undefined, share: number): number | undefined {
  return known?.share === share ? known.charsPerSecond : undefined;
}
