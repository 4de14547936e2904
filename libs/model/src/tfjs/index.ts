import { checkEngineConfig } from '../batch.js';
import type { ModelConfig } from '../config.js';
import type { Engine, EngineLimits } from '../engine.js';
import { TfjsEngine } from './engine.js';
import { asEngineError, checkPrecision, deviceName, watchDevice } from './failures.js';
import type { LentTfjs, TfjsApi } from './ops.js';

export type { LentTfjs, TfjsApi };

export interface TfjsEngineOptions {
  /** Name of the device for EngineInfo, if the caller knows it better than tfjs does. */
  readonly device?: string;
}

/**
 * Computes with TensorFlow.js on its current backend (call `tf.setBackend` first): cpu, wasm,
 * webgl, webgpu, or tensorflow (tfjs-node and tfjs-node-gpu). The loop over time and its backward
 * pass are written by hand with tfjs's operations, so they need no gradient functions of the
 * backend. Parameters are zero until set.
 * @param tf the namespace of tfjs; this library depends only on its types
 * @throws EngineError `unsupported` (webgl with 16-bit floats, a backend that does not start),
 * `out_of_memory`, `bad_shape`
 */
export async function createTfjsEngine(
  config: ModelConfig,
  limits: EngineLimits,
  tf: LentTfjs,
  options: TfjsEngineOptions = {},
): Promise<Engine> {
  checkEngineConfig(config, limits);
  const letGo = tf.hold?.();
  try {
    await tf.ready();
    checkPrecision(tf);
    const info = { name: 'tfjs', variant: tf.getBackend(), device: options.device ?? deviceName(tf) };
    return new TfjsEngine(tf, { config, limits, info, watch: watchDevice(tf), letGo });
  } catch (error) {
    letGo?.();
    throw asEngineError(error);
  }
}
