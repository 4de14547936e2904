import { barrier, SUMMED, type SharedMemory } from './shared-memory.js';

/** Floats in a cache line; threads share few of them. */
const LINE = 16;

/**
 * The fewest values that a step sums: STEP_VALUES, or STEP_PART of the gradient if that is less. Each
 * step takes about 0.1 ms, because threads wait for each other and the caller's thread is woken.
 */
const STEP_VALUES = 2 ** 18;
const STEP_PART = 1 / 4;

/**
 * One thread's part in summing the gradients of a call. The gradients become final from their ends
 * to their starts, and each part is summed when it is final in all threads, by all threads, a
 * share each. All threads must take the same steps.
 */
export class GradientSum {
  readonly #memory: SharedMemory;
  readonly #index: number;
  readonly #members: number;
  /** The least values of a step. */
  readonly #step: number;
  /** The sums from this index on are done. */
  #end: number;
  #steps = 0;
  /** Whether all sums of this thread are. */
  finite = true;

  constructor(memory: SharedMemory, index: number, members: number) {
    this.#memory = memory;
    this.#index = index;
    this.#members = members;
    this.#end = memory.parameters.length;
    this.#step = Math.min(this.#end * STEP_PART, STEP_VALUES);
  }

  /** Whether a step to `from` is worth its time. */
  isDue(from: number): boolean {
    return this.#end - from >= this.#step;
  }

  /**
   * This thread's `gradient` [P] is final from index `from` on. Waits until all threads have come
   * this far, and sums its share, unless one has failed before.
   * @returns whether the sum is now final from there on; true in one thread only
   */
  advance(gradient: Float32Array, from: number): boolean {
    const { signals, gradients } = this.#memory;
    gradients[this.#index].set(gradient.subarray(from, this.#end), from);
    const passes = ++this.#steps * this.#members;
    if (!barrier(signals, passes)) return false;
    this.#addShare(from, this.#end);
    this.#end = from;
    return Atomics.add(signals, SUMMED, 1) + 1 === passes;
  }

  /** Adds this thread's share of the range, ((first + second) + third) + ..., to the first. */
  #addShare(from: number, end: number): void {
    const [sum, ...others] = this.#memory.gradients.slice(0, this.#members);
    const lines = Math.ceil((end - from) / LINE);
    const start = (index: number): number => from + Math.floor((index * lines) / this.#members) * LINE;
    const [first, last] = [start(this.#index), Math.min(start(this.#index + 1), end)];
    for (const other of others) this.finite = addTo(sum, other, first, last) && this.finite;
  }
}

/**
 * 0 * x is 0 for finite x and NaN for infinities and NaN. Two sums in parallel, so that no
 * addition waits for the one before.
 */
function addTo(sum: Float32Array, part: Float32Array, from: number, to: number): boolean {
  let rest0 = 0;
  let rest1 = 0;
  let i = from;
  for (; i + 1 < to; i += 2) {
    const value0 = sum[i] + part[i];
    const value1 = sum[i + 1] + part[i + 1];
    sum[i] = value0;
    sum[i + 1] = value1;
    rest0 += Math.fround(value0) * 0;
    rest1 += Math.fround(value1) * 0;
  }
  if (i < to) rest0 += (sum[i] += part[i]) * 0;
  return rest0 + rest1 === 0;
}
