import { ACTIVATIONS, each, list, PHILOX, type Binding, type KernelSource } from '../wgsl.js';
import { STEP_UNITS, type RecurrentPlan } from './plan.js';

/**
 * Kernels of one time step: the recurrent product of the step and, in the same dispatch, all that
 * is computed from its sums. A workgroup computes tile.rows streams x 16 units of every block of
 * columns; a thread multiplies a slice of the depth for 4 streams x 4 units, then one thread per
 * stream and 4 units gathers the slices and finishes them. The loop has no barriers and reads
 * through the caches: a step's operands are small and few threads use each, so tiles in shared
 * memory would cost more than they save.
 */
export interface Step {
  readonly label: string;
  readonly bindings: readonly Binding[];
  /** Blocks of columns, H units each, that are summed. */
  readonly sums: number;
  /**
   * Left factor: the buffer, blocks per row, the block where its columns begin, and the row of
   * stream 0.
   */
  readonly left: { readonly name: string; readonly blocks: number; readonly block: number; readonly row: string };
  /** Depth of the product in blocks. */
  readonly depth: number;
  /** The weights' blocks per row, first row and first column, in blocks. */
  readonly weights: { readonly blocks: number; readonly row: number; readonly column: number };
  /** Guard of the product: without it the sums are 0. Must not depend on the thread. */
  readonly when?: string;
  /**
   * WGSL of one stream and 4 units, with `stream`, `unit`, `n` (row of the step's gates), `next`
   * (row of h after it), s0, s1, ...
   */
  readonly finish: string;
}

/** Numbers of a task: the layer, and H in vectors. */
export const STEP_FIELDS = ['layer', 'quads'] as const;

/** Shared memory that every device offers, bytes. */
const SHARED = 16384;

/** Multiplies one of `slices` slices of the depth; the sums are in c<sum>_<stream>. */
function product({ left, weights, sums, depth, when = 'true' }: Step, slices: number): string {
  return `
  ${each(sums, (s) => each(4, (r) => `var c${s}_${r} = vec4<f32>(0);`))}
  if (${when}) {
    ${each(4, (r) => `let at${r} = ((${left.row} + min(first + ${r}, call.streams - 1)) * ${left.blocks} + ${left.block}) * p.quads;`)}
    for (var i = slice; i < ${depth} * p.quads; i += ${slices}) {
      ${each(4, (r) => `let x${r} = vec4<f32>(${left.name}[at${r} + i]);`)}
      var place = ((${weights.row} * p.quads + i) * 4 * ${weights.blocks} + ${weights.column}) * p.quads + unit;
      ${each(4, (k) => {
        const loads = each(sums, (s) => `let w${s}_${k} = vec4<f32>(weights[place + ${s} * p.quads]);`);
        const products = each(sums, (s) => each(4, (r) => `c${s}_${r} += x${r}[${k}] * w${s}_${k};`));
        return `${loads}\n${products}\nplace += ${weights.blocks} * p.quads;`;
      })}
    }
  }`;
}

/**
 * Adds the slices through shared memory, as many sums at a time as fit; the threads of each of the
 * first four slices get one stream.
 */
function reduction(sums: number, slices: number, blocks: number) {
  const threads = blocks * slices;
  const perPass = Math.min(sums, Math.max(1, Math.floor(SHARED / (threads * 4 * 16))));
  const pass = (first: number) => {
    const count = Math.min(perPass, sums - first);
    return `
  workgroupBarrier();
  ${each(count, (s) => each(4, (r) => `slices[${(s * 4 + r) * threads} + local] = c${first + s}_${r};`))}
  workgroupBarrier();
  for (var i = 0u; i < ${slices}; i++) {
    let place = (slice & 3) * ${threads} + i * ${blocks} + block;
    ${each(count, (s) => `s${first + s} += slices[${s * 4 * threads} + place];`)}
  }`;
  };
  return {
    declaration: `var<workgroup> slices: array<vec4<f32>, ${perPass * threads * 4}>;`,
    code: `
  ${each(sums, (s) => `var s${s} = vec4<f32>(0);`)}
  ${each(Math.ceil(sums / perPass), (i) => pass(i * perPass))}
  if (slice < 4) { finish(first + slice, unit, ${list(sums, (s) => `s${s}`)}); }`,
  };
}

/**
 * A loop instead of four copies, because compilers of adapters on a CPU take seconds for the text
 * of a cell.
 */
function finishAll(sums: number): string {
  const all = list(4, (r) => list(sums, (s) => `c${s}_${r}`));
  return `
  var all = array<vec4<f32>, ${4 * sums}>(${all});
  for (var i = 0u; i < 4; i++) { finish(first + i, unit, ${list(sums, (s) => `all[i * ${sums} + ${s}]`)}); }`;
}

export function stepKernel(plan: RecurrentPlan, step: Step): KernelSource {
  const { rows, slices } = plan.step;
  const units = STEP_UNITS / 4;
  const blocks = units * (rows / 4);
  const { sums } = step;
  const { declaration, code } = slices > 1 ? reduction(sums, slices, blocks) : { declaration: '', code: finishAll(sums) };
  return {
    label: step.label,
    fields: STEP_FIELDS,
    bindings: step.bindings,
    body: `
${ACTIVATIONS}
${step.finish.includes('dropoutMask') ? PHILOX : ''}
${declaration}
fn finish(stream: u32, unit: u32, ${list(sums, (s) => `s${s}: vec4<f32>`)}) {
  if (stream >= call.streams) { return; }
  let n = step.t * call.streams + stream;
  let next = (n + call.streams) * p.quads + unit;
  ${step.finish}
}

@compute @workgroup_size(${blocks * slices})
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) local: u32) {
  let block = local % ${blocks};
  let slice = local / ${blocks};
  let unit = workgroup.x * ${units} + block % ${units};
  let first = workgroup.y * ${rows} + block / ${units} * 4;
  ${product(step, slices)}
  ${code}
}`,
  };
}

/** Workgroups of a step. */
export function stepGroups({ hidden, step }: RecurrentPlan, streams: number): [number, number] {
  return [hidden / STEP_UNITS, Math.ceil(streams / step.rows)];
}
