/** What a curve of gradient norms by steps back means. */
import type { FlowState } from '@troupe/run';

export type FlowReading =
  /** From `reach` steps back on, less than 1% of the gradient is left. */
  | { readonly kind: 'vanishing'; readonly reach: number }
  /** The same in a cell with gates, which decide what to forget: that is no fault, and may change as they learn. */
  | { readonly kind: 'fading'; readonly reach: number }
  /** It grows to `factor` times its norm at the end of the window. */
  | { readonly kind: 'exploding'; readonly factor: number }
  /** The fraction `left` of it reaches the start of the window, `steps` back. */
  | { readonly kind: 'steady'; readonly left: number; readonly steps: number }
  /** It was measured through h alone, where the gradient of an LSTM, which travels in c, looks smaller than it is. */
  | { readonly kind: 'hidden' }
  /** The curve is too short or has no gradient. */
  | { readonly kind: 'unknown' };

const GONE = 0.01;
const EXPLODED = 10;
const MIN_STEPS = 4;

/** What was measured: the cell of the network, and its state. */
export interface Measured {
  readonly cell: string;
  readonly state: FlowState | undefined;
}

/** @param norms [T]; index i: i steps before the last character */
export function readFlow(norms: readonly number[], { cell, state }: Measured): FlowReading {
  const [start] = norms;
  if (norms.length < MIN_STEPS || !(start > 0) || !norms.every(Number.isFinite)) return { kind: 'unknown' };
  const highest = Math.max(...norms);
  if (highest >= EXPLODED * start) return { kind: 'exploding', factor: highest / start };
  const reach = reachOf(norms);
  if (reach !== undefined && cell === 'lstm' && state !== 'hc') return { kind: 'hidden' };
  if (reach !== undefined) return { kind: cell.startsWith('rnn') ? 'vanishing' : 'fading', reach };
  return { kind: 'steady', left: norms[norms.length - 1] / start, steps: norms.length - 1 };
}

/** Steps back from which on less than 1% is left; undefined: more reaches the start of the window. */
export function reachOf(norms: readonly number[]): number | undefined {
  const reach = lastAbove(norms, GONE * norms[0]) + 1;
  return reach < norms.length ? reach : undefined;
}

/** The last index that is not below the limit; a dip that recovers does not count. */
function lastAbove(norms: readonly number[], limit: number): number {
  for (let i = norms.length - 1; i >= 0; i--) if (norms[i] >= limit) return i;
  return -1;
}

/** Scales norms to 1 at the end of the window, so that networks of any size can be compared. */
export function relative(norms: readonly number[]): (number | null)[] {
  const [start] = norms;
  return norms.map((norm) => (start > 0 && norm > 0 ? norm / start : null));
}
