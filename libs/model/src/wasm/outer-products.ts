import { BLOCK_COLUMNS } from './memory-map.js';
import { BLOCK_DEPTH } from './generated/tiles.js';
import type { Block, Cotangent, Factor, Part } from './operands.js';
import { addBlockInQuadrants, dividesInQuadrants, packQuadrants } from './strassen.js';
import { fill, FLOAT, type Workspace } from './workspace.js';

/**
 * dG^T x for every part and its factors, [used, paddedWidth] each, as GEMMs over all rows, and the
 * column sums of dG in map.sums. Both factors are packed into the GEMM's order block by block: x
 * once for all parts, dG once for all products of a part.
 */
export function multiplyOverRows(
  workspace: Workspace,
  rows: number,
  dG: Cotangent,
  factors: readonly Factor[],
  parts: readonly Part[],
): void {
  for (const { first, columns, used, products } of parts) {
    fill(workspace, workspace.map.sums + first * FLOAT, columns, 0);
    for (const { factor, address } of products) fill(workspace, address, used * factor.paddedWidth, 0);
  }
  // The gradients of a ReLU unit that never fires are exactly zero. Sums of quadrants would turn
  // them into noise, which Adam amplifies.
  const large = workspace.config.cell !== 'rnn-relu' && dividesInQuadrants(factors, parts);
  let depth;
  for (let k = 0; k < rows; k += depth) {
    const left = rows - k;
    const quadrants = large && left > 1;
    depth = quadrants ? Math.min(BLOCK_DEPTH, left - (left % 2)) : Math.min(BLOCK_DEPTH, left);
    const block = { k, depth };
    for (const factor of factors) (quadrants ? packQuadrants : pack)(workspace, block, factor);
    for (const part of parts) (quadrants ? addBlockInQuadrants : addBlock)(workspace, block, dG, part);
  }
}

function pack({ kernels, tile }: Workspace, { k, depth }: Block, factor: Factor): void {
  const { address, stride, width, paddedWidth, panels } = factor;
  kernels.packPanels(tile, address + k * stride * FLOAT, stride, 1, depth, width, paddedWidth, panels);
}

function addBlock({ map, kernels, tile }: Workspace, { k, depth }: Block, dG: Cotangent, part: Part): void {
  const { transposed, sums } = map;
  const { first, columns, used, products } = part;
  for (let m = 0; m < columns; m += BLOCK_COLUMNS) {
    const width = Math.min(BLOCK_COLUMNS, columns - m);
    const source = dG.address + (k * dG.stride + first + m) * FLOAT;
    kernels.transpose(source, dG.stride, depth, width, transposed, sums + (first + m) * FLOAT);
    const height = Math.min(width, used - m);
    for (const { factor, address } of products) {
      const target = address + m * factor.paddedWidth * FLOAT;
      const { panels, paddedWidth } = factor;
      kernels.gemm(tile, height, paddedWidth, depth, transposed, depth, panels, target, paddedWidth, 1, 0, 0);
    }
  }
}
