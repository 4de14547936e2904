import type { ModelConfig } from '../config.js';
import type { Kernels } from './kernels.js';
import type { CellLayout, LayerMap, MemoryMap } from './memory-map.js';

/** A model in the memory of one instance of the kernels. Whatever takes it works on rows [T, B], see MemoryMap. */
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
 * What one kind of cell does in a time step. Everything else (the loops over layers and time, the input from the layer below, the
 * gradients of the weights) is common to all cells and follows from the layout.
 */
export interface CellPasses extends CellLayout {
  /** From the state before step t to the state after it. `ids` [B] picks rows of the layer's table. */
  forward(workspace: Workspace, layer: LayerMap, B: number, t: number, ids: number, above: boolean): void;
  /**
   * Replaces what the gates hold of step t by the gradients of the pre-activations, from the whole gradient of h after it
   * (map.hGradient), and adds what reaches h before the step to that of step t - 1.
   */
  backward(workspace: Workspace, layer: LayerMap, B: number, t: number): void;
}

export const FLOAT = 4;

/** Address of a row of zeros or values of `length` floats set to `value`. */
export function fill({ memory }: Workspace, address: number, length: number, value: number): void {
  memory.fill(value, address / FLOAT, address / FLOAT + length);
}
