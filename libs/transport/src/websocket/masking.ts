import { createRequire } from 'node:module';
import process from 'node:process';

/**
 * Whether frames are masked in native code. `ws` takes the package `bufferutil` for it, whose fallback and whose absence both mean
 * JavaScript, at a fifth of the speed.
 */
export function masksNatively(): boolean {
  if (process.env.WS_NO_BUFFER_UTIL) return false;
  try {
    const { mask } = createRequire(import.meta.url)('bufferutil') as { readonly mask: () => void };
    return Function.prototype.toString.call(mask).includes('[native code]');
  } catch {
    // The package is absent.
    return false;
  }
}
