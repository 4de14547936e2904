import { FINITE, GRID_INDEX, read, write, type KernelSource } from './wgsl.js';

/** What every network needs beside matrix products: packing and unpacking, softmax, column sums. */

export const ELEMENTWISE_THREADS = 64;

/** A kernel in which each thread computes one element; `code` may use its `index`. */
export const elementwise = (code: string): string => `
${GRID_INDEX}
@compute @workgroup_size(${ELEMENTWISE_THREADS})
fn main(
  @builtin(workgroup_id) workgroup: vec3<u32>,
  @builtin(num_workgroups) workgroups: vec3<u32>,
  @builtin(local_invocation_index) local: u32,
) {
  let index = gridIndex(workgroup, workgroups, local, ${ELEMENTWISE_THREADS}u);
  ${code}
}`;

/**
 * Position of element (row, column) of a parameter tensor in the kernels' form of it. Rows are in
 * blocks of `blockRows` (a gate's H; V); block b of the tensor becomes block (order >> 4b) & 15 of
 * the form, each padded to `blockStride` rows. Then follow the strides of row and column.
 */
const MAP_FIELDS = [
  'count',
  'columns',
  'offset',
  'blockRows',
  'blockStride',
  'order',
  'rowStride',
  'columnStride',
  'base',
] as const;

const MAP = `
fn mapped(i: u32) -> u32 {
  let row = i / p.columns;
  let block = (p.order >> (4 * (row / p.blockRows))) & 15u;
  let engineRow = block * p.blockStride + row % p.blockRows;
  return p.base + engineRow * p.rowStride + i % p.columns * p.columnStride;
}`;

/**
 * Words of the flags that a call reads back: not 0 if a parameter, or a number of this call, was
 * not finite.
 */
export const FLAG = { parameters: 0, call: 1 } as const;

/** Offset that means "no bias". */
export const NO_BIAS = 0xffffffff;

export const PACK_FIELDS = [...MAP_FIELDS, 'bias'] as const;
export type PackFields = Record<(typeof PACK_FIELDS)[number], number>;

/**
 * Packs a tensor of the flat parameters into the kernels' form; adds a bias to each row if there
 * is one.
 */
export const packKernel = (type: 'f32' | 'storedScalar'): KernelSource => ({
  label: `pack ${type}`,
  fields: PACK_FIELDS,
  bindings: [read('parameters', 'f32'), write('packed', type), write('flags', 'atomic<u32>')],
  body: `
${FINITE}
${MAP}
${elementwise(`
  if (index >= p.count) { return; }
  let value = parameters[p.offset + index];
  if (!isFinite(value)) { atomicOr(&flags[${FLAG.parameters}], 1u); }
  var bias = 0.0;
  if (p.bias != ${NO_BIAS}u) { bias = parameters[p.bias + index / p.columns]; }
  packed[mapped(index)] = ${type}(value + bias);`)}`,
});

export const UNPACK_FIELDS = [...MAP_FIELDS, 'parts', 'partStride', 'add'] as const;
export type UnpackFields = Record<(typeof UNPACK_FIELDS)[number], number>;

/** Sums the parts of a gradient, in order, into its place in the flat gradient. */
export const UNPACK_KERNEL: KernelSource = {
  label: 'unpack',
  fields: UNPACK_FIELDS,
  bindings: [read('parts', 'f32'), write('results', 'f32'), write('flags', 'atomic<u32>')],
  body: `
${FINITE}
${MAP}
${elementwise(`
  if (index >= p.count) { return; }
  let at = mapped(index);
  var sum = parts[at];
  for (var i = 1u; i < p.parts; i++) { sum += parts[at + i * p.partStride]; }
  if (p.add != 0) { sum += results[p.offset + index]; }
  if (!isFinite(sum)) { atomicOr(&flags[${FLAG.call}], 1u); }
  results[p.offset + index] = sum;`)}`,
};

/**
 * How the threads of a workgroup share a row: 8 lanes that exchange their sums, or one thread per
 * row. See Plan.cooperative.
 */
export interface RowLanes {
  readonly cooperative: boolean;
  /** Lanes exchange within their subgroup instead of through shared memory. */
  readonly subgroups: boolean;
}

const ROW_THREADS = 64;
const LANES = 8;

const lanesOf = ({ cooperative }: RowLanes): number => (cooperative ? LANES : 1);

/** Rows per workgroup. */
export const rowsPerGroup = (lanes: RowLanes): number => ROW_THREADS / lanesOf(lanes);

/**
 * A kernel in which a few lanes share each row of [T * B]. `code` may use `row`, `isRow`, `lane`
 * and `lanes`, and the functions greatest(x) and total(x) over the lanes of a row, which all
 * threads must call.
 */
export function byRows(kind: RowLanes, code: string): string {
  const lanes = lanesOf(kind);
  return `
${kind.cooperative ? (kind.subgroups ? EXCHANGE_BY_SUBGROUP : EXCHANGE_BY_MEMORY) : ''}
@compute @workgroup_size(${ROW_THREADS})
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) local: u32) {
  let place = workgroup.x * ${ROW_THREADS / lanes} + local / ${lanes};
  let isRow = place < call.rows;
  let row = min(place, call.rows - 1);
  let lane = local % ${lanes}u;
  let lanes = ${lanes}u;
  ${kind.cooperative ? code : code.replaceAll(/greatest\(local, /g, '(').replaceAll(/total\(local, /g, '(')}
}`;
}

const EXCHANGE_BY_MEMORY = `
var<workgroup> exchanged: array<f32, ${ROW_THREADS}>;
fn greatest(local: u32, value: f32) -> f32 {
  workgroupBarrier();
  exchanged[local] = value;
  workgroupBarrier();
  var result = value;
  for (var i = 0u; i < ${LANES}; i++) { result = max(result, exchanged[local / ${LANES} * ${LANES} + i]); }
  return result;
}
fn total(local: u32, value: f32) -> f32 {
  workgroupBarrier();
  exchanged[local] = value;
  workgroupBarrier();
  var result = 0.0;
  for (var i = 0u; i < ${LANES}; i++) { result += exchanged[local / ${LANES} * ${LANES} + i]; }
  return result;
}`;

const EXCHANGE_BY_SUBGROUP = `
fn greatest(local: u32, value: f32) -> f32 {
  var result = value;
  for (var i = 1u; i < ${LANES}; i *= 2) { result = max(result, subgroupShuffleXor(result, i)); }
  return result;
}
fn total(local: u32, value: f32) -> f32 {
  var result = value;
  for (var i = 1u; i < ${LANES}; i *= 2) { result += subgroupShuffleXor(result, i); }
  return result;
}`;

export const VECTOR_SUM = 'fn sumOf(x: vec4<f32>) -> f32 { return x.x + x.y + x.z + x.w; }';

export const SOFTMAX_FIELDS = ['quads', 'offset'] as const;

/**
 * Softmax cross-entropy: replaces logits [T * B, V] by d(loss)/d(logits) and writes the loss of
 * each row to the results.
 */
export const softmaxKernel = (kind: RowLanes): KernelSource => ({
  label: 'softmax',
  fields: SOFTMAX_FIELDS,
  bindings: [write('logits', 'vec4<f32>'), read('ids', 'u32'), write('results', 'f32'), write('flags', 'atomic<u32>')],
  body: `
${FINITE}
${VECTOR_SUM}
fn valid(quad: u32) -> vec4<bool> { return vec4<u32>(0, 1, 2, 3) + quad * 4 < vec4<u32>(call.vocabulary); }
${byRows(
  kind,
  `
  let wanted = ids[call.rows + row];
  var most = vec4<f32>(-3e38);
  var atWanted = 0.0;
  for (var quad = lane; quad < p.quads; quad += lanes) {
    let x = logits[row * p.quads + quad];
    most = max(most, select(vec4<f32>(-3e38), x, valid(quad)));
    if (quad == wanted / 4) { atWanted = x[wanted % 4]; }
    if (!(isFinite(x.x) && isFinite(x.y) && isFinite(x.z) && isFinite(x.w))) { atomicOr(&flags[${FLAG.call}], 1u); }
  }
  let top = greatest(local, max(max(most.x, most.y), max(most.z, most.w)));
  var sums = vec4<f32>(0);
  for (var quad = lane; quad < p.quads; quad += lanes) {
    sums += select(vec4<f32>(0), exp(logits[row * p.quads + quad] - top), valid(quad));
  }
  let sum = total(local, sumOf(sums));
  if (!isRow) { return; }
  for (var quad = lane; quad < p.quads; quad += lanes) {
    var probability = select(vec4<f32>(0), exp(logits[row * p.quads + quad] - top) / sum, valid(quad));
    if (quad == wanted / 4) {
      probability[wanted % 4] -= 1;
      results[p.offset + row] = log(sum) + top - atWanted;
    }
    logits[row * p.quads + quad] = probability;
  }`,
)}`,
});

/** Vectors of columns per workgroup of the sums, and threads that share a column. */
export const SUM_COLUMNS = 16;
const SUM_LANES = 8;

export const SUM_FIELDS = ['columns', 'stride', 'outStride', 'rows', 'partRows'] as const;

/**
 * Sums of rows [rows, columns], one result row per workgroup.y. By `tokens`: over the rows whose
 * character is workgroup.y, by the order and starts in `ids`. By `parts`: over partRows rows from
 * workgroup.y * partRows.
 */
export function sumKernel(by: 'tokens' | 'parts', cooperative: boolean): KernelSource {
  const lanes = cooperative ? SUM_LANES : 1;
  const range =
    by === 'tokens'
      ? `
  let start = ids[3 * call.rows + workgroup.y];
  let end = ids[3 * call.rows + workgroup.y + 1];`
      : `
  let start = workgroup.y * p.partRows;
  let end = min(p.rows, start + p.partRows);`;
  const gather = `
  slices[local] = sum;
  workgroupBarrier();
  if (lane > 0) { return; }
  for (var i = 1u; i < ${lanes}; i++) { sum += slices[local + i * ${SUM_COLUMNS}]; }`;
  return {
    label: `sum by ${by}`,
    fields: SUM_FIELDS,
    bindings: [read('values', 'vec4<f32>'), write('sums', 'vec4<f32>'), ...(by === 'tokens' ? [read('ids', 'u32')] : [])],
    body: `
${cooperative ? `var<workgroup> slices: array<vec4<f32>, ${SUM_COLUMNS * lanes}>;` : ''}

@compute @workgroup_size(${SUM_COLUMNS * lanes})
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) local: u32) {
  let column = workgroup.x * ${SUM_COLUMNS} + local % ${SUM_COLUMNS};
  let lane = local / ${SUM_COLUMNS};
  ${range}
  var sum = vec4<f32>(0);
  for (var i = start + lane; i < end; i += ${lanes}) {
    let row = ${by === 'tokens' ? 'ids[2 * call.rows + i]' : 'i'};
    sum += values[row * p.stride + min(column, p.columns - 1)];
  }
  ${cooperative ? gather : ''}
  if (column < p.columns) { sums[workgroup.y * p.outStride + column] = sum; }
}`,
  };
}
