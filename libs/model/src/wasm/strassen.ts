import { BLOCK_COLUMNS } from './memory-map.js';
import { TILES } from './generated/tiles.js';
import type { Block, Cotangent, Factor, Part } from './operands.js';
import { FLOAT, type Workspace } from './workspace.js';

/**
 * Strassen's multiplication (1969), one level deep: with both factors split into quadrants, seven
 * products replace eight. The sums of quadrants cost little, because the factors are copied into
 * the GEMM's order anyway. The error stays that of float32 relative to the whole matrix, but no
 * longer to each element, so it is used for gradients of weights but not in the forward pass.
 */

/**
 * Half of the rows, half of the columns. For A = dG^T, rows are columns of dG and columns are time
 * steps.
 */
type Quadrant = readonly [0 | 1, 0 | 1];

/** One quadrant, or one + sign * other. */
interface Sum {
  readonly one: Quadrant;
  readonly sign?: 1 | -1;
  readonly other?: Quadrant;
}

/** The product of a and b is added to `to`, and times `sign` to `also`. */
interface Product {
  readonly a: Sum;
  readonly b: Sum;
  readonly to: Quadrant;
  readonly sign?: 1 | -1;
  readonly also?: Quadrant;
}

const PRODUCTS: readonly Product[] = [
  { a: { one: [0, 0], sign: 1, other: [1, 1] }, b: { one: [0, 0], sign: 1, other: [1, 1] }, to: [0, 0], sign: 1, also: [1, 1] },
  { a: { one: [1, 0], sign: 1, other: [1, 1] }, b: { one: [0, 0] }, to: [1, 0], sign: -1, also: [1, 1] },
  { a: { one: [0, 0] }, b: { one: [0, 1], sign: -1, other: [1, 1] }, to: [0, 1], sign: 1, also: [1, 1] },
  { a: { one: [1, 1] }, b: { one: [1, 0], sign: -1, other: [0, 0] }, to: [0, 0], sign: 1, also: [1, 0] },
  { a: { one: [0, 0], sign: 1, other: [0, 1] }, b: { one: [1, 1] }, to: [0, 1], sign: -1, also: [0, 0] },
  { a: { one: [1, 0], sign: -1, other: [0, 0] }, b: { one: [0, 0], sign: 1, other: [0, 1] }, to: [1, 1] },
  { a: { one: [0, 1], sign: -1, other: [1, 1] }, b: { one: [1, 0], sign: 1, other: [1, 1] }, to: [0, 0] },
];

/** With fewer rows or columns of the product, the sums cost as much as they save. */
const SMALLEST = 192;

/**
 * Halves must consist of whole tiles of the widest kind, so that the bits do not depend on the
 * tile in use.
 */
const TILE_WIDTH = 4 * Math.max(...TILES.map(({ vectors }) => vectors));

/** Whether all products are large enough and their halves consist of whole tiles. */
export function dividesInQuadrants(factors: readonly Factor[], parts: readonly Part[]): boolean {
  return (
    factors.every(({ width, paddedWidth }) => width === paddedWidth && width >= SMALLEST && width % (2 * TILE_WIDTH) === 0) &&
    parts.every(({ columns, used }) => used === columns && columns >= SMALLEST && columns % 8 === 0)
  );
}

/**
 * The right-hand sides of the seven products, one after the other, each in panels [depth / 2,
 * width / 2].
 */
export function packQuadrants({ kernels, tile }: Workspace, { k, depth }: Block, factor: Factor): void {
  const { address, stride, width } = factor;
  const [rows, columns] = [depth / 2, width / 2];
  const at = ([row, column]: Quadrant) => address + ((k + row * rows) * stride + column * columns) * FLOAT;
  let { panels } = factor;
  for (const { b } of PRODUCTS) {
    if (b.other && b.sign) kernels.packSums(tile, at(b.one), at(b.other), b.sign, stride, rows, columns, panels);
    else kernels.packPanels(tile, at(b.one), stride, 1, rows, columns, columns, panels);
    panels += rows * columns * FLOAT;
  }
}

/**
 * Adds the block to the products of a part, BLOCK_COLUMNS columns from each half of dG's columns
 * at a time.
 */
export function addBlockInQuadrants(workspace: Workspace, block: Block, dG: Cotangent, part: Part): void {
  const half = part.columns / 2;
  for (let m = 0; m < half; m += BLOCK_COLUMNS) {
    const height = Math.min(BLOCK_COLUMNS, half - m);
    for (let p = 0; p < PRODUCTS.length; p++) {
      transposeLeft(workspace, block, dG, part, p, m, height);
      addProduct(workspace, block, part, p, m, height);
    }
  }
}

/**
 * Packs the left-hand side of product p. Two of these are sums over both halves of the time steps
 * and give dG's column sums.
 */
function transposeLeft(
  { map, kernels }: Workspace,
  { k, depth }: Block,
  { address, stride }: Cotangent,
  { first, columns }: Part,
  p: number,
  m: number,
  height: number,
): void {
  const { transposed, sums } = map;
  const { one, sign, other } = PRODUCTS[p].a;
  const column = ([row]: Quadrant) => first + m + (row * columns) / 2;
  const at = (quadrant: Quadrant) => address + ((k + (quadrant[1] * depth) / 2) * stride + column(quadrant)) * FLOAT;
  if (!other || !sign) {
    kernels.transpose(at(one), stride, depth / 2, height, transposed, 0);
    return;
  }
  const whole = one[0] === other[0];
  kernels.transposeSums(at(one), at(other), sign, stride, depth / 2, height, transposed, whole ? sums + column(one) * FLOAT : 0);
}

function addProduct(
  { map, kernels, tile }: Workspace,
  { depth }: Block,
  { columns, products }: Part,
  p: number,
  m: number,
  height: number,
): void {
  const { to, sign = 0, also } = PRODUCTS[p];
  const rows = depth / 2;
  for (const { factor, address } of products) {
    const { panels, paddedWidth } = factor;
    const width = paddedWidth / 2;
    const at = ([row, column]: Quadrant) => address + ((m + (row * columns) / 2) * paddedWidth + column * width) * FLOAT;
    const right = panels + p * rows * width * FLOAT;
    const second = also ? at(also) : 0;
    kernels.gemm(tile, height, width, rows, map.transposed, rows, right, at(to), paddedWidth, 1, second, sign);
  }
}
