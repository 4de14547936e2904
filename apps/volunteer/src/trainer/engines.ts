/// <reference types="@webgpu/types" />
/** Chooses the fastest engine that this browser has for a model, by measuring them. */
import { race, REPRODUCIBLE_ENGINE, trialProblem, type RaceResult, type Runner } from '@troupe/engines';
import { EngineError, type Engine, type EngineLimits, type ModelConfig } from '@troupe/model';
import { createThreadedEngine } from '@troupe/model/threads';
import { createWasmEngine } from '@troupe/model/wasm';
import type { EngineKind, EngineTrial } from '../messages.js';
import { openEngineThread } from './thread.js';

export interface Choice {
  readonly kind: EngineKind;
  /** Of its kernels; undefined: it chooses them itself. */
  readonly variant: string | undefined;
  readonly trials: readonly EngineTrial[];
  /** It can use several threads. */
  readonly threaded: boolean;
  /** @throws EngineError */
  open(threads: number): Promise<Engine>;
}

export interface ChooseOptions {
  /** Engines (EngineInfo.name) that failed before. */
  readonly not: readonly string[];
  readonly reproducible: boolean;
  /** Threads for the trial of `wasm-threads`; at least 1. */
  readonly threads: number;
  /** The only engine to use, for tests and experiments; `webgpu` then also accepts a software-emulated GPU. */
  readonly only?: EngineKind | undefined;
  nowMs(): number;
}

const TRIAL_MS = 600;

/** Threads can share memory only in pages that are isolated from others (COOP and COEP). */
const hasThreads = (): boolean => typeof SharedArrayBuffer !== 'undefined';

/** @throws EngineError when there is none */
export async function chooseEngine(config: ModelConfig, limits: EngineLimits, options: ChooseOptions): Promise<Choice> {
  if (options.reproducible) return reproducibleEngine(config, limits, options);
  const runners = await findRunners(options);
  const results = await race(trialProblem(config, limits), runners, {
    nowMs: options.nowMs,
    budgetMs: TRIAL_MS,
    ...(runners.some(({ name }) => name === 'wasm') ? { trusted: 'wasm' } : {}),
  });
  const [winner] = results;
  if ('failure' in winner) throw winner.failure;
  const { variant } = winner.info;
  return choiceOf(config, limits, { kind: winner.name, variant, trials: results.map(describe) }, options);
}

/** What was chosen before: nothing is measured again. */
export function choiceOf(
  config: ModelConfig,
  limits: EngineLimits,
  { kind, variant, trials }: Pick<Choice, 'kind' | 'variant' | 'trials'>,
  options: ChooseOptions,
): Choice {
  const open: Choice['open'] = (threads) => opener(kind, variant, options)(config, limits, threads);
  return { kind, variant, trials, threaded: kind === 'wasm-threads', open };
}

function describe(result: RaceResult<EngineKind>): EngineTrial {
  if ('failure' in result) return { name: result.name, charsPerSecond: undefined, why: result.failure.message };
  return { name: result.name, charsPerSecond: result.charsPerSecond, why: undefined };
}

function reproducibleEngine(config: ModelConfig, limits: EngineLimits, options: ChooseOptions): Choice {
  const { variant } = REPRODUCIBLE_ENGINE;
  return { kind: 'wasm', variant, trials: [], threaded: false, open: () => opener('wasm', variant, options)(config, limits, 1) };
}

async function findRunners(options: ChooseOptions): Promise<Runner<EngineKind>[]> {
  const kinds: EngineKind[] = ['wasm'];
  if (hasThreads() && options.threads > 1) kinds.push('wasm-threads');
  if (await hasGpu(options)) kinds.push('webgpu');
  const wanted = kinds.filter((kind) => (options.only ? kind === options.only : !options.not.includes(kind)));
  const taken = wanted.length > 0 ? wanted : (['wasm'] as const);
  return taken.map((name) => {
    const open = opener(name, undefined, options);
    return { name, open: (config, limits) => open(config, limits, options.threads) };
  });
}

type Open = (config: ModelConfig, limits: EngineLimits, threads: number) => Promise<Engine>;

function opener(kind: EngineKind, variant: string | undefined, { nowMs }: ChooseOptions): Open {
  if (kind === 'webgpu') return openGpu;
  return async (config, limits, threads) => {
    const choice = variant === undefined ? { now: nowMs } : { variant };
    // A separate thread, even a single one, keeps the links alive while a gradient takes seconds.
    if (!hasThreads()) return createWasmEngine(config, limits, choice);
    const count = kind === 'wasm' ? 1 : threads;
    const handsOver = count < navigator.hardwareConcurrency;
    return createThreadedEngine(config, limits, { threads: count, openThread: () => openEngineThread(variant), handsOver });
  };
}

async function hasGpu({ only, not }: ChooseOptions): Promise<boolean> {
  const gpu = gpuOfHost();
  if (!gpu || (not.includes('webgpu') && !only)) return false;
  try {
    const { requestDevice } = await import('@troupe/model/webgpu');
    const { device, info } = await requestDevice(gpu);
    device.destroy();
    return !info.software || only === 'webgpu';
  } catch (error) {
    if (error instanceof EngineError) return false;
    throw error;
  }
}

function gpuOfHost(): GPU | undefined {
  return (navigator as { readonly gpu?: GPU }).gpu;
}

async function openGpu(config: ModelConfig, limits: EngineLimits): Promise<Engine> {
  const { createWebgpuEngine, requestDevice } = await import('@troupe/model/webgpu');
  const { device, info } = await requestDevice(gpuOfHost());
  return createWebgpuEngine(config, limits, device, { adapterInfo: info, ownsDevice: true });
}
