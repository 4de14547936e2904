import { EngineError } from '@troupe/model';
import type { EngineChoice } from './names.js';

/**
 * What every worker of a reproducible run computes with, in one thread: WebAssembly without fused multiply-add, whose rounding
 * differs between processors. The tile (`wide`: where V8 pairs vectors into 256 bits) shows in the speed and not in the bits.
 */
export const REPRODUCIBLE_ENGINE = { name: 'wasm', variant: 'simd 4x2', wide: 'simd 3x4' } as const;

/** @throws EngineError `unsupported` when a person chose an engine whose bits depend on the machine */
export function requireReproducible(choice: EngineChoice): void {
  if (choice === 'auto' || choice === REPRODUCIBLE_ENGINE.name) return;
  throw new EngineError(
    'unsupported',
    `this run is reproducible, and the engine ${choice} gives other bits on other machines`,
    `start the worker with --engine ${REPRODUCIBLE_ENGINE.name}, or without --engine`,
  );
}
