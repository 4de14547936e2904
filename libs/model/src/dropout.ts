/**
 * Dropout on the outputs of layers (Zaremba, Sutskever & Vinyals 2014): what layer k hands to layer
 * k + 1, or the last layer to the output layer, is multiplied by a mask of 0 and 1/(1 - p), after
 * layer normalisation. p is ModelConfig.dropout between layers, as in PyTorch's
 * `nn.LSTM(dropout=p)`, and ModelConfig.dropoutOutput after the last one. The recurrent path is
 * unaffected. Whether a unit is dropped is a pure function of (seed, round, stream, time step,
 * layer, unit), so every worker uses the same mask for a stream in a round.
 *
 * The function is the counter-based generator Philox4x32-10 (Salmon, Moraes, Dror & Shaw 2011,
 * "Parallel random numbers: as easy as 1, 2, 3"). For k, the layer below the mask, 0 <= k < L:
 *
 *   words = philox(counter = [unit >> 2, t, stream, round], key = [seed, k])
 *   kept if words[unit & 3] >= floor(p * 2^32)
 */

import { philox4x32 } from '@troupe/optim/philox';
import type { ModelConfig } from './config.js';

const PHILOX_ROUNDS = 10;

/** Names the masks of a batch. */
export interface DropoutKey {
  /** The run's seed: whole number below 2^32. */
  readonly seed: number;
  /** Whole number below 2^32. */
  readonly round: number;
  /** [B], the number in the run of each stream in the batch. */
  readonly streams: Uint32Array;
}

/** The probability p with which outputs of `layer` are dropped, 0 <= p < 1. */
export function dropoutOf({ layers, dropout = 0, dropoutOutput = 0 }: ModelConfig, layer: number): number {
  return layer < layers - 1 ? dropout : dropoutOutput;
}

/** Whether gradient() needs a DropoutKey. */
export function usesDropout({ dropout = 0, dropoutOutput = 0 }: ModelConfig): boolean {
  return dropout > 0 || dropoutOutput > 0;
}

/** The key of a lease's masks, the same for everyone who computes it; empty without dropout. */
export function dropoutKeyOf(
  model: ModelConfig,
  { seed, round, streams }: { readonly seed: number; readonly round: number; readonly streams: readonly number[] },
): { readonly dropout?: DropoutKey } {
  return usesDropout(model) ? { dropout: { seed, round, streams: Uint32Array.from(streams) } } : {};
}

/** A unit is kept if its word is at least this. `p`: 0 <= p < 1. */
export function dropoutThreshold(p: number): number {
  return Math.floor(p * 2 ** 32);
}

/** The factor of kept units, 1/(1 - p) in float32. */
export function dropoutScale(p: number): number {
  return Math.fround(1 / (1 - p));
}

/**
 * The mask [H] of one layer, stream and time step: 0 or dropoutScale(p). `streams` is the stream's
 * index in `key.streams`.
 */
export function dropoutMask(p: number, key: DropoutKey, layer: number, stream: number, t: number, out: Float32Array): void {
  const threshold = dropoutThreshold(p);
  const scale = dropoutScale(p);
  const words = new Uint32Array(4);
  for (let unit = 0; unit < out.length; unit++) {
    if ((unit & 3) === 0) philox4x32(PHILOX_ROUNDS, unit >> 2, t, key.streams[stream], key.round, key.seed, layer, words);
    out[unit] = words[unit & 3] >= threshold ? scale : 0;
  }
}
