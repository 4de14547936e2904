import v8 from 'node:v8';
import type { Engine, EngineLimits, ModelConfig } from '@troupe/model';
import { createWasmEngine, v8Flags } from '@troupe/model/wasm';

/**
 * The engine of this machine. `measured`: tries its variants for a moment and takes the fastest; without, the same variant every
 * time, so that a seed gives the same text and a checkpoint the same loss to the last bit.
 * @throws EngineError
 */
export function createEngine(model: ModelConfig, limits: EngineLimits, measured: boolean): Promise<Engine> {
  // V8 reads them when it compiles the kernels.
  for (const flag of v8Flags({ node: process.versions.node, arch: process.arch })) v8.setFlagsFromString(flag);
  return createWasmEngine(model, limits, measured ? { now: () => performance.now() } : {});
}
