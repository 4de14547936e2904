/**
 * The memory that an engine's threads share with their owner. Data is written in the place where
 * the other side reads it.
 */
import type { ModelConfig } from '../config.js';
import { EngineError, type EngineLimits } from '../engine.js';
import { parameterCount, stateSize } from '../layout.js';

export interface SharedMemory {
  /** Counters of the call; see ARRIVED and SUMMED. */
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
  /** [P] of each thread; the first also receives the sum, see GradientSum. */
  readonly gradients: readonly Float32Array[];
}

/**
 * Indices into `signals`, which the owner clears before each gradient: arrivals of threads at
 * barriers; shares of the gradient that were summed.
 */
export const ARRIVED = 0;
export const SUMMED = 1;

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

/** More arrivals than a call has: what a thread adds that gives up. */
const ABANDONED = 2 ** 22;

/**
 * Blocks this thread until the threads of a call have arrived `passes` times, or one has given up.
 * Everything the others wrote before is visible afterwards.
 * @returns whether all have arrived
 */
export function barrier(signals: Int32Array, passes: number): boolean {
  let seen = Atomics.add(signals, ARRIVED, 1) + 1;
  if (seen === passes) Atomics.notify(signals, ARRIVED);
  for (; seen < passes; seen = Atomics.load(signals, ARRIVED)) Atomics.wait(signals, ARRIVED, seen);
  return seen % ABANDONED >= passes;
}

/** Lets the other threads of the call through all its barriers, because this one has failed. */
export function abandon(signals: Int32Array): void {
  Atomics.add(signals, ARRIVED, ABANDONED);
  Atomics.notify(signals, ARRIVED);
}
