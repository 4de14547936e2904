/**
 * What norms of gradients a run expects. A contribution far beyond them need not be a lie: a gradient may jump. It is a reason to compute the
 * lease again before it counts.
 */

/** The contributions whose median counts. So few that it follows a gradient that grows in earnest. */
const RECENT = 64;
/** Before so many are known, any norm is expected. */
const LEAST = 16;
/**
 * Times the median. Honest norms spread because leases have unequal sizes and windows unequal texts: that of a lease of one short window reaches
 * nine times the median (`npm run simulate -- --honest`). Gradients that explode exceed any factor, and their audits find nothing.
 */
export const FAR_BEYOND = 10;

export interface Norms {
  /** Per character, of the last contributions, in no order. */
  readonly recent: number[];
  /** Where the next one goes. */
  next: number;
  /** Undefined: it has to be computed. */
  median: number | undefined;
}

export function createNorms(): Norms {
  return { recent: [], next: 0, median: undefined };
}

/** The contribution counts, so it is no lie, or one that an audit has yet to find: a few cannot move a median. */
export function noteNorm(norms: Norms, norm: number): void {
  norms.recent[norms.next] = norm;
  norms.next = (norms.next + 1) % RECENT;
  norms.median = undefined;
}

/** Gradients will be others from now on. */
export function forgetNorms(norms: Norms): void {
  Object.assign(norms, createNorms());
}

/** The largest norm that is expected. MAX_VALUE: any is, and it is measured. */
export function largestExpected(norms: Norms): number {
  const { recent } = norms;
  if (recent.length < LEAST) return Number.MAX_VALUE;
  norms.median ??= recent.toSorted((a, b) => a - b)[recent.length >> 1];
  return norms.median > 0 ? norms.median * FAR_BEYOND : Number.MAX_VALUE;
}
