import type { DropoutKey } from './dropout.js';

/**
 * The port for computing gradients. An engine owns a copy of the parameters. It takes no optimizer
 * step, keeps no hidden state between calls and draws no random numbers, so that **the gradient of
 * a lease is a pure function of (parameters, lease)**.
 */

/**
 * Streams of one lease, one window long. All arrays are stream-major and belong to the caller; the
 * engine only reads them.
 */
export interface Batch {
  /** B, streams in this batch: 1 <= B <= EngineLimits.maxStreams. */
  readonly streams: number;
  /** T, time steps: 1 <= T <= EngineLimits.maxWindow. */
  readonly window: number;
  /** Character ids [B, T+1]: inputs are columns 0..T-1, targets columns 1..T. */
  readonly tokens: Uint16Array;
  /** Hidden state before the window [B, L, S, H]; for an LSTM S = 2: h, then C. */
  readonly states: Float32Array;
  /**
   * Selects the dropout masks. gradient() needs it if the model has dropout; evaluate() and step()
   * ignore it and drop nothing.
   */
  readonly dropout?: DropoutKey;
}

export interface Gradient {
  /**
   * d(sum of negative log-likelihood over the B*T targets)/d(parameters), in the layout's order. A
   * sum, not a mean.
   */
  readonly gradient: Float32Array;
  /** Sum of negative log-likelihood over the B*T targets, nats. */
  readonly lossSum: number;
  /** B*T, characters. */
  readonly tokens: number;
  /** Hidden state after the window [B, L, S, H]. */
  readonly endStates: Float32Array;
}

/**
 * Receives the finished part of a gradient while the rest is still computed: the values of
 * `gradient` [P] from index `from` on are final. The layout is in forward order, so a backward pass
 * finishes it from its end, and `from` falls from call to call. The values may be read, not
 * written or transferred, until the promise of `gradient` settles; if that rejects, they do not
 * count. The engine may be disposed of, but not otherwise used. An error that is thrown here
 * rejects the promise.
 */
export type GradientProgress = (gradient: Float32Array, from: number) => void;

export interface Evaluation {
  readonly lossSum: number;
  readonly tokens: number;
  readonly endStates: Float32Array;
}

export interface EngineInfo {
  /** `reference`, `wasm`, `native`, `webgpu`, `tfjs`. */
  readonly name: string;
  /**
   * The variant chosen on this host: "relaxed-simd 4x2", "avx2", "f16 subgroups", "wasm" (tfjs's
   * backend).
   */
  readonly variant: string;
  /** Where it computes: "cpu", "cpu, 2 threads", the name of a GPU. */
  readonly device: string;
}

export interface EngineLimits {
  readonly maxStreams: number;
  readonly maxWindow: number;
}

/**
 * The engine owns the buffers in results; they are valid until the next call of any method, so
 * copy what must live longer. Calls must not overlap. Every method throws EngineError.
 */
export interface Engine {
  readonly info: EngineInfo;
  readonly limits: EngineLimits;
  /**
   * Copies all parameters in (length layout.size). Values that are not finite are reported by
   * gradient().
   */
  setParameters(parameters: Float32Array): void;
  /**
   * Forward and truncated backward pass over one window. `onProgress` is called any number of
   * times, also never, and does not change a bit of the result. @throws EngineError `not_finite` if
   * loss or gradient is not.
   */
  gradient(batch: Batch, onProgress?: GradientProgress): Promise<Gradient>;
  /** Forward pass only. */
  evaluate(batch: Batch): Promise<Evaluation>;
  /**
   * One time step for sampling. `tokens` [B] ids, `states` [B, L, S, H] read and overwritten in
   * place. Returns logits [B, V].
   */
  step(tokens: Uint16Array, states: Float32Array): Promise<Float32Array>;
  dispose(): void;
}

export class EngineError extends Error {
  override readonly name = 'EngineError';
  /**
   * `absent`: what the engine needs is not installed · `unsupported`: this host or device cannot
   * run it, or not this model · `device_lost`: the device went away; the call's work is lost, the
   * engine can no longer be used, and the caller needs another.
   */
  readonly code: 'absent' | 'unsupported' | 'bad_shape' | 'out_of_memory' | 'not_finite' | 'device_lost' | 'disposed';
  readonly remedy: string;
  constructor(code: EngineError['code'], message: string, remedy: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
    this.remedy = remedy;
  }
}
