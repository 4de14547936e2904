/// <reference types="@webgpu/types" />
/** WebGPU in Node: Dawn, from the npm package `webgpu`. */
import { readdirSync } from 'node:fs';
import { installationAt } from '@troupe/config/installation';
import { EngineError, type Clock, type Engine, type EngineLimits, type ModelConfig, type Problem } from '@troupe/model';
import { race, trialProblem, type Runner } from '../trial.js';
import { isMissing } from './packages.js';
import type { Presence, SourceOptions } from './source.js';

/**
 * Whether the Linux kernel knows a GPU; if not, WebGPU offers a software-emulated one. True on
 * other systems, which do not tell.
 */
export function mayHaveGpu(): boolean {
  if (process.platform !== 'linux') return true;
  return (
    filesIn('/dev/dri').some((name) => name.startsWith('renderD')) ||
    filesIn('/dev').some((name) => /^(nvidia\d|dxg$)/.test(name))
  );
}

/** Without a driver Dawn takes a moment to find that out, and complains on standard error. */
function mayHaveDriver(): boolean {
  const named = process.env['VK_DRIVER_FILES'] ?? process.env['VK_ICD_FILENAMES'];
  return mayHaveGpu() || named !== undefined || DRIVERS.some((folder) => filesIn(folder).length > 0);
}

/** Folders in which Vulkan drivers are registered. */
const DRIVERS = ['/usr/share/vulkan/icd.d', '/usr/local/share/vulkan/icd.d', '/etc/vulkan/icd.d'];

function filesIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}

/**
 * @throws EngineError `absent` without the package or an adapter, `unsupported` if the package
 * does not load
 */
export async function findGpu(): Promise<Presence> {
  const gpu = await openGpu();
  const adapter = mayHaveDriver() ? await gpu.requestAdapter({ powerPreference: 'high-performance' }) : undefined;
  if (!adapter) {
    throw new EngineError(
      'absent',
      mayHaveGpu() ? 'WebGPU finds no adapter' : 'this machine has no GPU, or no driver for it',
      "install the GPU's driver (Debian, Ubuntu: apt install libvulkan1 and the vendor's driver, or mesa-vulkan-drivers)",
    );
  }
  const { vendor, architecture, device, description, isFallbackAdapter } = adapter.info;
  const name = [vendor, architecture, device, description].filter((word) => word !== '').join(' ') || 'unnamed GPU';
  const features = ['shader-f16', 'subgroups', 'timestamp-query'].filter((feature) => adapter.features.has(feature));
  return { device: name, features, software: isFallbackAdapter || SOFTWARE.test(name) };
}

const SOFTWARE = /swiftshader|llvmpipe|lavapipe|software|basic render/i;

/**
 * The engine belongs to the caller's thread and owns its device. It stores float32. Whether it
 * sums through subgroups is measured if the device has them and a clock is given.
 * @throws EngineError
 */
export async function openGpuEngine(config: ModelConfig, limits: EngineLimits, options: SourceOptions): Promise<Engine> {
  const { createWebgpuEngine, requestDevice } = await import('@troupe/model/webgpu');
  const gpu = await openGpu();
  const { device, info, features } = await requestDevice(gpu);
  const open = (variant: string, ownsDevice: boolean) => (model: ModelConfig, most: EngineLimits) => {
    const choice = { f16: variant.startsWith('f16'), subgroups: variant.endsWith('subgroups') };
    return createWebgpuEngine(model, most, device, { ...choice, adapterInfo: info, ownsDevice });
  };
  try {
    const variants = features.has('subgroups') && info.subgroupMinSize >= SUBGROUP ? ['f32 subgroups', 'f32'] : ['f32'];
    const variant = options.variant ?? (await fastest(variants, open, trialProblem(config, limits), options.nowMs));
    return await open(variant, true)(config, limits);
  } catch (error) {
    device.destroy();
    throw error;
  }
}

/** Smallest number of threads in a subgroup that the engine needs. */
const SUBGROUP = 8;
const TRIAL_MS = 100;

async function fastest(
  variants: readonly string[],
  open: (variant: string, ownsDevice: boolean) => Runner['open'],
  problem: Problem,
  nowMs: Clock | undefined,
): Promise<string> {
  if (!nowMs || variants.length === 1) return variants[0];
  const runners = variants.map((name) => ({ name, open: open(name, false) }));
  const [first] = await race(problem, runners, { nowMs, budgetMs: TRIAL_MS, trusted: 'f32' });
  return first.name;
}

/**
 * The GPU is not kept in a variable, because the process does not end while anything refers to it.
 */
async function openGpu(): Promise<GPU> {
  try {
    const { create, globals } = await import('webgpu');
    // Dawn creates its objects with the constructors that a browser has, and aborts the process if
    // they are missing.
    Object.assign(globalThis, globals);
    return create([]);
  } catch (cause) {
    if (isMissing(cause, 'webgpu')) {
      const remedy = installationAt(import.meta.url).install('webgpu');
      throw new EngineError('absent', 'the npm package webgpu is not installed', remedy, { cause });
    }
    const why = `the npm package webgpu does not load: ${(cause as Error).message}`;
    throw new EngineError('unsupported', why, 'choose another engine', { cause });
  }
}
