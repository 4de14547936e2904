/** Finds GPUs and software drivers without loading anything. */
import fs from 'node:fs';

const SOFTWARE = ['/usr/lib/chromium/vk_swiftshader_icd.json', '/opt/google/chrome/vk_swiftshader_icd.json'];

export function hasHardware() {
  const names = (/** @type {string} */ folder) => (fs.existsSync(folder) ? fs.readdirSync(folder) : []);
  return names('/dev/dri').some((name) => name.startsWith('renderD')) || names('/dev').some((name) => /^nvidia\d/.test(name));
}

/** @returns {string | undefined} the ICD file of a driver */
export function findSoftwareDriver() {
  return process.env.TROUPE_VK_ICD ?? SOFTWARE.find((file) => fs.existsSync(file));
}
