import { checkEngineConfig } from '../batch.js';
import type { ModelConfig } from '../config.js';
import { EngineError, type Engine, type EngineLimits } from '../engine.js';
import type { Clock } from '../trial.js';
import { fastestVariant } from './choose.js';
import { openEngine } from './engine.js';
import { describeVariant, hostVariants, type Variant } from './variants.js';

export { v8Flags } from './variants.js';

export interface WasmEngineOptions {
  /** One of wasmVariants(). If given, nothing is measured. */
  readonly variant?: string;
  /**
   * A clock in milliseconds (performance.now). If given, a trial of about 0.2 s picks the fastest
   * variant; else the best guess.
   */
  readonly now?: Clock;
}

/**
 * Variants that this host can run, best guess first: "relaxed-simd 6x2" (instruction set, rows x
 * vectors of the GEMM's tile).
 */
export function wasmVariants(): string[] {
  return hostVariants().map(describeVariant);
}

/**
 * Computes on one core in WebAssembly. All memory is allocated here, for limits.maxStreams x
 * limits.maxWindow characters.
 * @throws EngineError `unsupported` (no WebAssembly SIMD, unknown variant), `out_of_memory`,
 * `bad_shape`.
 */
export async function createWasmEngine(
  config: ModelConfig,
  limits: EngineLimits,
  options: WasmEngineOptions = {},
): Promise<Engine> {
  checkEngineConfig(config, limits);
  return openEngine(config, limits, await pickVariant(config, limits, options));
}

async function pickVariant(config: ModelConfig, limits: EngineLimits, { variant, now }: WasmEngineOptions): Promise<Variant> {
  const variants = hostVariants();
  if (variant !== undefined) {
    const named = variants.find((candidate) => describeVariant(candidate) === variant);
    if (named) return named;
    const names = variants.map(describeVariant).join(', ');
    throw new EngineError('unsupported', `variant "${variant}" does not run on this host`, `choose one of: ${names}`);
  }
  return now ? fastestVariant(config, limits, now) : variants[0];
}
