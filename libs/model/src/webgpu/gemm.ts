import { each, read, write, type ElementType, type KernelSource } from './wgsl.js';

/**
 * C [M, N] = A B, with A [M, K] or, transposed, A [K, M]; B [K, N]; all row-major, in vectors of
 * 4, each with its own stride (`ld*`, in vectors). M and N can be any number of whole vectors; K
 * is a multiple of 16 unless A is transposed. Sums over a long K can be split into parts, one per
 * workgroup.z, which are written one after the other; the reader adds them in order, so the bits
 * do not depend on the order of execution.
 *
 * A workgroup of 8 x 8 threads computes a tile of 8 * tile.rows x 8 * tile.columns. If `shared`,
 * it loads operands through shared memory, 16 deep at a time. A thread keeps tile.rows x
 * tile.columns sums in registers.
 */
export interface GemmKind {
  readonly transposed: boolean;
  readonly a: ElementType;
  readonly b: ElementType;
  readonly bias: boolean;
  readonly tile: GemmTile;
  /** Threads of a workgroup share what they load; see Plan.cooperative. */
  readonly shared: boolean;
}

/** Per thread, 4 or 8 each. */
export interface GemmTile {
  readonly rows: number;
  readonly columns: number;
}

const SIDE = 8;
const THREADS = SIDE * SIDE;
const DEPTH = 16;

export const GEMM_FIELDS = ['m', 'n4', 'k', 'lda', 'ldb', 'ldc', 'fromA', 'fromB', 'fromC', 'partK', 'partC'] as const;
export type GemmFields = Record<(typeof GEMM_FIELDS)[number], number>;

/** Workgroups of a product. */
export function gemmGroups({ rows, columns }: GemmTile, m: number, n: number, parts = 1): [number, number, number] {
  return [Math.ceil(n / (SIDE * columns)), Math.ceil(m / (SIDE * rows)), parts];
}

/** Fewer workgroups than this leave a mid-range GPU half idle. */
const BUSY_WORKGROUPS = 128;

/**
 * Largest first: large tiles load less; small ones waste less at the edges and give more
 * workgroups.
 */
const TILES: readonly GemmTile[] = [
  { rows: 8, columns: 8 },
  { rows: 8, columns: 4 },
  { rows: 4, columns: 4 },
];

/**
 * `shared` as in GemmKind: without it there is no GPU to keep busy, and the number of workgroups
 * does not matter.
 */
export function gemmTile(m: number, n: number, shared: boolean): GemmTile {
  const fits = (tile: GemmTile) => {
    const [x, y] = gemmGroups(tile, m, n);
    const computed = x * SIDE * tile.columns * y * SIDE * tile.rows;
    return (x * y >= BUSY_WORKGROUPS || !shared) && computed <= 1.25 * m * n;
  };
  return TILES.find(fits) ?? TILES[TILES.length - 1];
}

/**
 * Number of parts of a sum over k rows, for a product of M x N; each part is large enough to pay
 * for its launch.
 */
export function gemmParts(tile: GemmTile, m: number, n: number, k: number): number {
  const [x, y] = gemmGroups(tile, m, n);
  return Math.max(1, Math.min(Math.floor(BUSY_WORKGROUPS / (x * y)), Math.floor(k / 256), 8));
}

export function gemmKernel(kind: GemmKind): KernelSource {
  const { transposed, a, b, bias, tile } = kind;
  const rowQuads = tile.rows / 4;
  const columnQuads = tile.columns / 4;
  const sums = each(tile.rows, (i) => each(columnQuads, (j) => `var c${i}_${j} = vec4<f32>(0);`));
  const store = each(tile.rows, (i) => each(columnQuads, (j) => `put(workgroup.z, ${rowOf(i)}, column${j}, c${i}_${j});`));
  const { declarations, loop } = kind.shared ? throughShared(kind) : alone(kind);
  return {
    label: `gemm ${transposed ? 'TN' : 'NN'} ${a} ${b} ${tile.rows}x${tile.columns}${bias ? ' bias' : ''}`,
    fields: GEMM_FIELDS,
    bindings: [read('a', a), read('b', b), write('c', 'vec4<f32>'), ...(bias ? [read('bias', 'vec4<f32>')] : [])],
    body: `
${declarations}
fn put(part: u32, row: u32, column: u32, sum: vec4<f32>) {
  if (row < p.m && column < p.n4) {
    c[p.fromC + part * p.partC + row * p.ldc + column] = sum${bias ? ' + bias[column]' : ''};
  }
}

@compute @workgroup_size(${THREADS})
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) local: u32) {
  let x = local % ${SIDE};
  let y = local / ${SIDE};
  let end = min(p.k, (workgroup.z + 1) * p.partK);
  ${each(rowQuads, (i) => `let quad${i} = workgroup.y * ${SIDE * rowQuads} + y + ${i * SIDE};`)}
  ${each(columnQuads, (j) => `let column${j} = workgroup.x * ${SIDE * columnQuads} + x + ${j * SIDE};`)}
  ${sums}
  ${loop}
  ${store}
}`,
  };
}

/** Row i of a thread. Its rows are in blocks of 4, so that a vector of A holds a block. */
const rowOf = (i: number): string => `quad${i >> 2} * 4 + ${i & 3}`;

interface Loop {
  readonly declarations: string;
  readonly loop: string;
}

function throughShared({ transposed, tile }: GemmKind): Loop {
  const rowQuads = tile.rows / 4;
  const columnQuads = tile.columns / 4;
  const widthA = SIDE * rowQuads;
  const widthB = SIDE * columnQuads;
  return {
    declarations: `
var<workgroup> tileA: array<vec4<f32>, ${DEPTH * widthA}>;
var<workgroup> tileB: array<vec4<f32>, ${DEPTH * widthB}>;
${transposed ? loadRows('A', 'a', 'p.m / 4', widthA) : loadTransposed(widthA)}
${loadRows('B', 'b', 'p.n4', widthB, transposed)}`,
    loop: `
  for (var k = workgroup.z * p.partK; k < end; k += ${DEPTH}) {
    loadA(local, workgroup.y * ${widthA}, k, end);
    loadB(local, workgroup.x * ${widthB}, k, end);
    workgroupBarrier();
    for (var i = 0u; i < ${DEPTH}; i++) {
      ${each(rowQuads, (i) => `let a${i} = tileA[i * ${widthA} + y + ${i * SIDE}];`)}
      ${each(columnQuads, (j) => `let b${j} = tileB[i * ${widthB} + x + ${j * SIDE}];`)}
      ${each(tile.rows, (i) => each(columnQuads, (j) => `c${i}_${j} += a${i >> 2}[${i & 3}] * b${j};`))}
    }
    workgroupBarrier();
  }`,
  };
}

/**
 * Loads a tile of rows k.. that are already in the tile's order; rows past the end count as zero.
 */
function loadRows(tile: 'A' | 'B', name: string, columns: string, width: number, guarded = true): string {
  const value = `vec4<f32>(${name}[p.from${tile} + (k + row) * p.ld${tile.toLowerCase()} + column])`;
  return `
fn load${tile}(local: u32, first: u32, k: u32, end: u32) {
  for (var i = local; i < ${DEPTH * width}; i += ${THREADS}) {
    let row = i / ${width};
    let column = min(first + i % ${width}, ${columns} - 1);
    tile${tile}[i] = ${guarded ? `select(vec4<f32>(0), ${value}, k + row < end)` : value};
  }
}`;
}

/** Loads a tile of A [M, K]: each thread transposes blocks of 4 x 4. */
function loadTransposed(width: number): string {
  return `
fn loadA(local: u32, first: u32, k: u32, end: u32) {
  for (var i = local; i < ${4 * width}; i += ${THREADS}) {
    let column = i % 4;
    let quad = i / 4;
    let start = p.fromA + k / 4 + column;
    ${each(4, (r) => `let r${r} = vec4<f32>(a[start + min((first + quad) * 4 + ${r}, p.m - 1) * p.lda]);`)}
    ${each(4, (r) => `tileA[(column * 4 + ${r}) * ${width} + quad] = vec4<f32>(r0[${r}], r1[${r}], r2[${r}], r3[${r}]);`)}
  }
}`;
}

/** Each thread loads for itself. */
function alone({ transposed, tile }: GemmKind): Loop {
  const columnQuads = tile.columns / 4;
  const loadB = (k: string) =>
    each(columnQuads, (j) => `let b${j} = vec4<f32>(b[p.fromB + (${k}) * p.ldb + min(column${j}, p.n4 - 1)]);`);
  const multiply = (a: (i: number) => string) =>
    each(tile.rows, (i) => each(columnQuads, (j) => `c${i}_${j} += ${a(i)} * b${j};`));
  const loop = transposed
    ? `
  for (var k = workgroup.z * p.partK; k < end; k++) {
    ${each(tile.rows / 4, (i) => `let a${i} = vec4<f32>(a[p.fromA + k * p.lda + min(quad${i}, p.m / 4 - 1)]);`)}
    ${loadB('k')}
    ${multiply((i) => `a${i >> 2}[${i & 3}]`)}
  }`
    : `
  ${each(tile.rows, (i) => `let at${i} = p.fromA + min(${rowOf(i)}, p.m - 1) * p.lda;`)}
  for (var k = workgroup.z * p.partK; k < end; k += 4) {
    ${each(tile.rows, (i) => `let a${i} = vec4<f32>(a[at${i} + k / 4]);`)}
    ${each(4, (c) => `{ ${loadB(`k + ${c}`)}\n${multiply((i) => `a${i}[${c}]`)} }`)}
  }`;
  return { declarations: '', loop };
}
