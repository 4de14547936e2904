/** The engines that compute on the CPU, in the thread that creates them. */
import v8 from 'node:v8';
import type { Engine, EngineLimits, ModelConfig } from '@troupe/model';

export type CpuEngineName = 'native' | 'wasm' | 'reference';

export interface CpuEngineOptions {
  /** One of the engine's variants. If given, nothing is measured. */
  readonly variant?: string;
  /**
   * A clock in milliseconds. If given, the engine measures which of its variants is fastest; else
   * it takes the same one every time.
   */
  readonly now?: () => number;
}

/** @throws EngineError */
export async function createCpuEngine(
  name: CpuEngineName,
  config: ModelConfig,
  limits: EngineLimits,
  options: CpuEngineOptions = {},
): Promise<Engine> {
  switch (name) {
    case 'native': {
      const { createNativeEngine } = await loadNative();
      return createNativeEngine(config, limits, options);
    }
    case 'wasm': {
      const { createWasmEngine } = await loadWasm();
      return createWasmEngine(config, limits, options);
    }
    case 'reference': {
      const { createReferenceEngine } = await import('@troupe/model/reference');
      return createReferenceEngine(config, limits);
    }
    default:
      return name satisfies never;
  }
}

export function loadNative() {
  // eslint-disable-next-line @nx/enforce-module-boundaries -- tagged portable; this folder is not
  return import('@troupe/native');
}

/**
 * The wasm engine's module, after setting V8's flags. Call it before anything else compiles
 * WebAssembly, best at the start of a process: V8 reads the flags when it compiles kernels, and
 * for all threads.
 */
export async function loadWasm() {
  const module = await import('@troupe/model/wasm');
  for (const flag of module.v8Flags(HOST)) v8.setFlagsFromString(flag);
  return module;
}

const HOST = { node: process.versions.node, arch: process.arch };

/**
 * Whether V8 pairs two 128-bit vectors in one 256-bit register, on a CPU that has such registers.
 */
export async function pairsVectors(): Promise<boolean> {
  return (await loadWasm()).v8Flags(HOST).some((flag) => flag.endsWith('revectorize'));
}
