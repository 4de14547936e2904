/** Finds and opens each engine on this machine. */
import { availableParallelism } from 'node:os';
import { EngineError } from '@troupe/model';
import { createThreadedEngine } from '@troupe/model/threads';
import type { EngineName } from '../names.js';
import { createCpuEngine, loadNative, loadWasm, type CpuEngineName } from './cpu.js';
import { findGpu, openGpuEngine } from './gpu.js';
import type { Presence, Source } from './source.js';
import type { TfjsPackage } from './tfjs-node.js';
import { openNodeThread } from './thread.js';

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
      // Of "relaxed-simd 6x2" only the instruction set: the tile size means little to users.
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
      const openThread = () => openNodeThread(data, threadScript);
      return createThreadedEngine(config, limits, { threads, openThread, handsOver: threads < availableParallelism() });
    }
    return createCpuEngine(engine, config, limits, variant !== undefined ? { variant } : nowMs ? { now: nowMs } : {});
  };
}

/** `find` looks for what the engine needs besides the packages. */
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
