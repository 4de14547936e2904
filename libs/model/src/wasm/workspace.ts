import type { ModelConfig } from '../config.js';
import type { MemoryMap } from './memory-map.js';
import type { CellPasses } from './cells/index.js';
import type { Kernels } from './kernels.js';

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

export const FLOAT = 4;

/** Address of a row of zeros or values of `length` floats set to `value`. */
export function fill({ memory }: Workspace, address: number, length: number, value: number): void {
  memory.fill(value, address / FLOAT, address / FLOAT + length);
}
