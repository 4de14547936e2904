/** Links that have not said hello yet. */
import { ProtocolError } from '@troupe/protocol';

/** A link that has not said hello yet. */
export interface Stranger {
  /** Aborts at the deadline, or with a ProtocolError when the link must make room for another. */
  readonly ended: AbortSignal;
  /** It has said hello, or is gone. */
  leave(): void;
}

/**
 * Keeps a bounded number of them. One more is let in for the oldest of the address that has most, so an address that opens link after link
 * keeps out only itself.
 */
export class Strangers {
  readonly #most: number;
  /** By address, the oldest first. */
  readonly #waiting = new Map<string, Set<AbortController>>();
  #count = 0;

  /** @param most how many there may be, at least 1 */
  constructor(most: number) {
    this.#most = most;
  }

  enter(address: string, deadline: AbortSignal): Stranger {
    const ends = new AbortController();
    const expire = (): void => ends.abort(deadline.reason);
    deadline.addEventListener('abort', expire, { once: true });
    if (deadline.aborted) expire();
    const alike = this.#waiting.get(address) ?? new Set();
    this.#waiting.set(address, alike.add(ends));
    this.#count++;
    if (this.#count > this.#most) this.#evict();
    return {
      ended: ends.signal,
      leave: () => {
        deadline.removeEventListener('abort', expire);
        this.#remove(address, ends);
      },
    };
  }

  #evict(): void {
    const [address, alike] = [...this.#waiting].reduce((most, one) => (one[1].size > most[1].size ? one : most));
    const [oldest] = alike;
    this.#remove(address, oldest);
    oldest.abort(new ProtocolError('run_full', 'too many connections have not said hello yet', 'Try again in a moment.'));
  }

  #remove(address: string, one: AbortController): void {
    const alike = this.#waiting.get(address);
    if (!alike?.delete(one)) return;
    this.#count--;
    if (alike.size === 0) this.#waiting.delete(address);
  }
}
