import { LAYER_NORM_EPSILON } from '../../config.js';
import { byRows, elementwise, FLAG, VECTOR_SUM, type RowLanes } from '../kernels.js';
import { FINITE, PHILOX, read, STREAM_NUMBER, write, type KernelSource } from '../wgsl.js';

/** Kernels around the time steps: hidden states in and out, and layer normalisation. */

export const STATE_FIELDS = ['layer', 'layers', 'vectors', 'units', 'quads', 'offset'] as const;

/** Copies states [B, L, S, H] to row 0 of a layer's h and C, padding included. */
export const loadStatesKernel = (vectors: number): KernelSource => ({
  label: `load states ${vectors}`,
  fields: STATE_FIELDS,
  bindings: [
    read('states', 'f32'),
    write('flags', 'atomic<u32>'),
    write('h', 'stored'),
    ...(vectors > 1 ? [write('cell', 'vec4<f32>')] : []),
  ],
  body: `
${FINITE}
fn load(first: u32, unit: u32) -> vec4<f32> {
  var value = vec4<f32>(0);
  for (var i = 0u; i < 4; i++) {
    if (unit + i >= p.units) { break; }
    let x = states[first + unit + i];
    if (!isFinite(x)) { atomicOr(&flags[${FLAG.call}], 1u); }
    value[i] = x;
  }
  return value;
}
${elementwise(`
  if (index >= call.streams * p.quads) { return; }
  let start = (index / p.quads * p.layers + p.layer) * p.vectors * p.units;
  let unit = index % p.quads * 4;
  h[index] = stored(load(start, unit));
  ${vectors > 1 ? 'cell[index] = load(start + p.units, unit);' : ''}`)}`,
});

/** Copies the states after the window to [B, L, S, H] in the results. */
export const storeStatesKernel = (vectors: number): KernelSource => ({
  label: `store states ${vectors}`,
  fields: STATE_FIELDS,
  bindings: [write('results', 'f32'), read('h', 'stored'), ...(vectors > 1 ? [read('cell', 'vec4<f32>')] : [])],
  body: elementwise(`
  if (index >= call.streams * p.units) { return; }
  let stream = index / p.units;
  let unit = index % p.units;
  let place = (call.rows + stream) * p.quads + unit / 4;
  let to = p.offset + (stream * p.layers + p.layer) * p.vectors * p.units + unit;
  results[to] = f32(h[place][unit % 4]);
  ${vectors > 1 ? 'results[to + p.units] = cell[place][unit % 4];' : ''}`),
});

export const NORM_FIELDS = ['layer', 'quads', 'units'] as const;

/**
 * Mean and 1 / standard deviation of a row of h; h begins with the state before the window, so
 * rows are offset by one step.
 */
const MOMENTS = `
  let h0 = (row + call.streams) * p.quads;
  var sums = vec4<f32>(0);
  for (var quad = lane; quad < p.quads; quad += lanes) { sums += vec4<f32>(h[h0 + quad]); }
  let mean = total(local, sumOf(sums)) / f32(p.units);
  var squares = vec4<f32>(0);
  for (var quad = lane; quad < p.quads; quad += lanes) {
    let x = vec4<f32>(h[h0 + quad]) - mean;
    squares += select(vec4<f32>(0), x * x, valid(quad));
  }
  let scale = inverseSqrt(total(local, sumOf(squares)) / f32(p.units) + ${LAYER_NORM_EPSILON});`;

const VALID_UNIT = 'fn valid(quad: u32) -> vec4<bool> { return vec4<u32>(0, 1, 2, 3) + quad * 4 < vec4<u32>(p.units); }';

/**
 * The layer's output: its h normalised, scaled and shifted, and dropped out. `norm` is weight [H],
 * then bias [H].
 */
export const normKernel = (kind: RowLanes, dropped: boolean): KernelSource => ({
  label: `layer norm${dropped ? ' dropped' : ''}`,
  fields: NORM_FIELDS,
  bindings: [read('h', 'stored'), read('norm', 'vec4<f32>'), write('up', 'stored'), ...(dropped ? [read('ids', 'u32')] : [])],
  body: `
${VECTOR_SUM}
${VALID_UNIT}
${dropped ? PHILOX : ''}
${byRows(
  kind,
  `
  ${MOMENTS}
  if (!isRow) { return; }
  ${dropped ? MASK_ARGUMENTS : ''}
  for (var quad = lane; quad < p.quads; quad += lanes) {
    let y = (vec4<f32>(h[h0 + quad]) - mean) * scale * norm[quad] + norm[p.quads + quad];
    up[row * p.quads + quad] = stored(y${dropped ? MASK : ''});
  }`,
)}`,
});

const MASK_ARGUMENTS = `
  let stream = row % call.streams;
  let number = ${STREAM_NUMBER};
  let t = row / call.streams;`;
const MASK = ' * dropoutMask(p.layer, number, t, quad)';

/**
 * The backward pass: replaces dAbove by d(loss)/dh. `products` [T * B, 2H] receives the summands
 * of the gradients of weight (dy times the normalised h) and bias (dy).
 */
export const normBackwardKernel = (kind: RowLanes, dropped: boolean): KernelSource => ({
  label: `layer norm backward${dropped ? ' dropped' : ''}`,
  fields: NORM_FIELDS,
  bindings: [
    read('h', 'stored'),
    read('norm', 'vec4<f32>'),
    write('dAbove', 'vec4<f32>'),
    write('products', 'vec4<f32>'),
    ...(dropped ? [read('ids', 'u32')] : []),
  ],
  body: `
${VECTOR_SUM}
${VALID_UNIT}
${dropped ? PHILOX : ''}
${byRows(
  kind,
  `
  ${MOMENTS}
  ${dropped ? MASK_ARGUMENTS : ''}
  var direct = vec4<f32>(0);
  var along = vec4<f32>(0);
  for (var quad = lane; quad < p.quads; quad += lanes) {
    let dy = dAbove[row * p.quads + quad]${dropped ? MASK : ''};
    let value = (vec4<f32>(h[h0 + quad]) - mean) * scale;
    direct += dy * norm[quad];
    along += dy * norm[quad] * value;
    if (isRow) {
      products[row * 2 * p.quads + quad] = dy * value;
      products[(row * 2 + 1) * p.quads + quad] = dy;
    }
  }
  let shift = total(local, sumOf(direct)) / f32(p.units);
  let slope = total(local, sumOf(along)) / f32(p.units);
  if (!isRow) { return; }
  for (var quad = lane; quad < p.quads; quad += lanes) {
    let dy = products[(row * 2 + 1) * p.quads + quad];
    let value = (vec4<f32>(h[h0 + quad]) - mean) * scale;
    let dx = (dy * norm[quad] - shift - value * slope) * scale;
    dAbove[row * p.quads + quad] = select(vec4<f32>(0), dx, valid(quad));
  }`,
)}`,
});
