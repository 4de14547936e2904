import { checkBatch, checkDropoutKey, checkEngineConfig, checkParameters, checkStep } from '../batch.js';
import type { ModelConfig } from '../config.js';
import {
  EngineError,
  type Batch,
  type Engine,
  type EngineInfo,
  type EngineLimits,
  type Evaluation,
  type Gradient,
} from '../engine.js';
import { createLayout, stateSize } from '../layout.js';
import { referencePass, referenceStep, type ReferenceResult } from './network.js';

/**
 * The engine that tests compare the others with: float64, one stream and one time step after the
 * other, without optimizations. About a thousand times slower than a fast engine. Results are
 * rounded to float32 once, at the end. Parameters are zero until set.
 * @throws EngineError `bad_shape`
 */
export function createReferenceEngine(config: ModelConfig, limits: EngineLimits): Engine {
  checkEngineConfig(config, limits);
  return new ReferenceEngine(config, limits);
}

/**
 * The gradient in float64, for finite differences: d(lossSum)/d(parameters) [P] in the layout's
 * order.
 * @throws EngineError `bad_shape`
 */
export function referenceGradient(
  config: ModelConfig,
  parameters: Float64Array,
  batch: Batch,
): ReferenceResult & { readonly gradient: Float64Array } {
  checkShapes(config, parameters, batch);
  const gradient = new Float64Array(parameters.length);
  return { ...referencePass(config, parameters, batch, gradient), gradient };
}

/**
 * Loss and end states in float64, forward pass only. It is the loss whose gradient
 * referenceGradient returns, with dropout if the batch has a dropout key.
 * @throws EngineError `bad_shape`
 */
export function referenceLoss(config: ModelConfig, parameters: Float64Array, batch: Batch): ReferenceResult {
  checkShapes(config, parameters, batch);
  return referencePass(config, parameters, batch);
}

export { gradientFlow } from './gradient-flow.js';
export type { ReferenceResult };

function checkShapes(config: ModelConfig, parameters: Float64Array, batch: Batch): void {
  checkParameters(config, parameters);
  checkBatch(config, { maxStreams: Infinity, maxWindow: Infinity }, batch);
}

class ReferenceEngine implements Engine {
  readonly info: EngineInfo = { name: 'reference', variant: 'float64', device: 'cpu' };
  readonly limits: EngineLimits;
  readonly #config: ModelConfig;
  readonly #parameters: Float64Array;
  #disposed = false;

  constructor(config: ModelConfig, limits: EngineLimits) {
    this.#config = config;
    this.limits = limits;
    this.#parameters = new Float64Array(createLayout(config).size);
  }

  setParameters(parameters: Float32Array): void {
    this.#checkAlive();
    checkParameters(this.#config, parameters);
    this.#parameters.set(parameters);
  }

  async gradient(batch: Batch): Promise<Gradient> {
    this.#checkAlive();
    checkBatch(this.#config, this.limits, batch);
    checkDropoutKey(this.#config, batch);
    const sum = new Float64Array(this.#parameters.length);
    const result = referencePass(this.#config, this.#parameters, batch, sum);
    const gradient = Float32Array.from(sum);
    checkFinite(result.lossSum, gradient);
    return { ...evaluationOf(batch, result), gradient };
  }

  async evaluate(batch: Batch): Promise<Evaluation> {
    this.#checkAlive();
    checkBatch(this.#config, this.limits, batch);
    const result = referencePass(this.#config, this.#parameters, withoutDropout(batch));
    checkFinite(result.lossSum, []);
    return evaluationOf(batch, result);
  }

  async step(tokens: Uint16Array, states: Float32Array): Promise<Float32Array> {
    this.#checkAlive();
    checkStep(this.#config, this.limits, tokens, states);
    const V = this.#config.vocabulary;
    const size = stateSize(this.#config);
    const logits = new Float32Array(tokens.length * V);
    tokens.forEach((token, b) => {
      const state = Float64Array.from(states.subarray(b * size, (b + 1) * size));
      logits.set(referenceStep(this.#config, this.#parameters, token, state), b * V);
      states.set(state, b * size);
    });
    return logits;
  }

  dispose(): void {
    this.#disposed = true;
  }

  #checkAlive(): void {
    if (this.#disposed) throw new EngineError('disposed', 'the engine was disposed', 'create a new engine');
  }
}

function withoutDropout({ streams, window, tokens, states }: Batch): Batch {
  return { streams, window, tokens, states };
}

function evaluationOf({ streams, window }: Batch, { lossSum, endStates }: ReferenceResult): Evaluation {
  return { lossSum, tokens: streams * window, endStates: Float32Array.from(endStates) };
}

function checkFinite(lossSum: number, gradient: ArrayLike<number>): void {
  let finite = Number.isFinite(lossSum);
  for (let i = 0; i < gradient.length && finite; i++) finite = Number.isFinite(gradient[i]);
  if (!finite) {
    throw new EngineError(
      'not_finite',
      'the loss or gradient is not a finite number',
      'Start again with a lower learning rate, or clip the gradient.',
    );
  }
}
