import type { ModelConfig } from '../config.js';
import type { Kernels } from './kernels.js';
import type { CellLayout, LayerMap, MemoryMap } from './memory-map.js';

/**
 * A model in the memory of one instance of the kernels. Functions that take it work on rows [T,
 * B]; see MemoryMap.
 */
export interface Workspace {
  readonly config: ModelConfig;
  readonly cell: CellPasses;
  readonly map: MemoryMap;
  readonly kernels: Kernels;
  /** Index into TILES. */
  readonly tile: number;
  /** The whole memory. */
  readonly memory: Float32Array;
}

/**
 * What one kind of cell does in a time step. Everything else (the loops over layers and time, the
 * input from the layer below, the gradients of the weights) is common to all cells and follows
 * from the layout.
 */
export interface CellPasses extends CellLayout {
  /**
   * From the state before step t to the state after it. `ids` [B] selects rows of the layer's
   * table.
   */
  forward(workspace: Workspace, layer: LayerMap, B: number, t: number, ids: number, above: boolean): void;
  /**
   * Replaces the gates of step t by the gradients of the pre-activations, computed from the
   * complete gradient of h after the step (map.hGradient), and adds the gradient of h before the
   * step to that of step t - 1.
   */
  backward(workspace: Workspace, layer: LayerMap, B: number, t: number): void;
}

export const FLOAT = 4;

/** Sets `length` floats from `address` on to `value`. */
export function fill({ memory }: Workspace, address: number, length: number, value: number): void {
  memory.fill(value, address / FLOAT, address / FLOAT + length);
}
