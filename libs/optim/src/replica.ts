import type { OptimizerConfig, OptimizerState } from './config.js';
import { OptimError } from './errors.js';
import type { KernelKind } from './kernels.js';
import {
  codedLength,
  createVectorMemory,
  partsOf,
  vectorMemoryBytes,
  type Averaging,
  type CodedPart,
  type CodedVector,
  type VectorMemory,
  type VectorStep,
} from './vector-memory.js';

/**
 * The model's parameters on one machine and the optimizer that updates them. Replicas that took
 * the same steps hold the same bits on all hosts: element arithmetic is float32 in the order given
 * at VectorMemory.beginSgdStep and beginAdamStep, scalars are float64 running products.
 */
export interface Replica {
  /**
   * [P], valid for the replica's life. Read it; write through setParameters, importState or
   * restore.
   */
  readonly parameters: Float32Array;
  /**
   * [P], their moving average, of a replica that keeps one; valid for its life. It starts as a copy
   * of the parameters and follows them after every step: a = a + take * (p - a) in float32, where
   * take = 1 - averageDecay(decay, steps).
   */
  readonly average: Float32Array | undefined;
  /**
   * Updates the parameters with one clipped mean gradient [P]. Halves need no decoding: the step
   * itself reads them.
   *
   * - SGD: v = momentum * v + (g + weightDecay * p), p -= rate * v; with `nesterov`, as in PyTorch,
   *   p -= rate * ((g + weightDecay * p) + momentum * v)
   * - Adam: m, v as in Kingma & Ba 2015, algorithm 1, and PyTorch's form of the step:
   *   p -= (rate / (1 - beta1^t)) * m / (sqrt(v) / sqrt(1 - beta2^t) + epsilon)
   * - `adam` adds weightDecay * p to g; `adamw` multiplies p by 1 - rate * weightDecay first
   *   (Loshchilov & Hutter 2019, algorithm 2)
   *
   * @throws OptimError `bad_length`, or `not_finite` (update or rate); the replica is then
   * unchanged
   */
  step(update: CodedVector, learningRate: number): void;
  /**
   * The same for an update that arrives in parts. Until the step is finished, the replica must be
   * neither read nor changed.
   * @throws OptimError `not_finite` (rate); the replica is then unchanged
   */
  beginStep(learningRate: number): ReplicaStep;
  /**
   * 16 hex digits over the parameters' bits; equal replicas have equal digests. Free after a step,
   * which computes it.
   */
  digest(): string;
  /**
   * Copies [P] in; the optimizer's state is unchanged. `average` [P] is copied too; without it, the
   * average starts from the parameters.
   * @throws OptimError `bad_length`
   */
  setParameters(parameters: Float32Array, average?: Float32Array): void;
  /**
   * Makes it as new, with these parameters [P]: the optimizer's state is that before the first step.
   * @throws OptimError `bad_length`
   */
  reset(parameters: Float32Array): void;
  /** A copy. */
  exportState(): OptimizerState;
  /** @throws OptimError `bad_state` or `bad_length`; the replica is then unchanged */
  importState(state: OptimizerState): void;
  /** Little-endian: parameters float32 [P], then slots float32 [P] each, then scalars float64. A copy. */
  snapshot(): Uint8Array<ArrayBuffer>;
  /** The bytes of `snapshot` in its order, without a copy: valid until the replica changes. */
  snapshotParts(): readonly Uint8Array[];
  /**
   * The average is no part of a snapshot: it starts from the restored parameters.
   * @throws OptimError `bad_length` or `bad_state`; the replica is then unchanged
   */
  restore(bytes: Uint8Array): void;
}

export interface ReplicaStep {
  /**
   * Updates the next parameters.
   * @throws OptimError `not_finite`, `bad_length`; the replica must then be restored before it is used
   */
  add(part: CodedPart): void;
  /** @throws OptimError `bad_length` if parts are missing; the replica must then be restored before it is used */
  finish(): void;
}

export interface ReplicaOptions {
  /** P. */
  readonly size: number;
  readonly optimizer: OptimizerConfig;
  /** D of the moving average, 0 < D < 1; 0 or absent: the replica keeps none. */
  readonly averageDecay?: number;
  /** For tests; see createVectorMemory. */
  readonly kind?: KernelKind;
}

/** The state of an optimizer: named slots of [P] and named float64 scalars. */
interface StateShape {
  readonly slots: readonly string[];
  /** Initial values. */
  readonly scalars: readonly { readonly name: string; readonly value: number }[];
}

const SGD_STATE: StateShape = { slots: ['momentum'], scalars: [{ name: 'steps', value: 0 }] };
const ADAM_STATE: StateShape = {
  slots: ['first_moment', 'second_moment'],
  scalars: [
    { name: 'steps', value: 0 },
    { name: 'beta1_power', value: 1 },
    { name: 'beta2_power', value: 1 },
  ],
};

const stateShape = (optimizer: OptimizerConfig): StateShape => (optimizer.kind === 'sgd' ? SGD_STATE : ADAM_STATE);

/** Bytes of the optimizer's state in a snapshot, for `size` parameters. */
export function optimizerStateBytes(size: number, optimizer: OptimizerConfig): number {
  const { slots, scalars } = stateShape(optimizer);
  return slots.length * size * 4 + scalars.length * 8;
}

/** Bytes of Replica.snapshot(): parameters and optimizer state. */
export function snapshotBytes(size: number, optimizer: OptimizerConfig): number {
  return size * 4 + optimizerStateBytes(size, optimizer);
}

/**
 * What the average keeps of itself in step `steps` (1 = the first): min(D, (1 + steps) / (10 +
 * steps)), so that it forgets the first parameters, which say nothing, at once.
 */
export function averageDecay(decay: number, steps: number): number {
  return Math.min(decay, (1 + steps) / (10 + steps));
}

/** A replica with all parameters and state zero. @throws OptimError `out_of_memory` */
export function createReplica(options: ReplicaOptions): Replica {
  const vectors = 1 + stateShape(options.optimizer).slots.length + (options.averageDecay ? 1 : 0);
  const bytes = vectorMemoryBytes({ float32: Array.from({ length: vectors }, () => options.size) });
  return new FlatReplica(options, createVectorMemory(bytes, options.kind));
}

class FlatReplica implements Replica {
  readonly parameters: Float32Array;
  readonly average: Float32Array | undefined;
  readonly #optimizer: OptimizerConfig;
  readonly #decay: number;
  readonly #memory: VectorMemory;
  readonly #shape: StateShape;
  readonly #slots: readonly Float32Array[];
  /** Digest of the current parameters; undefined if it must be computed again. */
  #digest: string | undefined;
  /** In the order of the shape. */
  #scalars: Float64Array;

  constructor({ size, optimizer, averageDecay: decay = 0 }: ReplicaOptions, memory: VectorMemory) {
    this.#optimizer = optimizer;
    this.#decay = decay;
    this.#memory = memory;
    this.#shape = stateShape(optimizer);
    this.parameters = memory.allocateFloat32(size);
    this.#slots = this.#shape.slots.map(() => memory.allocateFloat32(size));
    this.average = decay > 0 ? memory.allocateFloat32(size) : undefined;
    this.#scalars = initialScalars(this.#shape);
  }

  step(update: CodedVector, learningRate: number): void {
    this.#checkLength('update', codedLength(update));
    const parts = partsOf(update);
    // Before the first parameter changes.
    if (!parts.every((part) => this.#memory.isSound(part))) throw notFinite();
    const step = this.beginStep(learningRate);
    for (const part of parts) step.add(part);
    step.finish();
  }

  beginStep(learningRate: number): ReplicaStep {
    if (!Number.isFinite(learningRate)) throw notFinite();
    const config = this.#optimizer;
    this.#digest = undefined;
    const step = config.kind === 'sgd' ? this.#beginSgdStep(config, learningRate) : this.#beginAdamStep(config, learningRate);
    return {
      add: (part) => {
        if (!step.add(part)) throw notFinite();
      },
      finish: () => void (this.#digest = step.finish()),
    };
  }

  digest(): string {
    return (this.#digest ??= this.#memory.digest(this.parameters));
  }

  setParameters(parameters: Float32Array, average = parameters): void {
    this.#checkLength('parameters', parameters.length);
    this.#checkLength('average', average.length);
    this.#digest = undefined;
    this.parameters.set(parameters);
    this.average?.set(average);
  }

  reset(parameters: Float32Array): void {
    this.setParameters(parameters);
    for (const slot of this.#slots) slot.fill(0);
    this.#scalars = initialScalars(this.#shape);
  }

  exportState(): OptimizerState {
    return {
      slots: this.#shape.slots.map((name, k) => ({ name, values: this.#slots[k].slice() })),
      scalars: this.#shape.scalars.map(({ name }, k) => ({ name, value: this.#scalars[k] })),
    };
  }

  importState(state: OptimizerState): void {
    const slots = this.#shape.slots.map((name) => find(state.slots, name).values);
    for (const [k, values] of slots.entries()) this.#checkLength(this.#shape.slots[k], values.length);
    const scalars = this.#shape.scalars.map(({ name }) => find(state.scalars, name).value);
    checkScalars(scalars);
    for (const [k, values] of slots.entries()) this.#slots[k].set(values);
    this.#scalars = Float64Array.from(scalars);
  }

  snapshot(): Uint8Array<ArrayBuffer> {
    const bytes = new Uint8Array(snapshotBytes(this.parameters.length, this.#optimizer));
    let offset = 0;
    for (const part of this.snapshotParts()) {
      bytes.set(part, offset);
      offset += part.byteLength;
    }
    return bytes;
  }

  snapshotParts(): readonly Uint8Array[] {
    return [this.parameters, ...this.#slots, this.#scalars].map(
      (part) => new Uint8Array(part.buffer, part.byteOffset, part.byteLength),
    );
  }

  restore(bytes: Uint8Array): void {
    const expected = snapshotBytes(this.parameters.length, this.#optimizer);
    if (bytes.length !== expected) {
      throw new OptimError(
        'bad_length',
        `the snapshot has ${bytes.length} bytes; this replica needs ${expected}`,
        'Fetch the snapshot of a run with the same model and optimizer.',
      );
    }
    const scalars = new Float64Array(bytes.slice(expected - this.#scalars.byteLength).buffer);
    checkScalars(scalars);
    this.#digest = undefined;
    let offset = 0;
    for (const part of [this.parameters, ...this.#slots]) {
      new Uint8Array(part.buffer, part.byteOffset, part.byteLength).set(bytes.subarray(offset, offset + part.byteLength));
      offset += part.byteLength;
    }
    this.#scalars = scalars;
    this.average?.set(this.parameters);
  }

  #beginSgdStep(config: OptimizerConfig & { kind: 'sgd' }, rate: number): VectorStep {
    this.#scalars[0] += 1;
    const { momentum, weightDecay: decay, nesterov } = config;
    const coefficients = { rate, momentum, decay, keep: nesterov ? momentum : 1, take: nesterov ? 1 : 0 };
    return this.#memory.beginSgdStep(this.parameters, this.#slots[0], coefficients, this.#averaging());
  }

  #beginAdamStep(config: OptimizerConfig & { kind: 'adam' | 'adamw' }, rate: number): VectorStep {
    const { kind, beta1, beta2, epsilon, weightDecay } = config;
    this.#scalars[0] += 1;
    this.#scalars[1] *= beta1;
    this.#scalars[2] *= beta2;
    const coefficients = {
      keep1: beta1,
      take1: 1 - beta1,
      keep2: beta2,
      take2: 1 - beta2,
      penalty: kind === 'adam' ? weightDecay : 0,
      shrink: kind === 'adamw' ? 1 - rate * weightDecay : 1,
      stepSize: rate / (1 - this.#scalars[1]),
      rootScale: 1 / Math.sqrt(1 - this.#scalars[2]),
      epsilon,
    };
    return this.#memory.beginAdamStep(this.parameters, this.#slots[0], this.#slots[1], coefficients, this.#averaging());
  }

  /** Of the step that is counted already. */
  #averaging(): Averaging | undefined {
    return this.average && { values: this.average, take: 1 - averageDecay(this.#decay, this.#scalars[0]) };
  }

  #checkLength(what: string, length: number): void {
    const size = this.parameters.length;
    if (length === size) return;
    throw new OptimError(
      'bad_length',
      `${what}: ${length} values for ${size} parameters`,
      'Check that both come from the same model config.',
    );
  }
}

function initialScalars({ scalars }: StateShape): Float64Array {
  return Float64Array.from(scalars, ({ value }) => value);
}

function notFinite(): OptimError {
  return new OptimError(
    'not_finite',
    'the update or the learning rate is not finite, so the step was not taken',
    'Lower the learning rate or the clip norm.',
  );
}

function find<T extends { readonly name: string }>(entries: readonly T[], name: string): T {
  const entry = entries.find((candidate) => candidate.name === name);
  if (entry) return entry;
  throw new OptimError(
    'bad_state',
    `the optimizer state lacks "${name}"`,
    'Resume with the optimizer that wrote the checkpoint.',
  );
}

function checkScalars(scalars: Iterable<number>): void {
  for (const value of scalars) {
    if (Number.isFinite(value) && value >= 0) continue;
    throw new OptimError(
      'bad_state',
      `the optimizer state contains the scalar ${value}, which must be finite and not negative`,
      'The snapshot is damaged. Fetch it again, or use an older checkpoint.',
    );
  }
}
