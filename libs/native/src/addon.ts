import { createRequire } from 'node:module';

/** An engine in the addon's memory. */
export type Handle = object & { readonly __handle: never };

/** What csrc/addon.c exports. Shapes are the caller's to check; the addon throws when they would reach foreign memory. */
export interface Addon {
  /** Instruction sets that this processor runs, best first. */
  variants(): string[];
  /**
   * `sizes`: cell, layers, hidden, vocabulary, embedding, tied, layerNorm, maxStreams, maxWindow. Instead of an engine the number
   * of bytes that it needs when the host does not give them.
   */
  create(variant: string, sizes: Int32Array, dropoutThreshold: number, dropoutScale: number): Handle | number;
  setParameters(engine: Handle, parameters: Float32Array): void;
  /** Loss; `endStates` are written. */
  evaluate(
    engine: Handle,
    streams: number,
    window: number,
    tokens: Uint16Array,
    states: Float32Array,
    endStates: Float32Array,
  ): number;
  /** Loss; `endStates` and, when the loss is finite, `gradient` are written. Undefined when the gradient is not finite. */
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
  ): number | undefined;
  step(engine: Handle, streams: number, tokens: Uint16Array, states: Float32Array, logits: Float32Array): void;
  dispose(engine: Handle): void;
}

/** Why the native engine cannot be had here, and what to do about it. */
export interface Absence {
  readonly reason: string;
  readonly remedy: string;
}

const COMPILE = 'install a C compiler (apt install gcc, xcode-select --install), then npm run build; or use the wasm engine';

/** From src and from dist alike. */
const PATH = '../dist/troupe.node';

/** Node keeps what it has loaded, so asking again costs little, and an addon built meanwhile is found. */
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
  return { reason: 'this processor lacks the instructions of the native engine (AVX2 and FMA)', remedy: 'use the wasm engine' };
}
