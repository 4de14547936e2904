/**
 * How many messages of a link are read, as a token bucket: what is beyond it waits, so that a flood costs others nothing. It may count bytes
 * as well.
 */

export interface MessageRate {
  /** Messages at once. */
  readonly burst: number;
  readonly perSecond: number;
}

/** Of one link. It has no clock: times are passed in, monotonic, ms. */
export class MessageBudget {
  readonly #rate: MessageRate;
  #left: number;
  #atMs: number;

  constructor(rate: MessageRate, nowMs: number) {
    this.#rate = rate;
    this.#left = rate.burst;
    this.#atMs = nowMs;
  }

  /** The other side was asked for answers: they shall not wait, however many they are. */
  earn(messages: number): void {
    this.#left += messages;
  }

  /**
   * Counts messages that were read.
   * @param messages 0: only asks
   * @returns how long to wait before the next is read, whole ms
   */
  take(nowMs: number, messages = 1): number {
    const { burst, perSecond } = this.#rate;
    // What was earned beyond the burst stays, and only time does not add to it.
    const refilled = this.#left + (Math.max(0, nowMs - this.#atMs) * perSecond) / 1000;
    this.#left = Math.max(this.#left, Math.min(burst, refilled)) - messages;
    this.#atMs = nowMs;
    return this.#left >= 0 ? 0 : Math.ceil((-this.#left * 1000) / perSecond);
  }
}
