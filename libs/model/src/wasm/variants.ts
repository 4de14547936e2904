import { EngineError } from '../engine.js';
import { TILES } from './generated/tiles.js';
import { supported, type InstructionSet } from './kernels.js';

/** A build of the kernels, and a tile size of its GEMM. */
export interface Variant {
  readonly set: InstructionSet;
  /** Index into TILES. */
  readonly tile: number;
}

/**
 * Best guess first. Tiles of 4x2 (multiply and add) and 6x2 (fused) suit 128-bit registers; tiles
 * four vectors wide are faster if the host has more registers or pairs vectors into 256 bits (see
 * v8Flags).
 */
const PREFERENCE: Record<InstructionSet, readonly string[]> = {
  'relaxed-simd': ['6x2', '4x4', '4x2'],
  simd: ['4x2', '3x4', '5x2', '4x4'],
};

const TILE_NAMES = TILES.map(({ rows, vectors }) => `${rows}x${vectors}`);

export function describeVariant({ set, tile }: Variant): string {
  return `${set} ${TILE_NAMES[tile]}`;
}

export function tileColumns({ tile }: Variant): number {
  return 4 * TILES[tile].vectors;
}

/**
 * Every variant that this host can run, best guess first. @throws EngineError `unsupported`
 * without WebAssembly SIMD.
 */
export function hostVariants(): Variant[] {
  const sets = (['relaxed-simd', 'simd'] as const).filter(supported);
  if (sets.length === 0) {
    throw new EngineError(
      'unsupported',
      'this host has no WebAssembly SIMD',
      'use Node 20 or later, Chrome or Edge 91, Firefox 89, Safari 16.4 or later, or the reference engine',
    );
  }
  return sets.flatMap((set) => PREFERENCE[set].map((tile) => ({ set, tile: TILE_NAMES.indexOf(tile) })));
}

/**
 * V8 flags that speed up the kernels. Set them (v8.setFlagsFromString) before creating the first
 * engine, then let the engine measure which variant is fastest. `node`: process.versions.node;
 * `arch`: process.arch. V8 complains on stderr about unknown flags, so only those of the given
 * version are returned.
 */
export function v8Flags(host: { readonly node: string; readonly arch: string }): string[] {
  const major = Number.parseInt(host.node, 10);
  // Relaxed SIMD is on by default from Node 22.
  if (major < 22) return ['--experimental-wasm-relaxed-simd'];
  // Pairs two 128-bit vectors in one 256-bit register. Node 22 accepts the flag, but it has no
  // effect there.
  if (major >= 24 && host.arch === 'x64') return ['--experimental-wasm-revectorize'];
  return [];
}
