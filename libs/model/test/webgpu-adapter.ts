import fs from 'node:fs';
import os from 'node:os';

/**
 * Drivers of software adapters: Chromium's SwiftShader in the paths of Debian and Google, Mesa's
 * lavapipe.
 */
const DRIVERS = [
  '/usr/lib/chromium/vk_swiftshader_icd.json',
  '/opt/google/chrome/vk_swiftshader_icd.json',
  '/usr/share/vulkan/icd.d/lvp_icd.json',
  '/usr/share/vulkan/icd.d/lvp_icd.x86_64.json',
];
const LOADERS = ['/usr/lib/chromium/libvulkan.so.1', '/opt/google/chrome/libvulkan.so.1'];

/** How to install a software adapter. */
export const HOW_TO_GET_ONE = 'apt install chromium, or point TROUPE_VK_ICD to the ICD file (json) of a Vulkan driver';

export interface TestGpu {
  readonly gpu: GPU;
  /** The driver's ICD file. */
  readonly driver: string;
}

/**
 * WebGPU in Node with the driver in TROUPE_VK_ICD, VK_ICD_FILENAMES or a software adapter at its
 * usual path; otherwise a sentence that says what is missing. The driver must be named before Dawn
 * is loaded.
 */
export async function openTestGpu(): Promise<TestGpu | string> {
  const named = process.env['TROUPE_VK_ICD'] ?? process.env['VK_ICD_FILENAMES'];
  const driver = named ?? DRIVERS.find((file) => fs.existsSync(file));
  if (driver === undefined) return `no Vulkan driver found: ${HOW_TO_GET_ONE}`;
  process.env['VK_ICD_FILENAMES'] = driver;
  process.env['XDG_RUNTIME_DIR'] ??= os.tmpdir();
  preloadVulkan();
  try {
    const { create, globals } = await import('webgpu');
    // Dawn creates its objects with the global constructors and aborts the process if they are
    // missing.
    Object.assign(globalThis, globals);
    const gpu = create([]);
    if (await gpu.requestAdapter()) return { gpu, driver };
    return `Dawn finds no adapter with ${driver}: ${HOW_TO_GET_ONE}`;
  } catch (error) {
    return `the npm package webgpu does not load (${String(error)}): npm install`;
  }
}

/** RTLD_NODELETE of <dlfcn.h>: the library stays loaded although it is no addon. */
const KEEP = 0x1000;

/**
 * Dawn asks the system for libvulkan.so.1. If only Chromium's copy is installed, this loads it
 * first, so that Dawn finds it by its name. Node throws an error because it is no addon; the error
 * is ignored.
 */
function preloadVulkan(): void {
  const loader = LOADERS.find((file) => fs.existsSync(file));
  if (loader === undefined || process.platform !== 'linux') return;
  try {
    process.dlopen({ exports: {} }, loader, os.constants.dlopen.RTLD_NOW | KEEP);
  } catch {
    return;
  }
}
