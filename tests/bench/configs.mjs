/** The measured sizes. L layers, H hidden units, B streams, T time steps, V characters. */

/** @typedef {{ layers: number, hidden: number, streams: number, window: number }} Size */

/** V of tiny-shakespeare, the usual benchmark text. */
export const VOCABULARY = 65;

/** @type {Size} */
export const SMALL = { layers: 1, hidden: 128, streams: 32, window: 64 };
/** @type {Size} */
export const MEDIUM = { layers: 2, hidden: 256, streams: 32, window: 64 };
/** @type {readonly Size[]} */
export const ALL_SIZES = [
  SMALL,
  MEDIUM,
  { layers: 2, hidden: 512, streams: 64, window: 64 },
  { layers: 3, hidden: 512, streams: 50, window: 50 },
];

/** @param {Size} size */
export function describeSize({ layers, hidden, streams, window }) {
  return `${layers}x${hidden}, B=${streams}, T=${window}`;
}

/** Characters of a step. @param {Size} size */
export function characters({ streams, window }) {
  return streams * window;
}

/**
 * Multiplications and additions in the matrix products of one forward and backward pass. The one-hot input counts as a table
 * look-up, which costs none. A contestant that multiplies by it does more work than this counts.
 * @param {Size} size
 */
export function flops({ layers: L, hidden: H, streams: B, window: T }) {
  return 6 * B * T * (4 * H * H * (2 * L - 1) + H * VOCABULARY);
}
