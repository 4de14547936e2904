import { checkBatch, checkDropoutKey, checkParameters, checkStep } from '../batch.js';
import { CELL_SHAPES, type ModelConfig } from '../config.js';
import { dropoutMask, dropoutOf } from '../dropout.js';
import {
  EngineError,
  type Batch,
  type Engine,
  type EngineInfo,
  type EngineLimits,
  type Evaluation,
  type Gradient,
} from '../engine.js';
import { createLayout, type ParameterLayout } from '../layout.js';
import { windowOf } from './characters.js';
import { asEngineError, deviceLost, type DeviceWatch } from './failures.js';
import { differentiate, evaluateWindow, logitsAfter, type States } from './gradient.js';
import type { Network } from './network.js';
import { createOps, type Matrix, type Ops, type TfjsApi } from './ops.js';
import { packWeights, type Weights } from './weights.js';

export interface Opening {
  readonly config: ModelConfig;
  readonly limits: EngineLimits;
  readonly info: EngineInfo;
  readonly watch: DeviceWatch;
  /** Tells the owner of the backend that the engine no longer needs it. */
  readonly letGo: (() => void) | undefined;
}

export class TfjsEngine implements Engine {
  readonly info: EngineInfo;
  readonly limits: EngineLimits;
  readonly #tf: TfjsApi;
  readonly #ops: Ops;
  readonly #config: ModelConfig;
  readonly #layout: ParameterLayout;
  readonly #watch: DeviceWatch;
  readonly #letGo: (() => void) | undefined;
  readonly #parameters: Float32Array;
  /** Created from the parameters when first needed, because a backend may have to be awaited. */
  #weights: Weights | undefined;
  #finite = true;
  #disposed = false;

  constructor(tf: TfjsApi, { config, limits, info, watch, letGo }: Opening) {
    this.info = info;
    this.limits = limits;
    this.#tf = tf;
    this.#ops = createOps(tf);
    this.#config = config;
    this.#layout = createLayout(config);
    this.#parameters = new Float32Array(this.#layout.size);
    this.#watch = watch;
    this.#letGo = letGo;
  }

  setParameters(parameters: Float32Array): void {
    this.#checkUsable();
    checkParameters(this.#config, parameters);
    this.#parameters.set(parameters);
    this.#finite = allFinite(parameters);
    this.#dropWeights();
  }

  async gradient(batch: Batch): Promise<Gradient> {
    this.#checkUsable();
    checkBatch(this.#config, this.limits, batch);
    checkDropoutKey(this.#config, batch);
    this.#checkInputs(batch.states);
    const { size } = this.#layout;
    const values = await this.#read((network) => {
      const start = this.#load(batch.states, batch.streams);
      const { gradients, losses, endStates } = differentiate(network, windowOf(batch), start, this.#masks(batch));
      return [...this.#layout.tensors.flatMap(({ name }) => gradients[name]), losses, ...endStates.flat()];
    });
    const gradient = values.subarray(0, size);
    const evaluation = this.#evaluation(batch, values.subarray(size));
    if (!Number.isFinite(evaluation.lossSum)) throw notFinite('loss');
    if (!allFinite(gradient)) throw notFinite('gradient');
    return { ...evaluation, gradient };
  }

  async evaluate(batch: Batch): Promise<Evaluation> {
    this.#checkUsable();
    checkBatch(this.#config, this.limits, batch);
    this.#checkInputs(batch.states);
    const values = await this.#read((network) => {
      const { losses, endStates } = evaluateWindow(network, windowOf(batch), this.#load(batch.states, batch.streams));
      return [losses, ...endStates.flat()];
    });
    return this.#evaluation(batch, values);
  }

  async step(tokens: Uint16Array, states: Float32Array): Promise<Float32Array> {
    this.#checkUsable();
    checkStep(this.#config, this.limits, tokens, states);
    this.#checkInputs(states);
    const B = tokens.length;
    const window = { B, T: 1, inputs: Int32Array.from(tokens), targets: new Int32Array(B) };
    const values = await this.#read((network) => {
      const { logits, endStates } = logitsAfter(network, window, this.#load(states, B));
      return [logits, ...endStates.flat()];
    });
    const logits = B * this.#config.vocabulary;
    this.#store(values.subarray(logits), states);
    return values.subarray(0, logits);
  }

  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    this.#dropWeights();
    this.#tf.dispose(this.#ops.one);
    this.#letGo?.();
  }

  #dropWeights(): void {
    this.#weights?.dispose();
    this.#weights = undefined;
  }

  /**
   * Runs `compute` and reads its results back, concatenated. In one read, because on a GPU each
   * read waits for all work before it.
   */
  async #read(compute: (network: Network) => Matrix[]): Promise<Float32Array> {
    const tf = this.#tf;
    try {
      await this.#selectBackend();
      this.#checkUsable();
      const weights = (this.#weights ??= packWeights(this.#ops, this.#config, this.#parameters));
      const all = tf.tidy(() => {
        const results = compute({ ops: this.#ops, config: this.#config, weights });
        return tf.concat(results.map((result) => tf.reshape(result, [result.size])));
      });
      const values = await all.data<'float32'>().finally(() => tf.dispose(all));
      this.#checkUsable();
      const gone = this.#watch.lost();
      if (gone !== undefined) throw deviceLost(gone);
      return values;
    } catch (error) {
      await this.#watch.settled();
      this.#checkUsable();
      throw asEngineError(error, this.#watch);
    }
  }

  #checkUsable(): void {
    if (this.#disposed) throw new EngineError('disposed', 'this engine was disposed', 'create a new engine');
  }

  /**
   * The backend is a setting of the whole process, which an engine on another backend may have
   * changed.
   */
  async #selectBackend(): Promise<void> {
    const { variant } = this.info;
    if (this.#tf.getBackend() === variant || (await this.#tf.setBackend(variant))) return;
    throw new EngineError('unsupported', `the backend ${variant} of tfjs does not start again`, 'create a new engine');
  }

  /** Backends may lose a NaN: comparisons in clamps and rectifiers swallow it. */
  #checkInputs(states: Float32Array): void {
    if (!this.#finite) throw notFinite('parameter vector');
    if (!allFinite(states)) throw notFinite('hidden state');
  }

  /** Splits states [B, L, S, H] into S matrices [B, H] for each layer. */
  #load(states: Float32Array, B: number): States {
    const { layers: L, hidden: H, cell } = this.#config;
    const S = CELL_SHAPES[cell].stateVectors;
    return Array.from({ length: L }, (_layer, k) =>
      Array.from({ length: S }, (_state, s) => {
        const matrix = new Float32Array(B * H);
        for (let b = 0; b < B; b++) {
          const from = ((b * L + k) * S + s) * H;
          matrix.set(states.subarray(from, from + H), b * H);
        }
        return this.#tf.tensor2d(matrix, [B, H]);
      }),
    );
  }

  /** Reorders [L, S, B, H], the order of reading, to `states` [B, L, S, H]. */
  #store(values: Float32Array, states: Float32Array): void {
    const { layers: L, hidden: H, cell } = this.#config;
    const vectors = L * CELL_SHAPES[cell].stateVectors;
    const B = values.length / (vectors * H);
    for (let vector = 0; vector < vectors; vector++) {
      for (let b = 0; b < B; b++) {
        const from = (vector * B + b) * H;
        states.set(values.subarray(from, from + H), (b * vectors + vector) * H);
      }
    }
  }

  /** `values`: losses [T*B], then end states. */
  #evaluation({ streams, window, states }: Batch, values: Float32Array): Evaluation {
    const tokens = streams * window;
    const endStates = new Float32Array(states.length);
    this.#store(values.subarray(tokens), endStates);
    let lossSum = 0;
    for (let i = 0; i < tokens; i++) lossSum += values[i];
    return { lossSum, tokens, endStates };
  }

  /** [T*B, H] for each layer whose output is dropped. */
  #masks({ streams: B, window: T, dropout: key }: Batch): (Matrix | undefined)[] {
    const { layers, hidden: H } = this.#config;
    return Array.from({ length: layers }, (_, k) => {
      const p = dropoutOf(this.#config, k);
      if (p === 0) return undefined;
      const mask = new Float32Array(T * B * H);
      for (let row = 0; row < T * B; row++) {
        dropoutMask(p, key!, k, row % B, Math.floor(row / B), mask.subarray(row * H, (row + 1) * H));
      }
      return this.#tf.tensor2d(mask, [T * B, H]);
    });
  }
}

function allFinite(values: Float32Array): boolean {
  for (let i = 0; i < values.length; i++) {
    if (!Number.isFinite(values[i])) return false;
  }
  return true;
}

function notFinite(what: string): EngineError {
  return new EngineError(
    'not_finite',
    `the ${what} is not a finite number`,
    'return to the last good parameters and states, with a lower learning rate or a smaller clipping norm',
  );
}
