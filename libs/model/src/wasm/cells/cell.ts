import type { LayerMap, Matrix } from '../memory-map.js';
import { FLOAT, type Workspace } from '../workspace.js';

/** Address of step t in a buffer [T, B, H'] or [T+1, B, H']. */
export function block({ map }: Workspace, buffer: number, B: number, t: number): number {
  return buffer + t * B * map.paddedHidden * FLOAT;
}

/** Address of step t in a layer's gates [T, B, columns * H']. */
export function gatesOf({ map }: Workspace, { gates }: LayerMap, B: number, t: number): number {
  return gates + t * B * map.gateStride * FLOAT;
}

/** gates[rows] (+)= x[rows, H] W^T, in the columns that the matrix feeds. */
export function project(workspace: Workspace, rows: number, x: number, matrix: Matrix, gates: number, add: boolean): void {
  const { map, kernels, tile } = workspace;
  const { paddedHidden, gateStride } = map;
  const target = gates + matrix.column * paddedHidden * FLOAT;
  const width = matrix.gates * paddedHidden;
  kernels.gemm(tile, rows, width, matrix.width, x, paddedHidden, matrix.forward, target, gateStride, add ? 1 : 0, 0, 0);
}

/** dx[rows, H'] (+)= dG W, from the columns of gates that the matrix feeds. */
export function projectBack(workspace: Workspace, rows: number, gates: number, matrix: Matrix, dx: number, add: boolean): void {
  const { map, kernels, tile } = workspace;
  const { paddedHidden, gateStride } = map;
  const source = gates + matrix.column * paddedHidden * FLOAT;
  const depth = matrix.gates * paddedHidden;
  kernels.gemm(tile, rows, paddedHidden, depth, source, gateStride, matrix.backward, dx, paddedHidden, add ? 1 : 0, 0, 0);
}
