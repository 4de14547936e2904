/** Sets the sixteen lanes to their values before the first word. */
export function beginDigest(lanes: Uint32Array): void {
  for (let lane = 0; lane < 16; lane++) lanes[lane] = Math.imul(lane + 1, 0x9e3779b1);
}

/**
 * 16 hex digits from the lanes after the last of `length` words. Every step is a bijection of each
 * lane, so one changed word always changes both halves of the digest.
 */
export function foldDigest(lanes: Uint32Array, length: number): string {
  let low = mix(0x9747b28c ^ length);
  let high = mix(0x85ebca6b + length);
  for (const lane of lanes) {
    low = mix(low ^ lane);
    high = mix(Math.imul(high, 5) + lane);
  }
  return [high, low].map((word) => (word >>> 0).toString(16).padStart(8, '0')).join('');
}

/** The finaliser of MurmurHash3 (Appleby), a bijection on 32 bits. */
function mix(word: number): number {
  let h = word;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return h ^ (h >>> 16);
}

/** Words that the lanes absorb in one step. */
const LANES = 16;

/**
 * Computes the digest of a vector that becomes ready in pieces of any length: words that do not
 * fill the lanes wait for the next piece.
 */
export class DigestFollower {
  /** Steps the lanes over n words from word `from` on, a multiple of 16. */
  readonly #run: (from: number, n: number) => void;
  #done = 0;

  constructor(run: (from: number, n: number) => void) {
    this.#run = run;
  }

  /** Words [0, ready) are ready; `last`: these are all. */
  follow(ready: number, last = false): void {
    const to = last ? ready : ready - (ready % LANES);
    if (to <= this.#done) return;
    this.#run(this.#done, to - this.#done);
    this.#done = to;
  }
}
