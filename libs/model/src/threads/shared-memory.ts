/**
 * The memory that an engine's threads share with their owner. Data is written in the place where
 * the other side reads it.
 */
import type { ModelConfig } from '../config.js';
import { EngineError, type EngineLimits } from '../engine.js';
import { parameterCount, stateSize } from '../layout.js';

export interface SharedMemory {
  /** Counters of the barrier; see ARRIVED and FAILED. */
  readonly signals: Int32Array;
  /** [P] */
  readonly parameters: Float32Array;
  /** [B, T+1] of the call, densely packed; [B] for a step. */
  readonly tokens: Uint16Array;
  /** [B, L, S, H] before and after. */
  readonly states: Float32Array;
  readonly endStates: Float32Array;
  /** [B, V] of a step. */
  readonly logits: Float32Array;
  /** [P] of each thread; the first also receives the sum. */
  readonly gradients: readonly Float32Array[];
}

/**
 * Indices into `signals`: arrivals at the barrier since the engine was opened (modulo 2^32);
 * threads that failed in this call.
 */
export const ARRIVED = 0;
export const FAILED = 1;

/** @throws EngineError `unsupported` if memory cannot be shared, `out_of_memory` */
export function createSharedMemory(config: ModelConfig, { maxStreams, maxWindow }: EngineLimits, threads: number): SharedMemory {
  if (typeof SharedArrayBuffer === 'undefined') {
    throw new EngineError(
      'unsupported',
      'this host cannot share memory between threads (SharedArrayBuffer is absent)',
      'serve the page with the headers Cross-Origin-Opener-Policy: same-origin and Cross-Origin-Embedder-Policy: require-corp, ' +
        'or use an engine without threads',
    );
  }
  const size = parameterCount(config);
  const states = maxStreams * stateSize(config);
  try {
    return {
      signals: new Int32Array(new SharedArrayBuffer(8)),
      parameters: floats(size),
      tokens: new Uint16Array(new SharedArrayBuffer(2 * maxStreams * (maxWindow + 1))),
      states: floats(states),
      endStates: floats(states),
      logits: floats(maxStreams * config.vocabulary),
      gradients: Array.from({ length: threads }, () => floats(size)),
    };
  } catch (cause) {
    throw new EngineError(
      'out_of_memory',
      `${threads} engine threads for ${size} parameters need more memory than this host can allocate`,
      'use fewer threads, or lower the hidden size or the batch',
      { cause },
    );
  }
}

function floats(length: number): Float32Array {
  return new Float32Array(new SharedArrayBuffer(4 * length));
}

/**
 * Blocks this thread until all threads of a call have arrived. Everything they wrote before is
 * visible afterwards. `arrivals`: the count after the last arrival.
 */
export function barrier(signals: Int32Array, arrivals: number): void {
  const count = (Atomics.add(signals, ARRIVED, 1) + 1) | 0;
  if (count === arrivals) {
    Atomics.notify(signals, ARRIVED);
    return;
  }
  for (let seen = count; seen !== arrivals; seen = Atomics.load(signals, ARRIVED)) Atomics.wait(signals, ARRIVED, seen);
}

/** Floats in a cache line; no two threads write to the same line. */
const LINE = 16;

/**
 * Sums this thread's range of the gradients, ((first + second) + third) + ..., into the first.
 * @returns whether all sums are finite
 */
export function sumShare(gradients: readonly Float32Array[], members: number, index: number): boolean {
  const [sum] = gradients;
  const lines = Math.ceil(sum.length / LINE);
  const from = Math.floor((index * lines) / members) * LINE;
  const to = Math.min(Math.floor(((index + 1) * lines) / members) * LINE, sum.length);
  let finite = true;
  for (let member = 1; member < members; member++) finite = addTo(sum, gradients[member], from, to) && finite;
  return finite;
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
