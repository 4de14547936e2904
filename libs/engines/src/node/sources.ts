/** Where each engine of the catalogue comes from on this machine. */
import { EngineError, type Clock, type Engine, type EngineLimits, type ModelConfig } from '@troupe/model';
import { createThreadedEngine } from '@troupe/model/threads';
import type { EngineName } from '../names.js';
import { createCpuEngine, loadNative, loadWasm, type CpuEngineName } from './cpu.js';
import { findGpu, openGpuEngine } from './gpu.js';
import type { TfjsPackage } from './tfjs-node.js';
import { openNodeThread } from './thread.js';

export interface SourceOptions {
  /**
   * N >= 1: engines that compute on the processor do so in N threads of their own. 0 or absent: in the caller's thread. GPU engines and
   * TensorFlow.js always belong to the caller's thread.
   */
  readonly threads?: number;
  /** Given, engines measure which of their variants is fastest; else they take the same one every time. */
  readonly nowMs?: Clock;
  /** The variant to take, as EngineInfo.variant has it; nothing is measured then. */
  readonly variant?: string;
  /** The script of an engine thread; absent: the compiled one. */
  readonly threadScript?: URL;
}

/** What is there of an engine, as far as it can be known without computing. */
export interface Presence {
  /** "cpu", or the name of a GPU. */
  readonly device: string;
  /** Variants and abilities, best first. */
  readonly features: readonly string[];
  /** A GPU that is imitated by the processor: right, but slower than any engine for the processor. */
  readonly software: boolean;
}

export interface Source {
  /** @throws EngineError `absent`, with the command that brings it, or `unsupported` */
  find(): Promise<Presence>;
  /** @throws EngineError */
  open(config: ModelConfig, limits: EngineLimits, options: SourceOptions): Promise<Engine>;
}

export const SOURCES: Readonly<Record<EngineName, Source>> = {
  native: {
    async find() {
      const { nativeStatus } = await loadNative();
      const status = nativeStatus();
      if (!status.present) throw new EngineError('absent', status.reason, status.remedy);
      return onProcessor(status.variants);
    },
    open: processorOpener('native'),
  },
  wasm: {
    async find() {
      const { wasmVariants } = await loadWasm();
      // "relaxed-simd 6x2": the instruction set; the tile behind it says little to a person.
      return onProcessor([...new Set(wasmVariants().map((variant) => variant.split(' ')[0]))]);
    },
    open: processorOpener('wasm'),
  },
  webgpu: { find: findGpu, open: openGpuEngine },
  'tfjs-node-gpu': tfjsSource('node-gpu'),
  'tfjs-node': tfjsSource('node'),
  'tfjs-webgpu': tfjsSource('webgpu', findGpu),
  'tfjs-wasm': tfjsSource('wasm'),
  'tfjs-cpu': tfjsSource('cpu'),
  reference: { find: async () => onProcessor(['float64']), open: processorOpener('reference') },
};

function onProcessor(features: readonly string[]): Presence {
  return { device: 'cpu', features, software: false };
}

function processorOpener(engine: CpuEngineName): Source['open'] {
  return (config, limits, { threads = 0, nowMs, variant, threadScript }) => {
    if (threads > 0) {
      const data = { engine, measured: nowMs !== undefined, variant };
      return createThreadedEngine(config, limits, { threads, openThread: () => openNodeThread(data, threadScript) });
    }
    return createCpuEngine(engine, config, limits, variant !== undefined ? { variant } : nowMs ? { now: nowMs } : {});
  };
}

/** `find`: what must be there besides the packages. */
function tfjsSource(from: TfjsPackage, find?: Source['find']): Source {
  return {
    async find() {
      const device = await find?.();
      const { loadTfjs } = await import('./tfjs-node.js');
      const features = [`tfjs ${(await loadTfjs(from)).version.tfjs}`];
      return { ...onProcessor(features), ...device };
    },
    async open(config, limits) {
      const [{ createTfjsEngine }, { loadTfjs }] = await Promise.all([import('@troupe/model/tfjs'), import('./tfjs-node.js')]);
      return createTfjsEngine(config, limits, await loadTfjs(from));
    },
  };
}
