/** Copies of the contributions of a round that the coordinator audits. */
import { keyOf, type ContributionKey } from '../grants.js';
import { nameOf, type SegmentRange } from '../ranges.js';

/**
 * Ranges arrive one by one, from workers or from the reducers that sum them. A range that comes twice replaces the first: it comes again
 * only when its reducer was lost.
 */
export class AuditCopies {
  readonly #copies = new Map<string, Map<string, Uint8Array>>();

  clear(): void {
    this.#copies.clear();
  }

  /** @param bytes the receiver's own */
  put(key: ContributionKey, range: SegmentRange, bytes: Uint8Array): void {
    const name = keyOf(key);
    const ranges = this.#copies.get(name) ?? new Map<string, Uint8Array>();
    this.#copies.set(name, ranges.set(nameOf(range), bytes));
  }

  has(key: ContributionKey, range: SegmentRange): boolean {
    return this.#copies.get(keyOf(key))?.has(nameOf(range)) ?? false;
  }

  /**
   * The whole coded gradient with the last segment first, and then the end states; undefined if a range is missing. Nothing is kept of it.
   * @param ranges of the gradient, in layout order
   */
  take(key: ContributionKey, ranges: readonly SegmentRange[], endStates: Uint8Array): Uint8Array | undefined {
    const copies = this.#copies.get(keyOf(key));
    this.#copies.delete(keyOf(key));
    const parts = ranges.map((range) => copies?.get(nameOf(range))).reverse();
    return parts.every((part) => part !== undefined) ? joined([...parts, endStates]) : undefined;
  }
}

function joined(parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((sum, { byteLength }) => sum + byteLength, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.byteLength;
  }
  return whole;
}
