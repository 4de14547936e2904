/** What a curve of gradient norms against the steps back says. */

export type FlowReading =
  /** Less than a hundredth is left `reach` steps back. */
  | { readonly kind: 'vanishing'; readonly reach: number }
  /** It grows to `factor` times what it is at the end of the window. */
  | { readonly kind: 'exploding'; readonly factor: number }
  /** `left` of it, of 1, comes to the start of the window. */
  | { readonly kind: 'steady'; readonly left: number; readonly steps: number }
  /** Too short, or without any gradient. */
  | { readonly kind: 'unknown' };

const GONE = 0.01;
const EXPLODED = 10;
const MIN_STEPS = 4;

/** @param norms [T], index i: i steps before the last one */
export function readFlow(norms: readonly number[]): FlowReading {
  const [start] = norms;
  if (norms.length < MIN_STEPS || !(start > 0) || !norms.every(Number.isFinite)) return { kind: 'unknown' };
  const highest = Math.max(...norms);
  if (highest >= EXPLODED * start) return { kind: 'exploding', factor: highest / start };
  const reach = reachOf(norms);
  if (reach !== undefined) return { kind: 'vanishing', reach };
  return { kind: 'steady', left: norms[norms.length - 1] / start, steps: norms.length - 1 };
}

/** Steps back from which on less than a hundredth is left; undefined: some arrives at the start of the window. */
export function reachOf(norms: readonly number[]): number | undefined {
  const reach = lastAbove(norms, GONE * norms[0]) + 1;
  return reach < norms.length ? reach : undefined;
}

/** From where on nothing is above: a dip that recovers is no end. */
function lastAbove(norms: readonly number[], limit: number): number {
  for (let i = norms.length - 1; i >= 0; i--) if (norms[i] >= limit) return i;
  return -1;
}

/** Norms of 1 at the end of the window, so that networks of any size lie side by side. */
export function relative(norms: readonly number[]): (number | null)[] {
  const [start] = norms;
  return norms.map((norm) => (start > 0 && norm > 0 ? norm / start : null));
}
