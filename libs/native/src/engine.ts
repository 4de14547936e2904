import {
  CELLS,
  checkBatch,
  checkDropoutKey,
  checkParameters,
  checkStep,
  dropoutScale,
  dropoutThreshold,
  EngineError,
  parameterCount,
  type Batch,
  type Engine,
  type EngineInfo,
  type EngineLimits,
  type Evaluation,
  type Gradient,
  type GradientProgress,
  type ModelConfig,
} from '@troupe/model';
import type { Addon, Handle } from './addon.js';

/** @throws EngineError `out_of_memory`. */
export function openEngine(addon: Addon, config: ModelConfig, limits: EngineLimits, variant: string): Engine {
  const { dropout = 0, dropoutOutput = 0 } = config;
  const [between, output] = [dropout, dropoutOutput].map((p) => [dropoutThreshold(p), dropoutScale(p)] as const);
  const handle = addon.create(variant, sizesOf(config, limits), ...between, ...output);
  if (typeof handle === 'number') throw outOfMemory(handle);
  return new NativeEngine(addon, handle, config, limits, variant);
}

/** In the order that Addon.create reads. */
function sizesOf(config: ModelConfig, { maxStreams, maxWindow }: EngineLimits): Int32Array {
  const { cell, layers, hidden, vocabulary, embedding = 0, tied = false, layerNorm = false } = config;
  const options = [embedding, Number(tied), Number(layerNorm)];
  return Int32Array.of(CELLS.indexOf(cell), layers, hidden, vocabulary, ...options, maxStreams, maxWindow);
}

class NativeEngine implements Engine {
  readonly info: EngineInfo;
  readonly limits: EngineLimits;
  readonly #addon: Addon;
  readonly #config: ModelConfig;
  #handle: Handle | undefined;
  #gradient = new Float32Array(0);
  #endStates = new Float32Array(0);
  #logits = new Float32Array(0);

  constructor(addon: Addon, handle: Handle, config: ModelConfig, limits: EngineLimits, variant: string) {
    this.info = { name: 'native', variant, device: 'cpu' };
    this.limits = limits;
    this.#addon = addon;
    this.#config = config;
    this.#handle = handle;
  }

  setParameters(parameters: Float32Array): void {
    const handle = this.#open();
    checkParameters(this.#config, parameters);
    this.#addon.setParameters(handle, parameters);
  }

  async gradient(batch: Batch, onProgress?: GradientProgress): Promise<Gradient> {
    const handle = this.#open();
    checkBatch(this.#config, this.limits, batch);
    checkDropoutKey(this.#config, batch);
    const { streams, window, tokens, states, dropout } = batch;
    const endStates = (this.#endStates = sized(this.#endStates, states.length));
    const gradient = (this.#gradient = sized(this.#gradient, parameterCount(this.#config)));
    const lossSum = this.#addon.gradient(
      handle,
      streams,
      window,
      tokens,
      states,
      endStates,
      gradient,
      dropout?.streams,
      dropout?.seed,
      dropout?.round,
      onProgress && ((from) => onProgress(gradient, from)),
    );
    // The listener may have disposed of this engine.
    this.#open();
    if (lossSum === undefined) throw notFinite('gradient');
    if (!Number.isFinite(lossSum)) throw notFinite('loss');
    return { gradient, lossSum, tokens: streams * window, endStates };
  }

  async evaluate(batch: Batch): Promise<Evaluation> {
    const handle = this.#open();
    checkBatch(this.#config, this.limits, batch);
    const { streams, window, tokens, states } = batch;
    const endStates = (this.#endStates = sized(this.#endStates, states.length));
    const lossSum = this.#addon.evaluate(handle, streams, window, tokens, states, endStates);
    return { lossSum, tokens: streams * window, endStates };
  }

  async step(tokens: Uint16Array, states: Float32Array): Promise<Float32Array> {
    const handle = this.#open();
    checkStep(this.#config, this.limits, tokens, states);
    const logits = (this.#logits = sized(this.#logits, tokens.length * this.#config.vocabulary));
    this.#addon.step(handle, tokens.length, tokens, states, logits);
    return logits;
  }

  dispose(): void {
    if (this.#handle) this.#addon.dispose(this.#handle);
    this.#handle = undefined;
  }

  #open(): Handle {
    if (!this.#handle) throw new EngineError('disposed', 'this engine was disposed', 'create a new engine');
    return this.#handle;
  }
}

/**
 * Reuses `array` if its length is right. It is 0 after the caller has transferred the buffer to
 * another thread.
 */
function sized(array: Float32Array<ArrayBuffer>, length: number): Float32Array<ArrayBuffer> {
  return array.length === length ? array : new Float32Array(length);
}

function outOfMemory(bytes: number): EngineError {
  return new EngineError(
    'out_of_memory',
    `the engine needs ${Math.ceil(bytes / 2 ** 20)} MiB, more than this host can allocate`,
    'lower the batch, the window or the hidden size, or divide the batch among more workers',
  );
}

function notFinite(what: string): EngineError {
  return new EngineError(
    'not_finite',
    `the ${what} is not a finite number`,
    'return to the last good parameters and states, with a lower learning rate or a smaller clipping norm',
  );
}
