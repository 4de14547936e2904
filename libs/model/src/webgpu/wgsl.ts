/**
 * Kernels as data: the text of the body, and its bindings and fields, from which declarations and
 * layouts follow.
 */

export type ElementType = 'f32' | 'u32' | 'atomic<u32>' | 'vec4<f32>' | 'stored' | 'storedScalar';

export interface Binding {
  readonly name: string;
  readonly type: ElementType;
  readonly access: 'read' | 'read_write';
}

export interface KernelSource {
  readonly label: string;
  /** Unsigned numbers of a task that runs the kernel, read as `p.<name>`. */
  readonly fields: readonly string[];
  /** Buffers, in the order of their bindings. */
  readonly bindings: readonly Binding[];
  readonly body: string;
}

export interface Features {
  /** Weights and activations are stored in float16; sums stay float32. */
  readonly f16: boolean;
  /** Rows are summed through subgroups. */
  readonly subgroups: boolean;
}

export const read = (name: string, type: ElementType): Binding => ({ name, type, access: 'read' });
export const write = (name: string, type: ElementType): Binding => ({ name, type, access: 'read_write' });

/** Lines of unrolled code. */
export const each = (count: number, line: (i: number) => string): string =>
  Array.from({ length: count }, (_, i) => line(i)).join('\n');
export const list = (count: number, item: (i: number) => string): string =>
  Array.from({ length: count }, (_, i) => item(i)).join(', ');

/** Numbers of a call, the same for all its kernels; the engine writes them. */
export const CALL_FIELDS = [
  ...(['streams', 'window', 'rows', 'vocabulary', 'layers', 'seed', 'round'] as const),
  ...(['threshold', 'scale', 'outputThreshold', 'outputScale'] as const),
] as const;

/** The complete text of a shader module. */
export function assemble({ fields, bindings, body }: KernelSource, { f16, subgroups }: Features): string {
  const struct = (name: string, members: readonly string[]) =>
    `struct ${name} { ${members.map((member) => `${member}: u32`).join(', ')} }`;
  return [
    f16 ? 'enable f16;' : '',
    subgroups ? 'enable subgroups;' : '',
    `alias stored = vec4<${f16 ? 'f16' : 'f32'}>;`,
    `alias storedScalar = ${f16 ? 'f16' : 'f32'};`,
    struct('Call', CALL_FIELDS),
    struct('Step', ['t']),
    struct('Fields', fields),
    '@group(0) @binding(0) var<uniform> call: Call;',
    '@group(0) @binding(1) var<uniform> step: Step;',
    '@group(1) @binding(0) var<uniform> p: Fields;',
    ...bindings.map(
      ({ name, type, access }, i) => `@group(1) @binding(${i + 1}) var<storage, ${access}> ${name}: array<${type}>;`,
    ),
    body,
  ].join('\n');
}

/**
 * The index of a thread in a grid from `spread`, which continues in the next dimension if one
 * holds too few workgroups.
 */
export const GRID_INDEX = `
fn gridIndex(workgroup: vec3<u32>, workgroups: vec3<u32>, local: u32, threads: u32) -> u32 {
  return (workgroup.y * workgroups.x + workgroup.x) * threads + local;
}`;

/** Number of workgroups per dimension that every device allows. */
const MAX_WORKGROUPS = 65535;

/** Workgroups for at least `threads` threads; see GRID_INDEX. */
export function spread(threads: number, workgroup: number): [number, number] {
  const groups = Math.ceil(threads / workgroup);
  const rows = Math.ceil(groups / MAX_WORKGROUPS);
  return [Math.ceil(groups / rows), rows];
}

/**
 * Tests bits, because a shader compiler may assume that no number is infinite or NaN. The flag is
 * an OR, so the order of threads does not matter.
 */
export const FINITE = `
fn isFinite(x: f32) -> bool { return (bitcast<u32>(x) & 0x7f800000u) != 0x7f800000u; }`;

/** Activations in forms in which exp cannot overflow; they propagate NaN. */
export const ACTIVATIONS = `
fn sigmoid(x: vec4<f32>) -> vec4<f32> {
  let small = exp(-abs(x));
  return select(small, vec4<f32>(1), x >= vec4<f32>(0)) / (1 + small);
}
fn squash(x: vec4<f32>) -> vec4<f32> {
  let small = exp(-2 * abs(x));
  let tanhOfAbs = (1 - small) / (1 + small);
  return select(-tanhOfAbs, tanhOfAbs, x >= vec4<f32>(0));
}
// max(0, NaN) may be 0.
fn rectify(x: vec4<f32>) -> vec4<f32> {
  let isNaN = (bitcast<vec4<u32>>(x) & vec4<u32>(0x7fffffff)) > vec4<u32>(0x7f800000);
  return select(max(x, vec4<f32>(0)), x, isNaN);
}`;

/**
 * The number of stream `stream` in the run. `ids` holds characters [T, B], targets [T, B], order
 * [T, B], starts [V + 1] and these numbers [B]; see upload.ts.
 */
export const STREAM_NUMBER = 'ids[3 * call.rows + call.vocabulary + 1 + stream]';

/**
 * See dropout.ts. WGSL has no multiplication that returns the upper half of a product, so it is
 * computed from 16-bit halves.
 */
export const PHILOX = `
fn multiplyHigh(a: u32, b: u32) -> u32 {
  let low = (a & 0xffffu) * (b & 0xffffu);
  let crossed = (a >> 16) * (b & 0xffffu) + (low >> 16);
  let other = (a & 0xffffu) * (b >> 16) + (crossed & 0xffffu);
  return (a >> 16) * (b >> 16) + (crossed >> 16) + (other >> 16);
}
fn philox(start: vec4<u32>, startKey: vec2<u32>) -> vec4<u32> {
  var c = start;
  var k = startKey;
  for (var round = 0; round < 10; round++) {
    let high0 = multiplyHigh(0xd2511f53u, c.x);
    let high1 = multiplyHigh(0xcd9e8d57u, c.z);
    c = vec4<u32>(high1 ^ c.y ^ k.x, 0xcd9e8d57u * c.z, high0 ^ c.w ^ k.y, 0xd2511f53u * c.x);
    k += vec2<u32>(0x9e3779b9u, 0xbb67ae85u);
  }
  return c;
}
// Of units 4 * unit .. 4 * unit + 3. Without dropout in a call thresholds are 0 and scales 1.
fn dropoutMask(layer: u32, stream: u32, t: u32, unit: u32) -> vec4<f32> {
  let words = philox(vec4<u32>(unit, t, stream, call.round), vec2<u32>(call.seed, layer));
  let isTop = layer + 1 == call.layers;
  let threshold = select(call.threshold, call.outputThreshold, isTop);
  let scale = bitcast<f32>(select(call.scale, call.outputScale, isTop));
  return select(vec4<f32>(0), vec4<f32>(scale), words >= vec4<u32>(threshold));
}`;
