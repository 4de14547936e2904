import type { LayerMap, Matrix } from '../memory-map.js';
import { FLOAT, type Workspace } from '../workspace.js';

/**
 * What one kind of cell does in a time step. Everything else (the loops over layers and time, what comes in from below, the gradients of
 * the weights) is common to all cells and follows from these numbers.
 *
 * A row of gates has `columns` columns of H'. The first G / H of them are those that the input reaches, in PyTorch's order; layers
 * above the first find its projection there.
 */
export interface CellPasses {
  readonly columns: number;
  /** Whether a layer keeps, besides gates and h, a second state C [T+1, B, H'] (LayerArena.memory). */
  readonly memory: boolean;
  /** Whether it keeps one more [T, B, H'] from the forward pass for the backward pass (LayerArena.saved). */
  readonly saved: boolean;
  /** weight_hh in parts by rows, in order; together all of it. */
  readonly recurrent: readonly RecurrentPart[];
  /** From the state before step t to the state behind it. `ids` [B] picks rows of the layer's table. */
  forward(space: Workspace, layer: LayerMap, B: number, t: number, ids: number, above: boolean): void;
  /**
   * Replaces what the gates hold of step t by the gradients of the pre-activations, from the whole gradient of h behind it
   * (map.hGradient), and adds what reaches h before the step to that of step t - 1.
   */
  backward(space: Workspace, layer: LayerMap, B: number, t: number): void;
}

export interface RecurrentPart {
  /** Rows of weight_hh, in units of H. */
  readonly gates: number;
  /** First of the columns of gates that it feeds. */
  readonly column: number;
  /** What it is multiplied with: h before the step, or LayerArena.saved. */
  readonly input: 'h' | 'saved';
}

/** Address of step t in a buffer [T, B, H'] or [T+1, B, H']. */
export function block({ map }: Workspace, buffer: number, B: number, t: number): number {
  return buffer + t * B * map.paddedHidden * FLOAT;
}

/** Address of step t in a layer's gates [T, B, columns * H']. */
export function gatesOf({ map }: Workspace, { gates }: LayerMap, B: number, t: number): number {
  return gates + t * B * map.gateStride * FLOAT;
}

/** gates[rows] (+)= x[rows, H] W^T, in the columns that the matrix feeds. */
export function project(space: Workspace, rows: number, x: number, matrix: Matrix, gates: number, add: boolean): void {
  const { map, kernels, tile } = space;
  const { paddedHidden, gateStride } = map;
  const target = gates + matrix.column * paddedHidden * FLOAT;
  const width = matrix.gates * paddedHidden;
  kernels.gemm(tile, rows, width, matrix.width, x, paddedHidden, matrix.forward, target, gateStride, add ? 1 : 0, 0, 0);
}

/** dx[rows, H'] (+)= dG W, from the columns of gates that the matrix feeds. */
export function projectBack(space: Workspace, rows: number, gates: number, matrix: Matrix, dx: number, add: boolean): void {
  const { map, kernels, tile } = space;
  const { paddedHidden, gateStride } = map;
  const source = gates + matrix.column * paddedHidden * FLOAT;
  const depth = matrix.gates * paddedHidden;
  kernels.gemm(tile, rows, paddedHidden, depth, source, gateStride, matrix.backward, dx, paddedHidden, add ? 1 : 0, 0, 0);
}
