import type { ModelConfig } from '../config.js';
import type { EngineLimits } from '../engine.js';

/**
 * Layout of a model on the device, as far as every network needs it. Rows of activations are
 * ordered [T, B], so that a time step is one block of rows and a window one matrix. Widths are
 * padded to multiples of PAD; the padding of weights and states is zero, and so is all that is
 * computed from it, so the kernels need not check columns.
 */
export interface Plan {
  readonly config: ModelConfig;
  readonly limits: EngineLimits;
  /** Padded V. */
  readonly vocabulary: number;
  /** Greatest B * T. */
  readonly rows: number;
  /**
   * Threads of a workgroup share loads and sums through shared memory, which suits a GPU. Off for
   * adapters that run on a CPU: there a thread of the shader is a lane or a loop, a barrier costs
   * more than it saves, and each thread works for itself.
   */
  readonly cooperative: boolean;
}

/** Depth of a GEMM's tile and width of a step's, in units: no kernel reads past a padded row. */
export const PAD = 16;

export function roundUp(value: number, multiple = PAD): number {
  return Math.ceil(value / multiple) * multiple;
}

export function planNetwork(config: ModelConfig, limits: EngineLimits, cooperative: boolean): Plan {
  return {
    config,
    limits,
    vocabulary: roundUp(config.vocabulary),
    rows: limits.maxStreams * limits.maxWindow,
    cooperative,
  };
}
