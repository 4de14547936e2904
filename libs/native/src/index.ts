import { checkEngineConfig, EngineError, type Clock, type Engine, type EngineLimits, type ModelConfig } from '@troupe/model';
import { loadAddon, type Absence, type Addon } from './addon.js';
import { fastestVariant } from './choose.js';
import { openEngine } from './engine.js';

export interface NativeEngineOptions {
  /** One of nativeVariants(). If given, nothing is measured. */
  readonly variant?: string;
  /**
   * A clock in milliseconds (performance.now). If given, a trial of about 0.05 s picks the fastest
   * variant; else the best guess.
   */
  readonly now?: Clock;
}

export type NativeStatus =
  { readonly present: true; readonly variants: readonly string[] } | ({ readonly present: false } & Absence);

/**
 * Whether this host has the native engine. Building Troupe compiles it if there is a C compiler.
 */
export function nativeStatus(): NativeStatus {
  const addon = loadAddon();
  return 'reason' in addon ? { present: false, ...addon } : { present: true, variants: addon.variants() };
}

/**
 * Instruction sets that this host can use, best guess first: "avx512", "avx2", "neon". Empty if
 * the engine is absent.
 */
export function nativeVariants(): string[] {
  const addon = loadAddon();
  return 'reason' in addon ? [] : addon.variants();
}

/**
 * Computes synchronously in C with vector instructions, on the calling thread. All memory except
 * that of the results is allocated here, for limits.maxStreams x limits.maxWindow characters, and
 * freed by dispose(). Parameters are zero until set.
 * @throws EngineError `absent` (not compiled), `unsupported` (unknown variant), `out_of_memory`,
 * `bad_shape`.
 */
export async function createNativeEngine(
  config: ModelConfig,
  limits: EngineLimits,
  options: NativeEngineOptions = {},
): Promise<Engine> {
  checkEngineConfig(config, limits);
  const addon = loadAddon();
  if ('reason' in addon) throw new EngineError('absent', addon.reason, addon.remedy);
  return openEngine(addon, config, limits, await pickVariant(addon, config, limits, options));
}

async function pickVariant(
  addon: Addon,
  config: ModelConfig,
  limits: EngineLimits,
  { variant, now }: NativeEngineOptions,
): Promise<string> {
  const variants = addon.variants();
  if (variant !== undefined) {
    if (variants.includes(variant)) return variant;
    throw new EngineError(
      'unsupported',
      `variant "${variant}" does not run on this host`,
      `choose one of: ${variants.join(', ')}`,
    );
  }
  return now ? fastestVariant(addon, config, limits, now) : variants[0];
}
