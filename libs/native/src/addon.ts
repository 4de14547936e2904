import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { installationAt } from '@troupe/config/installation';

/** An engine in the addon's memory. */
export type Handle = object & { readonly __handle: never };

/**
 * The exports of csrc/addon.c. The caller checks shapes; the addon throws if they would reach
 * memory outside the arrays.
 */
export interface Addon {
  /** Instruction sets that this CPU supports, best first. */
  variants(): string[];
  /**
   * `sizes`: cell, layers, hidden, vocabulary, embedding, tied, layerNorm, maxStreams, maxWindow.
   * If the host lacks the memory, returns the number of bytes needed instead of an engine.
   */
  create(
    variant: string,
    sizes: Int32Array,
    dropoutThreshold: number,
    dropoutScale: number,
    outputThreshold: number,
    outputScale: number,
  ): Handle | number;
  setParameters(engine: Handle, parameters: Float32Array): void;
  /** Returns the loss; writes `endStates`. */
  evaluate(
    engine: Handle,
    streams: number,
    window: number,
    tokens: Uint16Array,
    states: Float32Array,
    endStates: Float32Array,
  ): number;
  /**
   * Returns the loss, or undefined if the gradient is not finite; writes `endStates` and, if the
   * loss is finite, `gradient`. `listener` is told from which index on it is final; an error that it
   * throws is thrown when the gradient is done.
   */
  gradient(
    engine: Handle,
    streams: number,
    window: number,
    tokens: Uint16Array,
    states: Float32Array,
    endStates: Float32Array,
    gradient: Float32Array,
    dropoutStreams: Uint32Array | undefined,
    dropoutSeed: number | undefined,
    dropoutRound: number | undefined,
    listener: ((from: number) => void) | undefined,
  ): number | undefined;
  step(engine: Handle, streams: number, tokens: Uint16Array, states: Float32Array, logits: Float32Array): void;
  dispose(engine: Handle): void;
}

/** Why the native engine is absent here, and what to do about it. */
export interface Absence {
  readonly reason: string;
  readonly remedy: string;
}

const script = fileURLToPath(new URL('../scripts/build.mjs', import.meta.url));
const COMPILE = `install a C compiler (apt install gcc, xcode-select --install), then ${installationAt(import.meta.url).compile(script)}; or use the wasm engine`;

/** Valid from src and from dist. */
const PATH = '../dist/troupe.node';

/**
 * Node caches loaded addons, so later calls cost little; an addon built in the meantime is found.
 */
export function loadAddon(path = PATH): Addon | Absence {
  let addon: Addon;
  try {
    addon = createRequire(import.meta.url)(path) as Addon;
  } catch (error) {
    const missing = (error as NodeJS.ErrnoException).code === 'MODULE_NOT_FOUND';
    const reason = missing ? 'the native engine is not compiled' : `the native engine does not load: ${(error as Error).message}`;
    return { reason, remedy: COMPILE };
  }
  if (addon.variants().length > 0) return addon;
  return { reason: 'this CPU lacks the instructions of the native engine (AVX2 and FMA)', remedy: 'use the wasm engine' };
}
