import { read, STREAM_NUMBER, write, type Binding, type KernelSource } from '../wgsl.js';
import type { RecurrentPlan } from './plan.js';
import { stepKernel, type Step } from './step.js';

/** What the cells compute from the sums of a time step, forward and backward. */

/**
 * Buffers that the kernels of a time step bind. `cell` is C [T+1, B, H] of an LSTM, `reset` r * h
 * [T, B, H] of a GRU.
 */
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

/** The product of a step, without its bindings and without what is computed from the sums. */
type StepProduct = Omit<Step, 'bindings' | 'finish'>;

/** WGSL of h before the step. */
const BEFORE = 'vec4<f32>(h[n * p.quads + unit])';

const gateText =
  ({ gates }: RecurrentPlan) =>
  (block: number): string =>
    `gates[(n * ${gates.blocks} + ${block}) * p.quads + unit]`;

const recurrentBlocks = ({ gates }: RecurrentPlan): number => gates.blocks - gates.recurrentFrom;

export interface ForwardKind {
  /**
   * Layer 0 looks its input up by character; others find it in the gates, where the projection
   * left it.
   */
  readonly bottom: boolean;
  /** The output goes up through a dropout mask. */
  readonly dropped: boolean;
}

/** What the forward kernels of all cells share. */
interface Forward {
  readonly kind: ForwardKind;
  readonly product: StepProduct;
  /**
   * Bindings that the kind of layer needs besides the cell's, and those of them that its input
   * needs.
   */
  readonly extra: readonly Binding[];
  readonly inputExtra: readonly Binding[];
  /** WGSL of a block of gates, and of what the input adds to one. */
  readonly gate: (block: number) => string;
  readonly input: (block: number) => string;
  /** WGSL that stores `after`, the new h. */
  readonly emit: string;
}

/** The kernels of a time step forward, in order. */
export function forwardKernels(plan: RecurrentPlan, kind: ForwardKind): KernelSource[] {
  return forwardSteps(plan, forwardOf(plan, kind)).map((step) => stepKernel(plan, step));
}

function forwardSteps({ config: { cell } }: RecurrentPlan, forward: Forward): Step[] {
  switch (cell) {
    case 'lstm':
      return [lstmForward(forward)];
    case 'gru-reset-after':
      return [gruResetAfterForward(forward)];
    case 'gru':
      return gruForward(forward);
    case 'rnn-tanh':
    case 'rnn-relu':
      return [rnnForward(cell === 'rnn-tanh' ? 'squash' : 'rectify', forward)];
    default:
      return cell satisfies never;
  }
}

function forwardOf(plan: RecurrentPlan, kind: ForwardKind): Forward {
  const { bottom, dropped } = kind;
  const gate = gateText(plan);
  const drop = dropped
    ? `dropped[n * p.quads + unit] = stored(after * dropoutMask(p.layer, ${STREAM_NUMBER}, step.t, unit));`
    : '';
  return {
    kind,
    product: {
      label: `${plan.config.cell} forward${bottom ? ' bottom' : ''}${dropped ? ' dropped' : ''}`,
      sums: recurrentBlocks(plan),
      left: { name: 'h', blocks: 1, block: 0, row: 'step.t * call.streams' },
      depth: 1,
      weights: { blocks: recurrentBlocks(plan), row: 0, column: 0 },
    },
    extra: [
      ...(bottom ? [BINDINGS.table] : []),
      ...(bottom || dropped ? [BINDINGS.ids] : []),
      ...(dropped ? [BINDINGS.dropped] : []),
    ],
    inputExtra: bottom ? [BINDINGS.table, BINDINGS.ids] : [],
    gate,
    input: bottom ? (block) => `table[(ids[n] * ${plan.gates.input} + ${block}) * p.quads + unit]` : gate,
    emit: `h[next] = stored(after);\n${drop}`,
  };
}

const COMMON = [BINDINGS.h, BINDINGS.weights, BINDINGS.gates];

function lstmForward({ product, extra, gate, input, emit }: Forward): Step {
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
  return { ...product, bindings: [...COMMON, BINDINGS.cell, ...extra], finish };
}

function gruResetAfterForward({ product, extra, gate, input, emit }: Forward): Step {
  const finish = `
  let r = sigmoid(${input(1)} + s0);
  let z = sigmoid(${input(2)} + s1);
  let q = s2 + bias[3 * p.quads + unit];
  let candidate = squash(${input(0)} + r * q);
  let after = candidate + z * (${BEFORE} - candidate);
  ${gate(0)} = candidate; ${gate(1)} = r; ${gate(2)} = z; ${gate(3)} = q;
  ${emit}`;
  return { ...product, bindings: [...COMMON, BINDINGS.bias, ...extra], finish };
}

/**
 * The candidate's product needs r * h whole, so a GRU that resets before it takes two dispatches a
 * step.
 */
function gruForward({ product, extra, inputExtra, gate, input, emit }: Forward): Step[] {
  const gates: Step = {
    ...product,
    label: `${product.label} gates`,
    sums: 2,
    weights: { ...product.weights, column: 1 },
    bindings: [...COMMON, BINDINGS.reset, ...inputExtra],
    finish: `
  let r = sigmoid(${input(1)} + s0);
  ${gate(2)} = sigmoid(${input(2)} + s1);
  ${gate(1)} = r;
  reset[n * p.quads + unit] = stored(r * ${BEFORE});`,
  };
  const candidate: Step = {
    ...product,
    label: `${product.label} candidate`,
    sums: 1,
    left: { ...product.left, name: 'reset' },
    bindings: [...COMMON, BINDINGS.reset, ...extra],
    finish: `
  let candidate = squash(${input(0)} + s0);
  let after = candidate + ${gate(2)} * (${BEFORE} - candidate);
  ${gate(0)} = candidate;
  ${emit}`,
  };
  return [gates, candidate];
}

function rnnForward(activation: string, { kind, product, extra, input, emit }: Forward): Step {
  const finish = `
  let after = ${activation}(${input(0)} + s0);
  ${emit}`;
  const bindings = [BINDINGS.h, BINDINGS.weights, ...(kind.bottom ? [] : [BINDINGS.gates]), ...extra];
  return { ...product, bindings, finish };
}

/** What the backward kernels of all cells share. */
interface Backward {
  readonly product: StepProduct;
  readonly common: readonly Binding[];
  readonly gate: (block: number) => string;
  /** WGSL of `let dh`, without its semicolon. */
  readonly dOutput: string;
  /** WGSL of the direct path from the next step: to read it, and to write it. */
  readonly carried: string;
  readonly carry: string;
}

/**
 * The kernels of a time step backward, in order. d(loss)/dh of the step is the sum of the gradient
 * from above, the next step's gate gradients through the recurrent weights, and the direct path in
 * `carry` [B, H] (dC for an LSTM). Gates are replaced by their gradients.
 */
export function backwardKernels(plan: RecurrentPlan, dropped: boolean): KernelSource[] {
  return backwardSteps(plan, backwardOf(plan, dropped)).map((step) => stepKernel(plan, step));
}

function backwardSteps({ config: { cell } }: RecurrentPlan, backward: Backward): Step[] {
  switch (cell) {
    case 'lstm':
      return [lstmBackward(backward)];
    case 'gru-reset-after':
      return [gruResetAfterBackward(backward)];
    case 'gru':
      return [gruBackward(backward), gruResetBackward(backward)];
    case 'rnn-tanh':
      return [rnnBackward('(1 - after * after)', backward)];
    case 'rnn-relu':
      return [rnnBackward('select(vec4<f32>(0), vec4<f32>(1), after > vec4<f32>(0))', backward)];
    default:
      return cell satisfies never;
  }
}

function backwardOf(plan: RecurrentPlan, dropped: boolean): Backward {
  const mask = dropped ? ` * dropoutMask(p.layer, ${STREAM_NUMBER}, step.t, unit)` : '';
  const hasNext = 'step.t + 1 < call.window';
  const carry = 'carry[stream * p.quads + unit]';
  return {
    product: {
      label: `${plan.config.cell} backward${dropped ? ' dropped' : ''}`,
      sums: 1,
      left: {
        name: 'gates',
        blocks: plan.gates.blocks,
        block: plan.gates.recurrentFrom,
        row: '(step.t + 1) * call.streams',
      },
      depth: recurrentBlocks(plan),
      weights: { blocks: 1, row: 0, column: 0 },
      when: hasNext,
    },
    common: [BINDINGS.weights, BINDINGS.gates, BINDINGS.dAbove, ...(dropped ? [BINDINGS.ids] : [])],
    gate: gateText(plan),
    dOutput: `let dh = s0 + dAbove[n * p.quads + unit]${mask}`,
    carried: `select(vec4<f32>(0), ${carry}, ${hasNext})`,
    carry,
  };
}

function lstmBackward({ product, common, gate, dOutput, carried, carry }: Backward): Step {
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
  return { ...product, bindings: [...common, BINDINGS.cellRead, BINDINGS.carry], finish };
}

function gruResetAfterBackward({ product, common, gate, dOutput, carried, carry }: Backward): Step {
  const finish = `
  ${dOutput} + ${carried};
  let c = ${gate(0)}; let r = ${gate(1)}; let z = ${gate(2)};
  let dCandidate = dh * (1 - z) * (1 - c * c);
  ${gate(1)} = dCandidate * ${gate(3)} * r * (1 - r);
  ${gate(2)} = dh * (${BEFORE} - c) * z * (1 - z);
  ${gate(3)} = dCandidate * r;
  ${gate(0)} = dCandidate;
  ${carry} = dh * z;`;
  return { ...product, bindings: [...common, BINDINGS.hRead, BINDINGS.carry], finish };
}

/** Candidate and update gate. */
function gruBackward({ product, common, gate, dOutput, carried, carry }: Backward): Step {
  const finish = `
  ${dOutput} + ${carried};
  let c = ${gate(0)}; let z = ${gate(2)};
  ${gate(0)} = dh * (1 - z) * (1 - c * c);
  ${gate(2)} = dh * (${BEFORE} - c) * z * (1 - z);
  ${carry} = dh * z;`;
  return {
    ...product,
    left: { ...product.left, block: 1 },
    depth: 2,
    weights: { ...product.weights, row: 1 },
    bindings: [...common, BINDINGS.hRead, BINDINGS.carry],
    finish,
  };
}

/** Reset gate, from the candidate's gradient through its recurrent weights. */
function gruResetBackward({ product: { left, weights }, gate, carry }: Backward): Step {
  const finish = `
  let r = ${gate(1)};
  ${gate(1)} = s0 * ${BEFORE} * r * (1 - r);
  ${carry} += s0 * r;`;
  return {
    label: 'gru backward reset',
    sums: 1,
    left: { ...left, block: 0, row: 'step.t * call.streams' },
    depth: 1,
    weights,
    bindings: [BINDINGS.weights, BINDINGS.gates, BINDINGS.hRead, BINDINGS.carry],
    finish,
  };
}

/** `slope`: WGSL of the activation's derivative, from its value `after`. */
function rnnBackward(slope: string, { product, common, gate, dOutput }: Backward): Step {
  const finish = `
  ${dOutput};
  let after = vec4<f32>(h[next]);
  ${gate(0)} = dh * ${slope};`;
  return { ...product, bindings: [...common, BINDINGS.hRead], finish };
}
