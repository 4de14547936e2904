/**
 * WebGPU in Node for contestants: on a real GPU if the machine has one, else on one emulated in software (Chromium's SwiftShader, or
 * the driver that TROUPE_VK_ICD names). Import it before anything that loads tfjs.
 */
import fs from 'node:fs';
import os from 'node:os';
import { create, globals } from 'webgpu';
import { findSoftwareDriver, hasHardware } from './gpu-driver.mjs';

/** RTLD_NODELETE of <dlfcn.h>: the library stays loaded although it is not an addon. */
const KEEP = 0x1000;
const LOADER = '/usr/lib/chromium/libvulkan.so.1';

if (!hasHardware()) {
  process.env.VK_ICD_FILENAMES = findSoftwareDriver();
  process.env.XDG_RUNTIME_DIR ??= os.tmpdir();
  if (fs.existsSync(LOADER)) {
    try {
      process.dlopen(/** @type {any} */ ({ exports: {} }), LOADER, os.constants.dlopen.RTLD_NOW | KEEP);
    } catch {
      // It is not an addon, so Node throws. But it is loaded now, under the name that Dawn asks for.
    }
  }
}
Object.assign(globalThis, globals);
export const gpu = create([]);
Object.defineProperty(globalThis, 'navigator', { value: { gpu }, configurable: true });
