/**
 * WebGPU in Node for contestants: on the GPU where the machine has one, else on one imitated in software (Chromium's SwiftShader, or
 * the driver that TROUPE_VK_ICD names). Must be imported before anything that loads tfjs.
 */
import fs from 'node:fs';
import os from 'node:os';
import { create, globals } from 'webgpu';
import { findSoftwareDriver, hasHardware } from './gpu-driver.mjs';

/** RTLD_NODELETE of <dlfcn.h>: the library stays although it is no addon. */
const KEEP = 0x1000;
const LOADER = '/usr/lib/chromium/libvulkan.so.1';

if (!hasHardware()) {
  process.env.VK_ICD_FILENAMES = findSoftwareDriver();
  process.env.XDG_RUNTIME_DIR ??= os.tmpdir();
  if (fs.existsSync(LOADER)) {
    try {
      process.dlopen(/** @type {any} */ ({ exports: {} }), LOADER, os.constants.dlopen.RTLD_NOW | KEEP);
    } catch {
      // No addon of Node, but loaded now under the name that Dawn asks for.
    }
  }
}
Object.assign(globalThis, globals);
export const gpu = create([]);
Object.defineProperty(globalThis, 'navigator', { value: { gpu }, configurable: true });
