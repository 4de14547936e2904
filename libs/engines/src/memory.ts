/** How much memory a run needs, predicted from its configuration. */
import { isLocal, unitStreams, type TrainingConfig } from '@troupe/config';
import { CELL_SHAPES, parameterCount, stateSize, type ModelConfig } from '@troupe/model';

const MIB = 1024 ** 2;
/** Node and the program itself. */
const BASE_BYTES = 110 * MIB;
/** A thread's own Node environment. */
const THREAD_BYTES = 10 * MIB;
const FLOAT_BYTES = 4;
const VALIDATION_LANES = 32;
/**
 * Copies of the parameters in a process, measured at peaks. A worker has the replica (parameters,
 * two moments, gradient), the engine's packed and transposed ones, and messages on their way. The
 * coordinator also sums, saves, and serves validation and samples from a thread with an engine.
 */
const WORKER_COPIES = 12.5;
const COORDINATOR_COPIES = 28;
/** Copies in each thread after the first: its gradient, and its engine's packed and transposed parameters. */
const THREAD_COPIES = 5;
/**
 * Copies that the reducers of a coordinator hold together, measured with three: sums in float64, the contributions of a round, and an
 * update. The service has its own besides, for reducers that it loses.
 */
const REDUCER_COPIES = 4;
/** A reducer's own Node environment, with its links. */
const REDUCER_BYTES = 20 * MIB;
/** Parameters and two moments. */
const CHECKPOINT_COPIES = 3;
/**
 * Checkpoints that wait for the disk or for a validation, besides the one that is written and the
 * one that is validated. A reproducible run skips none: two wait for validations, and two more
 * validations and a best model wait as well.
 */
const WAITING_CHECKPOINTS = { usual: 1, reproducible: 6 } as const;
/** Of a worker in a local run: the inner optimizer, which has at most two vectors besides the parameters, and the mean gradient. */
const LOCAL_COPIES = 4;
/** Copies that a process cannot do without: parameters, gradient, update, and the engine's or the optimizer's two. */
const LEAST_COPIES = 5;
/** Floats per hidden unit and time step besides the gates: states, their gradients, panels. */
const OTHER_FLOATS = 4.5;

/** What the memory of a run follows from. */
export interface RunSize extends Pick<TrainingConfig, 'streams' | 'leaseStreams' | 'window' | 'localSteps' | 'tracks'> {
  readonly model: ModelConfig;
}

interface Batch {
  readonly model: ModelConfig;
  /** B. */
  readonly streams: number;
  /** T, time steps. */
  readonly window: number;
}

/** Bytes of activations of a whole batch: [T, B] of every layer's gates and states, and of logits. */
function activationBytes({ model, streams, window }: Batch): number {
  const { gates } = CELL_SHAPES[model.cell];
  const perStep = model.layers * (gates + OTHER_FLOATS) * model.hidden + 2 * model.vocabulary;
  return window * streams * perStep * FLOAT_BYTES;
}

function copies(count: number, model: ModelConfig): number {
  return count * parameterCount(model) * FLOAT_BYTES;
}

/** Peak bytes of one worker process with an engine for the processor, which shares its lease among `threads`. */
export function workerBytes(run: RunSize, threads = 1): number {
  const { model, streams, window } = run;
  const lease = { model, window, streams: unitStreams(run) || streams };
  const more = (threads - 1) * (THREAD_BYTES + copies(THREAD_COPIES, model));
  const inner = isLocal(run) ? copies(LOCAL_COPIES, model) : 0;
  return BASE_BYTES + copies(WORKER_COPIES, model) + inner + more + activationBytes(lease);
}

/** Peak bytes of the coordinator. Validation runs in lanes, like a batch. */
export function coordinatorBytes({ model, streams, leaseStreams, window }: RunSize): number {
  const validation = activationBytes({ model, window, streams: VALIDATION_LANES });
  const waiting = leaseStreams > 0 ? WAITING_CHECKPOINTS.reproducible : WAITING_CHECKPOINTS.usual;
  const states = streams * stateSize(model) * FLOAT_BYTES;
  const checkpoint = copies(CHECKPOINT_COPIES, model) + states;
  // The states of this round and of the next.
  return BASE_BYTES + copies(COORDINATOR_COPIES, model) + 2 * states + waiting * checkpoint + validation;
}

/** Bytes that reducers, however many, add to those of the coordinator. */
function reducerBytes(reducers: number, model: ModelConfig): number {
  return reducers === 0 ? 0 : reducers * REDUCER_BYTES + copies(REDUCER_COPIES, model);
}

export interface Machine {
  /** Bytes that this process may ever have: of the machine or its control group, whichever is less. */
  readonly totalBytes: number;
  /** Bytes that are free now. */
  readonly freeBytes: number;
}

/** The processes of a run on one machine. */
export interface Processes {
  /** 0 or 1. */
  readonly coordinators: number;
  /** Threads of the coordinator that sum. Default 0. */
  readonly reducers?: number;
  readonly workers: number;
  /** Engine threads of each worker. */
  readonly threads: number;
}

export interface MemoryProblem {
  /** `tight`: it needs more than is free now. `impossible`: more than the machine can ever give. */
  readonly verdict: 'tight' | 'impossible';
  /** Two sentences. */
  readonly text: string;
  readonly remedy: string;
}

function neededBytes(run: RunSize, { coordinators, reducers = 0, workers, threads }: Processes): number {
  return coordinators * coordinatorBytes(run) + reducerBytes(reducers, run.model) + workers * workerBytes(run, threads);
}

/** What to tell about processes that need more memory than a machine has; undefined if they fit. */
export function memoryProblem(run: RunSize, processes: Processes, machine: Machine): MemoryProblem | undefined {
  const { coordinators, workers } = processes;
  const bytes = neededBytes(run, processes);
  if (bytes <= machine.freeBytes) return undefined;
  const least = (coordinators + workers) * copies(LEAST_COPIES, run.model);
  const place = `${gib(machine.totalBytes)} that this machine or container has, ${gib(machine.freeBytes)} of it free`;
  return {
    verdict: least > machine.totalBytes ? 'impossible' : 'tight',
    text: `This run needs about ${gib(bytes)} of memory for ${inWords(processes)}, of ${place}.`,
    remedy: remedyFor(run, processes, machine),
  };
}

function remedyFor(run: RunSize, processes: Processes, machine: Machine): string {
  const [fewer] = fewerOf(processes).filter((less) => neededBytes(run, less.processes) <= machine.freeBytes);
  const fits = fewer === undefined ? '' : `With ${fewer.flag} it fits. `;
  return `${fits}${lessMemory(processes)}`;
}

/** Smaller sets of processes, the largest first: fewer threads, then fewer workers. */
function fewerOf(processes: Processes): { readonly flag: string; readonly processes: Processes }[] {
  const { coordinators, workers, threads } = processes;
  const down = (most: number): number[] => Array.from({ length: Math.max(0, most - 1) }, (_, i) => most - 1 - i);
  return [
    ...down(threads).map((few) => ({ flag: `--threads ${few}`, processes: { ...processes, threads: few } })),
    // A worker alone is one process; `troupe train` starts several.
    ...(coordinators > 0 ? down(workers) : []).map((few) => ({
      flag: `--workers ${few}${threads > 1 ? ' --threads 1' : ''}`,
      processes: { ...processes, workers: few, threads: 1 },
    })),
  ];
}

/** What makes these processes need less memory, as a sentence. */
export function lessMemory({ coordinators, workers, threads }: Processes): string {
  const smaller = workers > 0 ? 'a smaller --batch or --window, or a smaller model' : 'a smaller --window or a smaller model';
  if (coordinators === 0)
    return `Use ${threads > 1 ? 'fewer --threads, or ' : ''}a machine with more memory; or end other programs.`;
  const fewer = [...(workers > 1 ? ['fewer --workers'] : []), ...(workers > 0 && threads > 1 ? ['fewer --threads'] : [])];
  return `Use ${[...fewer, smaller].join(', ')}; or end other programs.`;
}

function inWords({ coordinators, reducers = 0, workers, threads }: Processes): string {
  const summing = reducers === 0 ? '' : ` with ${reducers} ${reducers === 1 ? 'reducer' : 'reducers'}`;
  const each = threads > 1 ? `, each with ${threads} threads` : '';
  const computing = workers === 1 ? `1 worker${threads > 1 ? ` with ${threads} threads` : ''}` : `${workers} workers${each}`;
  return [...(coordinators > 0 ? [`a coordinator${summing}`] : []), ...(workers > 0 ? [computing] : [])].join(' and ');
}

function gib(bytes: number): string {
  return `${(bytes / 1024 ** 3).toFixed(1)} GiB`;
}
