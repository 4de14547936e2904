/** How much memory a run needs, predicted from its configuration. */
import { CELL_SHAPES, parameterCount, type ModelConfig } from '@troupe/model';

const MIB = 1024 ** 2;
/** Node and the program itself. */
const BASE_BYTES = 110 * MIB;
const FLOAT_BYTES = 4;
const VALIDATION_LANES = 32;
/**
 * Copies of the parameters in a process, measured at peaks. A worker has the replica (parameters,
 * two moments, gradient), the engine's packed and transposed ones, and messages on their way. The
 * coordinator also sums, saves, and serves validation and samples from a thread with an engine.
 */
const WORKER_COPIES = 12.5;
const COORDINATOR_COPIES = 28;
/** Copies that a worker cannot do without: parameters, gradient, update, and the engine's two. */
const LEAST_COPIES = 5;
/** Floats per hidden unit and time step besides the gates: states, their gradients, panels. */
const OTHER_FLOATS = 4.5;

export interface RunSize {
  readonly model: ModelConfig;
  /** B, streams in the largest lease. */
  readonly streams: number;
  /** T, time steps. */
  readonly window: number;
}

/** Bytes of activations of a whole lease: [T, B] of every layer's gates and states, and of logits. */
function activationBytes({ model, streams, window }: RunSize): number {
  const { gates } = CELL_SHAPES[model.cell];
  const perStep = model.layers * (gates + OTHER_FLOATS) * model.hidden + 2 * model.vocabulary;
  return window * streams * perStep * FLOAT_BYTES;
}

/** Peak bytes of one worker process with an engine for the processor. */
export function workerBytes(size: RunSize): number {
  return BASE_BYTES + WORKER_COPIES * parameterCount(size.model) * FLOAT_BYTES + activationBytes(size);
}

/** Peak bytes of the coordinator. Validation runs in lanes, like a batch. */
export function coordinatorBytes({ model, window }: Omit<RunSize, 'streams'>): number {
  const validation = activationBytes({ model, window, streams: VALIDATION_LANES });
  return BASE_BYTES + COORDINATOR_COPIES * parameterCount(model) * FLOAT_BYTES + validation;
}

/** Bytes below which a worker cannot run, whatever else is true. */
export function leastWorkerBytes({ model }: RunSize): number {
  return LEAST_COPIES * parameterCount(model) * FLOAT_BYTES;
}

export interface Machine {
  /** Bytes that this process may ever have: of the machine or its control group, whichever is less. */
  readonly totalBytes: number;
  /** Bytes that are free now. */
  readonly freeBytes: number;
}

export type MemoryVerdict = 'fits' | 'tight' | 'impossible';

export interface MemoryPlan {
  readonly verdict: MemoryVerdict;
  /** Predicted peak of all processes. */
  readonly bytes: number;
  /** Most workers that fit into the memory that is free; may be 0. */
  readonly workers: number;
}

/** Whether a coordinator and this many workers fit into a machine. */
export function planMemory(size: RunSize, workers: number, { totalBytes, freeBytes }: Machine): MemoryPlan {
  const [coordinator, worker] = [coordinatorBytes(size), workerBytes(size)];
  const bytes = coordinator + workers * worker;
  const fitting = Math.max(0, Math.floor((freeBytes - coordinator) / worker));
  const isImpossible = workers * leastWorkerBytes(size) > totalBytes;
  return { verdict: isImpossible ? 'impossible' : bytes > freeBytes ? 'tight' : 'fits', bytes, workers: fitting };
}
