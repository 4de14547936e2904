import { checkBatch, checkDropoutKey, checkEngineConfig, checkParameters, checkStep } from '../batch.js';
import type { ModelConfig } from '../config.js';
import type { DropoutKey } from '../dropout.js';
import {
  EngineError,
  type Batch,
  type Engine,
  type EngineInfo,
  type EngineLimits,
  type Evaluation,
  type Gradient,
  type GradientProgress,
} from '../engine.js';
import { createThreadPool, type ThreadPool } from './thread-pool.js';
import type { EngineThread, Share, ThreadOrder } from './port.js';
import { createSharedMemory, type SharedMemory } from './shared-memory.js';

export interface ThreadedEngineOptions {
  /**
   * N >= 1; even one thread leaves the caller's thread free. At most limits.maxStreams are opened.
   */
  readonly threads: number;
  /** Starts a thread that runs serveEngine. */
  readonly openThread: () => EngineThread;
  /**
   * Whether gradients are handed over while they are computed; default: yes. Coding and sending a part
   * then takes time of a core: where the threads have them all, it gains nothing, and waking the caller
   * costs some per cent of a gradient.
   */
  readonly handsOver?: boolean;
}

/**
 * An engine that divides the streams of each call among N engine threads, in equal contiguous
 * shares, and sums their gradients in the order of the threads, so the same call always gives the
 * same bits. All threads use the variant that the first one chooses. If a thread ends, the whole
 * engine fails with `device_lost`.
 * @throws EngineError `bad_shape`, `unsupported` if memory cannot be shared, `out_of_memory`, and
 * what the threads' engines throw
 */
export async function createThreadedEngine(
  config: ModelConfig,
  limits: EngineLimits,
  { threads, openThread, handsOver = true }: ThreadedEngineOptions,
): Promise<Engine> {
  checkEngineConfig(config, limits);
  if (!Number.isInteger(threads) || threads < 1) {
    throw new EngineError('bad_shape', `${threads} engine threads`, 'give the number of threads as a whole number of at least 1');
  }
  const count = Math.min(threads, limits.maxStreams);
  const memory = createSharedMemory(config, limits, count);
  const pool = createThreadPool(openThreads(count, openThread));
  try {
    const info = await openAll(pool, config, { ...limits, maxStreams: Math.ceil(limits.maxStreams / count) }, memory);
    return new ThreadedEngine(config, limits, { pool, memory, info, handsOver });
  } catch (error) {
    pool.dismiss();
    throw error;
  }
}

/** Opens all threads or none, because the process may run out of threads or memory on the way. */
function openThreads(count: number, openThread: () => EngineThread): EngineThread[] {
  const threads: EngineThread[] = [];
  try {
    while (threads.length < count) threads.push(openThread());
    return threads;
  } catch (cause) {
    for (const thread of threads) thread.terminate();
    const message = cause instanceof Error ? cause.message : String(cause);
    const which = `engine thread ${threads.length + 1} of ${count}`;
    throw new EngineError('unsupported', `${which} does not start: ${message}`, 'use fewer threads', { cause });
  }
}

/** Opens the first thread alone, so that it can measure its variants while the others are idle. */
async function openAll(pool: ThreadPool, config: ModelConfig, limits: EngineLimits, memory: SharedMemory): Promise<EngineInfo> {
  const open = (index: number, variant?: string): ThreadOrder => ({ kind: 'open', config, limits, index, variant, memory });
  const [first] = await pool.ask([open(0)]);
  if (first.kind !== 'opened') throw new Error(`an engine thread answered ${first.kind} when it was opened`);
  const { name, variant, device } = first.info;
  const others = Array.from({ length: pool.size - 1 }, (_, i) => open(i + 1, variant));
  await pool.ask(others, 1);
  return { name, variant, device: pool.size === 1 ? device : `${device}, ${pool.size} threads` };
}

interface Parts {
  readonly pool: ThreadPool;
  readonly memory: SharedMemory;
  readonly info: EngineInfo;
  readonly handsOver: boolean;
}

class ThreadedEngine implements Engine {
  readonly info: EngineInfo;
  readonly limits: EngineLimits;
  readonly #config: ModelConfig;
  readonly #pool: ThreadPool;
  readonly #memory: SharedMemory;
  readonly #handsOver: boolean;
  #disposed = false;
  #version = 0;

  constructor(config: ModelConfig, limits: EngineLimits, { pool, memory, info, handsOver }: Parts) {
    this.#config = config;
    this.limits = limits;
    this.#pool = pool;
    this.#memory = memory;
    this.#handsOver = handsOver;
    this.info = info;
  }

  setParameters(parameters: Float32Array): void {
    this.#checkAlive();
    checkParameters(this.#config, parameters);
    this.#memory.parameters.set(parameters);
    this.#version++;
  }

  async gradient(batch: Batch, onProgress?: GradientProgress): Promise<Gradient> {
    this.#take(batch);
    const { streams, window, dropout } = batch;
    checkDropoutKey(this.#config, batch);
    const { signals, gradients } = this.#memory;
    const [gradient] = gradients;
    signals.fill(0);
    const reports = this.#handsOver && onProgress !== undefined;
    const orders = this.#deal(streams).map((share): ThreadOrder => ({
      kind: 'gradient',
      window,
      share,
      dropout: masksOf(dropout, share),
      reports,
    }));
    const listener = new Listener((from) => onProgress?.(gradient, from));
    const lossSum = await this.#lossOf(orders, listener);
    listener.check();
    return { ...this.#evaluation(batch, lossSum), gradient };
  }

  async evaluate(batch: Batch): Promise<Evaluation> {
    this.#take(batch);
    const { streams, window } = batch;
    return this.#evaluation(batch, await this.#lossOf(this.#deal(streams).map((share) => ({ kind: 'evaluate', window, share }))));
  }

  async step(tokens: Uint16Array, states: Float32Array): Promise<Float32Array> {
    this.#checkAlive();
    checkStep(this.#config, this.limits, tokens, states);
    const memory = this.#memory;
    memory.tokens.set(tokens);
    memory.states.set(states);
    await this.#lossOf(this.#deal(tokens.length).map((share) => ({ kind: 'step', share })));
    states.set(memory.endStates.subarray(0, states.length));
    return memory.logits.subarray(0, tokens.length * this.#config.vocabulary);
  }

  dispose(): void {
    this.#disposed = true;
    this.#pool.dismiss();
  }

  #checkAlive(): void {
    if (this.#disposed) throw new EngineError('disposed', 'this engine was disposed', 'create a new engine');
  }

  #take(batch: Batch): void {
    this.#checkAlive();
    checkBatch(this.#config, this.limits, batch);
    this.#memory.tokens.set(batch.tokens);
    this.#memory.states.set(batch.states);
  }

  /**
   * Shares of nearly equal size. If there are fewer streams than threads, as many threads get one
   * stream each.
   */
  #deal(streams: number): Share[] {
    const members = Math.min(this.#pool.size, streams);
    const start = (member: number): number => Math.floor((member * streams) / members);
    return Array.from({ length: members }, (_, i) => ({
      from: start(i),
      streams: start(i + 1) - start(i),
      members,
      version: this.#version,
    }));
  }

  async #lossOf(orders: ThreadOrder[], listener?: Listener): Promise<number> {
    const replies = await this.#pool.ask(orders, 0, listener && ((from) => listener.tell(from)));
    return replies.reduce((sum, reply) => sum + (reply.kind === 'done' ? reply.lossSum : NaN), 0);
  }

  #evaluation({ streams, window, states }: Batch, lossSum: number): Evaluation {
    return { lossSum, tokens: streams * window, endStates: this.#memory.endStates.subarray(0, states.length) };
  }
}

/** What the caller is told of a gradient. */
class Listener {
  readonly #onProgress: (from: number) => void;
  #from = Infinity;
  #thrown: { readonly error: unknown } | undefined;

  constructor(onProgress: (from: number) => void) {
    this.#onProgress = onProgress;
  }

  /** Messages of two threads may overtake each other; the later one says more. */
  tell(from: number): void {
    if (from >= this.#from || this.#thrown) return;
    this.#from = from;
    try {
      this.#onProgress(from);
    } catch (error) {
      this.#thrown = { error };
    }
  }

  /** @throws what `onProgress` threw. */
  check(): void {
    if (this.#thrown) throw this.#thrown.error;
  }
}

function masksOf(key: DropoutKey | undefined, { from, streams }: Share): DropoutKey | undefined {
  return key && { ...key, streams: key.streams.slice(from, from + streams) };
}
