/** The engines by the names that users type, fastest kinds first. */
export const ENGINES = {
  native: 'native code for the CPU (AVX-512, AVX2, ...)',
  wasm: 'WebAssembly with SIMD; runs on every machine',
  webgpu: 'a GPU through WebGPU',
  'tfjs-node-gpu': "TensorFlow.js on TensorFlow's CUDA library",
  'tfjs-node': "TensorFlow.js on TensorFlow's CPU library",
  'tfjs-webgpu': 'TensorFlow.js on a GPU through WebGPU',
  'tfjs-wasm': 'TensorFlow.js in WebAssembly',
  'tfjs-cpu': 'TensorFlow.js in plain JavaScript',
  reference: 'float64, plain and slow; the others are tested against it',
} as const satisfies Record<string, string>;

export type EngineName = keyof typeof ENGINES;

/** `auto` measures and takes the fastest; `tfjs` takes the best TensorFlow.js that is installed. */
export type EngineChoice = EngineName | 'auto' | 'tfjs';

export const ENGINE_NAMES = Object.keys(ENGINES) as readonly EngineName[];
export const ENGINE_CHOICES: readonly EngineChoice[] = ['auto', 'tfjs', ...ENGINE_NAMES];

export function isEngineChoice(text: string): text is EngineChoice {
  return (ENGINE_CHOICES as readonly string[]).includes(text);
}

/**
 * Engines that compute in as many threads as they are given; the others belong to one thread,
 * which waits for them.
 */
const THREADED: ReadonlySet<EngineChoice> = new Set(['auto', 'native', 'wasm', 'reference']);

export function takesThreads(choice: EngineChoice): boolean {
  return THREADED.has(choice);
}

/** Engines that compute on a GPU. */
export const GPU_ENGINES: readonly EngineName[] = ['webgpu', 'tfjs-node-gpu', 'tfjs-webgpu'];
