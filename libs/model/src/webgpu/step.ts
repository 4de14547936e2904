import { STEP_UNITS, type Plan } from './plan.js';
import { ACTIVATIONS, each, list, PHILOX, read, STREAM_NUMBER, write, type Binding, type KernelSource } from './wgsl.js';

/**
 * Kernels of one time step: the recurrent product of the step and, in the same dispatch, all that happens to its sums. A workgroup
 * computes tile.rows streams x 16 units of every block of columns; a thread multiplies a slice of the depth for 4 streams x 4 units,
 * then one thread per stream and 4 units gathers the slices and finishes them. A loop without barriers feeds from the caches: a step's
 * operands are small and each is used by few threads, so tiles in shared memory would cost more than they spare.
 */
interface Step {
  readonly label: string;
  readonly bindings: readonly Binding[];
  /** Blocks of columns, H units each, that are summed. */
  readonly sums: number;
  /** Left factor: the buffer, blocks per row, the block where its columns begin, and the row of stream 0. */
  readonly left: { readonly name: string; readonly blocks: number; readonly block: number; readonly row: string };
  /** Depth of the product in blocks. */
  readonly depth: number;
  /** The weights' blocks per row, first row and first column, in blocks. */
  readonly weights: { readonly blocks: number; readonly row: number; readonly column: number };
  /** Guard of the product: without it the sums are 0. Must not depend on the thread. */
  readonly when?: string;
  /** WGSL of one stream and 4 units, with `stream`, `unit`, `n` (row of the step's gates), `next` (row of h after it), s0, s1, ... */
  readonly finish: string;
}

/** Numbers of an instance: the layer, and H in vectors. */
export const STEP_FIELDS = ['layer', 'quads'] as const;

/** Shared memory that every device offers, bytes. */
const SHARED = 16384;

/** Multiplies `slices` slices of the depth; leaves c<sum>_<stream>. */
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

/** Adds the slices up through shared memory, as many sums at a time as fit; each of the first four slices ends up with one stream. */
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

/** A loop, not four copies: compilers of adapters on a CPU take seconds for the text of a cell. */
function finishAll(sums: number): string {
  const all = list(4, (r) => list(sums, (s) => `c${s}_${r}`));
  return `
  var all = array<vec4<f32>, ${4 * sums}>(${all});
  for (var i = 0u; i < 4; i++) { finish(first + i, unit, ${list(sums, (s) => `all[i * ${sums} + ${s}]`)}); }`;
}

function stepKernel(plan: Plan, step: Step): KernelSource {
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
export function stepGroups({ hidden, step }: Plan, streams: number): [number, number] {
  return [hidden / STEP_UNITS, Math.ceil(streams / step.rows)];
}

export interface ForwardKind {
  /** Layer 0 looks its input up by character; others find it in the gates, where the projection left it. */
  readonly bottom: boolean;
  /** The output goes to the layer above through a dropout mask. */
  readonly dropped: boolean;
}

/** Buffers that the kernels of a time step bind. `cell` is C [T+1, B, H] of an LSTM, `reset` r * h [T, B, H] of a GRU. */
const BINDINGS = {
  h: write('h', 'stored'),
  hRead: read('h', 'stored'),
  weights: read('weights', 'stored'),
  gates: write('gates', 'vec4<f32>'),
  table: read('table', 'vec4<f32>'),
  ids: read('ids', 'u32'),
  cell: write('cell', 'vec4<f32>'),
  cellRead: read('cell', 'vec4<f32>'),
  reset: write('reset', 'stored'),
  bias: read('bias', 'vec4<f32>'),
  dropped: write('dropped', 'stored'),
  dAbove: read('dAbove', 'vec4<f32>'),
  carry: write('carry', 'vec4<f32>'),
};

/** The kernels of a time step forward, in order. */
export function forwardKernels(plan: Plan, kind: ForwardKind): KernelSource[] {
  const { cell } = plan.config;
  const gate = (block: number) => `gates[(n * ${plan.gates.blocks} + ${block}) * p.quads + unit]`;
  const input = (block: number) =>
    kind.bottom ? `table[(ids[n] * ${plan.gates.input} + ${block}) * p.quads + unit]` : gate(block);
  const drop = kind.dropped
    ? `dropped[n * p.quads + unit] = stored(after * dropoutMask(p.layer, ${STREAM_NUMBER}, step.t, unit));`
    : '';
  const emit = `h[next] = stored(after);\n${drop}`;
  const before = `vec4<f32>(h[n * p.quads + unit])`;
  const extra = [
    ...(kind.bottom ? [BINDINGS.table] : []),
    ...(kind.bottom || kind.dropped ? [BINDINGS.ids] : []),
    ...(kind.dropped ? [BINDINGS.dropped] : []),
  ];
  const name = `${cell} forward${kind.bottom ? ' bottom' : ''}${kind.dropped ? ' dropped' : ''}`;
  const recurrent = plan.gates.blocks - plan.gates.recurrentFrom;
  const whole: Omit<Step, 'bindings' | 'finish'> = {
    label: name,
    sums: recurrent,
    left: { name: 'h', blocks: 1, block: 0, row: 'step.t * call.streams' },
    depth: 1,
    weights: { blocks: recurrent, row: 0, column: 0 },
  };
  const common = [BINDINGS.h, BINDINGS.weights, BINDINGS.gates];
  switch (cell) {
    case 'lstm': {
      const finish = `
  let i = sigmoid(${input(0)} + s0);
  let f = sigmoid(${input(1)} + s1);
  let g = squash(${input(2)} + s2);
  let o = sigmoid(${input(3)} + s3);
  let memory = f * cell[n * p.quads + unit] + i * g;
  let after = o * squash(memory);
  cell[next] = memory;
  ${gate(0)} = i; ${gate(1)} = f; ${gate(2)} = g; ${gate(3)} = o;
  ${emit}`;
      return [stepKernel(plan, { ...whole, bindings: [...common, BINDINGS.cell, ...extra], finish })];
    }
    case 'gru-reset-after': {
      const finish = `
  let r = sigmoid(${input(1)} + s0);
  let z = sigmoid(${input(2)} + s1);
  let q = s2 + bias[3 * p.quads + unit];
  let candidate = squash(${input(0)} + r * q);
  let after = candidate + z * (${before} - candidate);
  ${gate(0)} = candidate; ${gate(1)} = r; ${gate(2)} = z; ${gate(3)} = q;
  ${emit}`;
      return [stepKernel(plan, { ...whole, bindings: [...common, BINDINGS.bias, ...extra], finish })];
    }
    case 'gru':
      return gruForward(plan, whole, { common, extra, name, input, gate, before, emit });
    case 'rnn-tanh':
    case 'rnn-relu': {
      const f = cell === 'rnn-tanh' ? 'squash' : 'rectify';
      const finish = `
  let after = ${f}(${input(0)} + s0);
  ${emit}`;
      const bindings = [BINDINGS.h, BINDINGS.weights, ...(kind.bottom ? [] : [BINDINGS.gates]), ...extra];
      return [stepKernel(plan, { ...whole, bindings, finish })];
    }
    default:
      return cell satisfies never;
  }
}

interface ForwardText {
  readonly common: readonly Binding[];
  readonly extra: readonly Binding[];
  readonly name: string;
  readonly input: (block: number) => string;
  readonly gate: (block: number) => string;
  readonly before: string;
  readonly emit: string;
}

/** The candidate's product needs r * h whole, so a GRU that resets before it takes two dispatches a step. */
function gruForward(plan: Plan, whole: Omit<Step, 'bindings' | 'finish'>, text: ForwardText): KernelSource[] {
  const { common, extra, name, input, gate, before, emit } = text;
  const bottom = extra.filter(({ name: binding }) => binding === 'table' || binding === 'ids');
  return [
    stepKernel(plan, {
      ...whole,
      label: `${name} gates`,
      sums: 2,
      weights: { ...whole.weights, column: 1 },
      bindings: [...common, BINDINGS.reset, ...(bottom.length === 2 ? bottom : [])],
      finish: `
  let r = sigmoid(${input(1)} + s0);
  ${gate(2)} = sigmoid(${input(2)} + s1);
  ${gate(1)} = r;
  reset[n * p.quads + unit] = stored(r * ${before});`,
    }),
    stepKernel(plan, {
      ...whole,
      label: `${name} candidate`,
      sums: 1,
      left: { ...whole.left, name: 'reset' },
      bindings: [...common, BINDINGS.reset, ...extra],
      finish: `
  let candidate = squash(${input(0)} + s0);
  let after = candidate + ${gate(2)} * (${before} - candidate);
  ${gate(0)} = candidate;
  ${emit}`,
    }),
  ];
}

/**
 * The kernels of a time step backward, in order: d(loss)/dh of the step is what comes from above plus the next step's gate gradients
 * through the recurrent weights plus the direct path in `carry` [B, H] (for an LSTM that holds dC). Gates become their gradients.
 */
export function backwardKernels(plan: Plan, dropped: boolean): KernelSource[] {
  const { cell } = plan.config;
  const gate = (block: number) => `gates[(n * ${plan.gates.blocks} + ${block}) * p.quads + unit]`;
  const mask = dropped ? ` * dropoutMask(p.layer, ${STREAM_NUMBER}, step.t, unit)` : '';
  const dOutput = `let dh = s0 + dAbove[n * p.quads + unit]${mask}`;
  const first = 'step.t + 1 < call.window';
  const carried = `select(vec4<f32>(0), carry[stream * p.quads + unit], ${first})`;
  const carry = `carry[stream * p.quads + unit]`;
  const recurrent = plan.gates.blocks - plan.gates.recurrentFrom;
  const whole: Omit<Step, 'bindings' | 'finish'> = {
    label: `${cell} backward${dropped ? ' dropped' : ''}`,
    sums: 1,
    left: {
      name: 'gates',
      blocks: plan.gates.blocks,
      block: plan.gates.recurrentFrom,
      row: '(step.t + 1) * call.streams',
    },
    depth: recurrent,
    weights: { blocks: 1, row: 0, column: 0 },
    when: first,
  };
  const ids = dropped ? [BINDINGS.ids] : [];
  const common = [BINDINGS.weights, BINDINGS.gates, BINDINGS.dAbove, ...ids];
  const gru = [...common, BINDINGS.hRead, BINDINGS.carry];
  const before = `vec4<f32>(h[n * p.quads + unit])`;
  switch (cell) {
    case 'lstm': {
      const finish = `
  ${dOutput};
  let i = ${gate(0)}; let f = ${gate(1)}; let g = ${gate(2)}; let o = ${gate(3)};
  let squashed = squash(cell[next]);
  let dMemory = ${carried} + dh * o * (1 - squashed * squashed);
  ${gate(0)} = dMemory * g * i * (1 - i);
  ${gate(1)} = dMemory * cell[n * p.quads + unit] * f * (1 - f);
  ${gate(2)} = dMemory * i * (1 - g * g);
  ${gate(3)} = dh * squashed * o * (1 - o);
  ${carry} = dMemory * f;`;
      return [stepKernel(plan, { ...whole, bindings: [...common, BINDINGS.cellRead, BINDINGS.carry], finish })];
    }
    case 'gru-reset-after': {
      const finish = `
  ${dOutput} + ${carried};
  let c = ${gate(0)}; let r = ${gate(1)}; let z = ${gate(2)};
  let dCandidate = dh * (1 - z) * (1 - c * c);
  ${gate(1)} = dCandidate * ${gate(3)} * r * (1 - r);
  ${gate(2)} = dh * (${before} - c) * z * (1 - z);
  ${gate(3)} = dCandidate * r;
  ${gate(0)} = dCandidate;
  ${carry} = dh * z;`;
      return [stepKernel(plan, { ...whole, bindings: gru, finish })];
    }
    case 'gru': {
      const outer = `
  ${dOutput} + ${carried};
  let c = ${gate(0)}; let z = ${gate(2)};
  ${gate(0)} = dh * (1 - z) * (1 - c * c);
  ${gate(2)} = dh * (${before} - c) * z * (1 - z);
  ${carry} = dh * z;`;
      const inner = `
  let r = ${gate(1)};
  ${gate(1)} = s0 * ${before} * r * (1 - r);
  ${carry} += s0 * r;`;
      return [
        stepKernel(plan, {
          ...whole,
          left: { ...whole.left, block: 1 },
          depth: 2,
          weights: { ...whole.weights, row: 1 },
          bindings: gru,
          finish: outer,
        }),
        stepKernel(plan, {
          label: `${cell} backward reset`,
          sums: 1,
          left: { ...whole.left, block: 0, row: 'step.t * call.streams' },
          depth: 1,
          weights: whole.weights,
          bindings: [BINDINGS.weights, BINDINGS.gates, BINDINGS.hRead, BINDINGS.carry],
          finish: inner,
        }),
      ];
    }
    case 'rnn-tanh':
    case 'rnn-relu': {
      const slope = cell === 'rnn-tanh' ? '(1 - after * after)' : 'select(vec4<f32>(0), vec4<f32>(1), after > vec4<f32>(0))';
      const finish = `
  ${dOutput};
  let after = vec4<f32>(h[next]);
  ${gate(0)} = dh * ${slope};`;
      return [stepKernel(plan, { ...whole, bindings: [...common, BINDINGS.hRead], finish })];
    }
    default:
      return cell satisfies never;
  }
}
