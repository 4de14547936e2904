/**
 * Loads TensorFlow.js in Node. None of its packages is a dependency; users install the one they
 * want.
 */
import { createRequire } from 'node:module';
import path from 'node:path';
import util from 'node:util';
import { installationAt } from '@troupe/config/installation';
import { EngineError } from '@troupe/model';
import type { LentTfjs, TfjsApi } from '@troupe/model/tfjs';
import { isMissing } from './packages.js';

/**
 * `cpu`, `wasm` and `webgpu` are backends of the package @tensorflow/tfjs; `node` and `node-gpu`
 * are packages with TensorFlow's library.
 */
export type TfjsPackage = 'cpu' | 'wasm' | 'webgpu' | 'node' | 'node-gpu';

/** The namespace of tfjs, its backend set and checked by a small computation. */
export type LoadedTfjs = LentTfjs & {
  readonly version: { readonly tfjs: string };
};

export interface LoadTfjsOptions {
  /** import() of a package by name; tests replace it. */
  readonly importPackage?: (name: string) => Promise<unknown>;
}

/** What import() returns for a CommonJS package. */
interface Imported {
  readonly default?: unknown;
}

type FullTfjs = LoadedTfjs & {
  enableProdMode(): void;
  engine(): { readonly registry: Readonly<Record<string, { readonly device?: { destroy(): void } } | undefined>> };
  findBackendFactory(name: string): (() => unknown) | undefined;
  registerBackend(name: string, factory: () => unknown): boolean;
  removeBackend(name: string): void;
};
type ImportPackage = NonNullable<LoadTfjsOptions['importPackage']>;

interface Provision {
  readonly packages: readonly string[];
  /** The command that installs them. */
  readonly install: string;
  /** tfjs's name of the backend. */
  readonly backend: string;
  load(importPackage: ImportPackage): Promise<FullTfjs>;
}

const VERSION = '4.22.0';
const TFJS = '@tensorflow/tfjs';
const WASM = '@tensorflow/tfjs-backend-wasm';
const WEBGPU = '@tensorflow/tfjs-backend-webgpu';

const { install } = installationAt(import.meta.url);

const PROVISIONS: Readonly<Record<TfjsPackage, Provision>> = {
  cpu: {
    packages: [TFJS],
    install: install(`${TFJS}@${VERSION}`),
    backend: 'cpu',
    load: (importPackage) => importTfjs(importPackage, TFJS),
  },
  wasm: {
    packages: [TFJS, WASM],
    install: install(`${TFJS}@${VERSION}`, `${WASM}@${VERSION}`),
    backend: 'wasm',
    load: loadWithWasm,
  },
  webgpu: {
    packages: [TFJS, WEBGPU, 'webgpu'],
    install: install(`${TFJS}@${VERSION}`, `${WEBGPU}@${VERSION}`, 'webgpu'),
    backend: 'webgpu',
    load: loadWithWebgpu,
  },
  node: nodeProvision('@tensorflow/tfjs-node', "downloads TensorFlow's library for the CPU"),
  'node-gpu': nodeProvision('@tensorflow/tfjs-node-gpu', "downloads TensorFlow's library; needs CUDA 11 and cuDNN 8"),
};

/**
 * Loads a tfjs and sets its backend; loading twice returns the same one. Its messages on the
 * console are turned off. The GPU of `webgpu` is released when its last engine is disposed of, or
 * soon if none was opened, because Node may not end before; load it again for the next engine.
 * @throws EngineError `absent` if a package is not installed, with the command that installs it;
 * `unsupported` if it is installed but does not load or compute, with the reason
 */
export async function loadTfjs(from: TfjsPackage, { importPackage = importNamed }: LoadTfjsOptions = {}): Promise<LoadedTfjs> {
  const provision = PROVISIONS[from];
  const letGo = from === 'webgpu' ? gpuLoan.hold() : undefined;
  try {
    const tf = await provision.load(importPackage);
    if (!(await tf.setBackend(provision.backend))) throw new Error(`the backend ${provision.backend} does not start`);
    await tryOut(tf);
    return tf;
  } catch (cause) {
    throw explain(provision, cause);
  } finally {
    // Not immediately: the caller may open an engine, which then holds the GPU.
    if (letGo) setImmediate(letGo);
  }
}

function importNamed(name: string): Promise<unknown> {
  return import(name);
}

function nodeProvision(name: string, what: string): Provision {
  return {
    packages: [name],
    install: `${install(`${name}@${VERSION}`)} (${what})`,
    backend: 'tensorflow',
    async load(importPackage) {
      mendNodeUtil();
      // The library reads this when it loads; 2 means errors only.
      process.env['TF_CPP_MIN_LOG_LEVEL'] ??= '2';
      return importTfjs(importPackage, name);
    },
  };
}

async function importTfjs(importPackage: ImportPackage, name: string): Promise<FullTfjs> {
  const imported = (await importPackage(name)) as Imported & FullTfjs;
  const tf = (imported.default ?? imported) as FullTfjs;
  tf.enableProdMode();
  return tf;
}

async function loadWithWasm(importPackage: ImportPackage): Promise<FullTfjs> {
  const tf = await importTfjs(importPackage, TFJS);
  const imported = (await importPackage(WASM)) as Imported & { setWasmPaths(folder: string): void };
  const { setWasmPaths } = (imported.default ?? imported) as typeof imported;
  setWasmPaths(`${path.dirname(createRequire(import.meta.url).resolve(WASM))}${path.sep}`);
  await keepingHandlers(() => tf.setBackend('wasm'));
  return tf;
}

/**
 * Removes the handlers for uncaught errors that Emscripten's start code adds: they would end the
 * process differently from ours.
 */
async function keepingHandlers(start: () => Promise<unknown>): Promise<void> {
  const events = ['uncaughtException', 'unhandledRejection'] as const;
  const before = events.map((event) => process.rawListeners(event));
  await start();
  for (const [i, event] of events.entries()) {
    for (const listener of process.rawListeners(event)) {
      if (!before[i].includes(listener)) process.removeListener(event, listener as () => void);
    }
  }
}

async function loadWithWebgpu(importPackage: ImportPackage): Promise<FullTfjs> {
  const tf = await importTfjs(importPackage, TFJS);
  await offerGpu(importPackage, tf);
  await importPackage(WEBGPU);
  return (gpuTfjs ??= { ...tf, hold: () => gpuLoan.hold() });
}

/** One object for every load. */
let gpuTfjs: FullTfjs | undefined;

/**
 * The backend looks for the GPU in the globals of a browser, and registers itself if it finds one.
 */
async function offerGpu(importPackage: ImportPackage, tf: FullTfjs): Promise<void> {
  const globals = globalThis as { navigator?: { readonly gpu?: unknown } };
  if (globals.navigator?.gpu) return;
  const dawn = (await importPackage('webgpu')) as { create(flags: string[]): Gpu; readonly globals: object };
  const gpu = dawn.create([]);
  if (!(await gpu.requestAdapter())) throw new Error("WebGPU finds no adapter: install the GPU's driver");
  Object.assign(globalThis, dawn.globals);
  // Node has a navigator of its own since version 21.
  if (!globals.navigator) Object.defineProperty(globalThis, 'navigator', { value: {}, configurable: true });
  Object.defineProperty(globals.navigator, 'gpu', { value: gpu, configurable: true });
  gpuLoan.onReturn = () => {
    closeBackend(tf);
    Reflect.deleteProperty(globals.navigator!, 'gpu');
  };
}

/**
 * Destroys the backend's device, so that nothing refers to the GPU any more; the next load starts
 * the backend again.
 */
function closeBackend(tf: FullTfjs): void {
  const name = PROVISIONS.webgpu.backend;
  const factory = tf.findBackendFactory(name);
  if (!factory) return;
  const { device } = tf.engine().registry[name] ?? {};
  tf.removeBackend(name);
  tf.registerBackend(name, factory);
  device?.destroy();
  // tfjs refers to its last backend until there is another.
  if (!tf.getBackend()) void tf.setBackend('cpu');
}

/**
 * Counts the users of the GPU (loads in progress and engines): Dawn may keep Node from ending
 * while anything refers to it.
 */
class GpuLoan {
  onReturn: (() => void) | undefined;
  #users = 0;

  /** Returns the function that releases it. */
  hold(): () => void {
    this.#users++;
    let held = true;
    return () => {
      if (!held) return;
      held = false;
      if (--this.#users > 0) return;
      this.onReturn?.();
      this.onReturn = undefined;
    };
  }
}

const gpuLoan = new GpuLoan();

interface Gpu {
  requestAdapter(): Promise<unknown>;
}

/**
 * tfjs-node 4.22 uses functions that Node 23 and 24 no longer have, not when it loads but when it
 * first computes.
 */
function mendNodeUtil(): void {
  const mended = util as unknown as Record<string, unknown>;
  mended['isNullOrUndefined'] ??= (value: unknown) => value === null || value === undefined;
  mended['isArray'] ??= Array.isArray;
}

/** A library that loads may still fail at its first operation. */
async function tryOut(tf: TfjsApi): Promise<void> {
  const sum = tf.tidy(() => tf.matMul(tf.tensor2d([1, 2], [1, 2]), tf.tensor2d([3, 4], [2, 1])));
  const [value] = await sum.data().finally(() => tf.dispose(sum));
  if (value !== 11) throw new Error(`it computes 1 * 3 + 2 * 4 = ${value}`);
}

function explain({ packages, install: command, backend }: Provision, cause: unknown): EngineError {
  const missing = packages.find((name) => isMissing(cause, name));
  if (missing !== undefined) {
    return new EngineError('absent', `the npm package ${missing} is not installed`, command, { cause });
  }
  const [name] = packages;
  const reason = (cause as Error).message.split('\n', 1)[0];
  const remedy = `reinstall it (${command}), or choose another engine`;
  return new EngineError('unsupported', `${name} (${backend}) does not work here: ${reason}`, remedy, { cause });
}
