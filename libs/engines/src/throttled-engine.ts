import { EngineError, type Batch, type Engine, type EngineInfo, type Gradient, type GradientProgress } from '@troupe/model';
import { restMs, type Effort } from './effort.js';

export interface Work {
  readonly characters: number;
  /** Without the rest before it. */
  readonly busyMs: number;
  readonly threads: number;
}

export interface ThrottleOptions {
  /** @throws EngineError */
  open(threads: number): Promise<Engine>;
  /** What the machine gives now; may change between calls. */
  effort(): Effort;
  onWork(work: Work): void;
  /** Monotonic, ms. */
  nowMs(): number;
  /** Resolves after `ms`; rejects with the signal's reason when aborted. */
  sleep(ms: number, signal: AbortSignal): Promise<void>;
  /** Aborts rests. */
  readonly signal: AbortSignal;
}

/**
 * An engine that uses no more of the machine than it is given. Before each gradient it rests in proportion to the time of the previous
 * one; time that passed in between counts as rest. It is opened again when the number of threads changes.
 * @throws EngineError
 */
export async function createThrottledEngine(options: ThrottleOptions): Promise<Engine> {
  const { threads } = options.effort();
  return new ThrottledEngine(options, await options.open(threads), threads);
}

class ThrottledEngine implements Engine {
  readonly #options: ThrottleOptions;
  #engine: Engine;
  #threads: number;
  #busyMs = 0;
  #idleSinceMs: number;
  /** The caller's array, which still holds the current parameters when a gradient is requested. */
  #parameters: Float32Array | undefined;
  #disposed = false;

  constructor(options: ThrottleOptions, engine: Engine, threads: number) {
    this.#options = options;
    this.#engine = engine;
    this.#threads = threads;
    this.#idleSinceMs = options.nowMs();
  }

  get info(): EngineInfo {
    return this.#engine.info;
  }

  get limits(): Engine['limits'] {
    return this.#engine.limits;
  }

  setParameters(parameters: Float32Array): void {
    this.#parameters = parameters;
    this.#engine.setParameters(parameters);
  }

  async gradient(batch: Batch, onProgress?: GradientProgress): Promise<Gradient> {
    const { nowMs, onWork } = this.#options;
    await this.#takeTurn();
    const startMs = nowMs();
    const result = await this.#engine.gradient(batch, onProgress);
    this.#idleSinceMs = nowMs();
    this.#busyMs = this.#idleSinceMs - startMs;
    onWork({ characters: result.tokens, busyMs: this.#busyMs, threads: this.#threads });
    return result;
  }

  evaluate(batch: Batch): ReturnType<Engine['evaluate']> {
    return this.#engine.evaluate(batch);
  }

  step(tokens: Uint16Array, states: Float32Array): Promise<Float32Array> {
    return this.#engine.step(tokens, states);
  }

  dispose(): void {
    this.#disposed = true;
    this.#engine.dispose();
  }

  async #takeTurn(): Promise<void> {
    const { effort, nowMs, sleep, signal } = this.#options;
    const leftMs = restMs(this.#busyMs, effort().duty) - (nowMs() - this.#idleSinceMs);
    if (leftMs >= 1) await sleep(leftMs, signal);
    const { threads } = effort();
    if (threads === this.#threads) return;
    // The old engine goes first: two at once may need more memory than a phone gives a page.
    this.#engine.dispose();
    const engine = await this.#options.open(threads);
    if (this.#disposed) {
      engine.dispose();
      throw new EngineError('disposed', 'this engine was disposed', 'create a new engine');
    }
    this.#engine = engine;
    this.#threads = threads;
    if (this.#parameters) engine.setParameters(this.#parameters);
  }
}
