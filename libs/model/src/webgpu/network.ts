/// <reference types="@webgpu/types" />
import { createLayout, stateSize, type TensorSpec } from '../layout.js';
import { USAGE } from './device.js';
import type { RowLanes } from './kernels.js';
import type { Plan } from './plan.js';
import type { Program, Shape, Stage, Task } from './program.js';
import type { Features } from './wgsl.js';

/** Bytes of a float32. */
export const FLOAT = 4;

/**
 * The buffers through which an engine exchanges data with its network, whatever the network
 * computes.
 */
export interface NetworkBuffers {
  /** [P] */
  readonly parameters: GPUBuffer;
  /**
   * Ids [T, B], targets [T, B], their positions in order of id [T, B], starts of ids in it [V +
   * 1], numbers of streams [B].
   */
  readonly ids: GPUBuffer;
  /** [B, L, S, H] */
  readonly states: GPUBuffer;
  /**
   * Gradient [P], end states [B, L, S, H], loss of each character [T, B]; the latter two begin at
   * these offsets, in floats.
   */
  readonly results: GPUBuffer;
  readonly statesOffset: number;
  readonly lossOffset: number;
  /** [T, B, padded V] */
  readonly logits: GPUBuffer;
  /** Words of FLAG. */
  readonly flags: GPUBuffer;
}

/** The stages of a call and the buffers that it writes and reads. */
export interface Network extends NetworkBuffers {
  /** From the flat parameters to what the kernels read. */
  readonly pack: readonly Stage[];
  /** States and characters to logits and end states. */
  readonly forward: readonly Stage[];
  /** Logits to their gradients and the loss of each character. */
  readonly loss: readonly Stage[];
  /** Gradients of the logits to the flat gradient. */
  readonly backward: readonly Stage[];
}

/** What the parts of a network are built from. */
export interface Context<P extends Plan = Plan> {
  readonly plan: P;
  readonly program: Program;
  readonly buffers: NetworkBuffers;
  /** By name, in the flat parameters. */
  readonly tensors: ReadonlyMap<string, TensorSpec>;
  /** Bytes of a stored number: of weights and activations. */
  readonly stored: number;
  readonly lanes: RowLanes;
}

/** @throws EngineError `unsupported` if a buffer is larger than the device can bind. */
export function createContext<P extends Plan>(plan: P, program: Program, features: Features): Context<P> {
  const layout = createLayout(plan.config);
  return {
    plan,
    program,
    buffers: createBuffers(plan, program, layout.size),
    tensors: new Map(layout.tensors.map((tensor) => [tensor.name, tensor])),
    stored: features.f16 ? 2 : FLOAT,
    lanes: { cooperative: plan.cooperative, subgroups: features.subgroups },
  };
}

function createBuffers({ config, limits, rows, vocabulary }: Plan, program: Program, parameters: number): NetworkBuffers {
  const states = limits.maxStreams * stateSize(config);
  const source = USAGE.storage | USAGE.copySource;
  const target = USAGE.storage | USAGE.copyTarget;
  return {
    parameters: program.buffer('the parameters', parameters * FLOAT, target),
    ids: program.buffer('characters', (3 * rows + config.vocabulary + 1 + limits.maxStreams) * 4, target),
    states: program.buffer('hidden states', states * FLOAT, target),
    results: program.buffer('gradient and end states', (parameters + states + rows) * FLOAT, source),
    statesOffset: parameters,
    lossOffset: parameters + states,
    logits: program.buffer('logits', rows * vocabulary * FLOAT, source),
    flags: program.buffer('flags', 8, source | target),
  };
}

/**
 * A weight matrix as the forward pass reads it, [in, out], and as the backward pass does, [out,
 * in]; padded.
 */
export interface Weights {
  readonly forward: GPUBuffer;
  readonly backward: GPUBuffer;
}

export function createWeights({ program, stored }: Context, label: string, inputs: number, outputs: number): Weights {
  const bytes = inputs * outputs * stored;
  return { forward: program.buffer(label, bytes), backward: program.buffer(label, bytes) };
}

export const rowsOf = ({ streams, window }: Shape): number => streams * window;

export function tasksOf(stages: readonly Stage[]): Task[] {
  return stages.flatMap((stage) => ('tasks' in stage ? stage.tasks : stage));
}
