import { EngineError } from '@troupe/model';
import type { EngineChoice } from './names.js';

/**
 * The engine of every worker in a reproducible run, in one thread: WebAssembly without fused
 * multiply-add, whose rounding differs between CPUs. The tile (`wide`: where V8 pairs vectors into
 * 256 bits) changes the speed, not the bits.
 */
export const REPRODUCIBLE_ENGINE = { name: 'wasm', variant: 'simd 4x2', wide: 'simd 3x4' } as const;

/**
 * @throws EngineError `unsupported` if the user chose an engine whose bits depend on the machine
 */
export function requireReproducible(choice: EngineChoice): void {
  if (choice === 'auto' || choice === REPRODUCIBLE_ENGINE.name) return;
  throw new EngineError(
    'unsupported',
    `this run is reproducible, but the bits of the engine ${choice} depend on the machine`,
    `start the worker with --engine ${REPRODUCIBLE_ENGINE.name}, or without --engine`,
  );
}
