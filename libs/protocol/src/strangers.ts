/** Links on which nobody has been admitted yet. */
import { ProtocolError } from './errors.js';

/** A link on which nobody has been admitted yet. */
export interface Stranger {
  /** Aborts at the deadline, or with a ProtocolError when the link must make room for another. */
  readonly ended: AbortSignal;
  /** It is admitted, or gone. */
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

  /** @param deadline the link is given up when it aborts. Default: it may stay as long as there is room */
  enter(address: string, deadline?: AbortSignal): Stranger {
    const ends = new AbortController();
    const expire = (): void => ends.abort(deadline?.reason);
    deadline?.addEventListener('abort', expire, { once: true });
    if (deadline?.aborted) expire();
    const alike = this.#waiting.get(address) ?? new Set();
    this.#waiting.set(address, alike.add(ends));
    this.#count++;
    if (this.#count > this.#most) this.evict();
    return {
      ended: ends.signal,
      leave: () => {
        deadline?.removeEventListener('abort', expire);
        this.#remove(address, ends);
      },
    };
  }

  /** How many there are. */
  get count(): number {
    return this.#count;
  }

  /** Ends the oldest of the address that has most. @returns false if there is none */
  evict(): boolean {
    let most: readonly [string, Set<AbortController>] | undefined;
    for (const one of this.#waiting) if (!most || one[1].size > most[1].size) most = one;
    if (!most) return false;
    const [address, alike] = most;
    const [oldest] = alike;
    this.#remove(address, oldest);
    oldest.abort(new ProtocolError('run_full', 'too many connections have not been admitted yet', 'Try again in a moment.'));
    return true;
  }

  #remove(address: string, one: AbortController): void {
    const alike = this.#waiting.get(address);
    if (!alike?.delete(one)) return;
    this.#count--;
    if (alike.size === 0) this.#waiting.delete(address);
  }
}
