import kernelsBase64 from './generated/kernels.js';

/**
 * The kernels beneath VectorSpace. Addresses are byte offsets into one memory, n counts elements. Two implementations give the
 * same bits: WebAssembly SIMD (assembly/kernels.ts) and TypeScript (twin.ts).
 */
export interface Kernels {
  encodeHalf(source: number, n: number, scale: number, target: number): void;
  decodeHalf(source: number, n: number, scale: number, target: number): void;
  addHalf(sum: number, source: number, n: number, scale: number): void;
  addFloat(sum: number, source: number, n: number): void;
  maxMagnitude(source: number, n: number): number;
  maxMagnitudeHalf(source: number, n: number): number;
  sumOfSquares(source: number, n: number): number;
  scaleToFloat(source: number, n: number, factor: number, target: number): void;
  digestWords(state: number, source: number, n: number): void;
  sgdStep(p: number, velocity: number, update: number, n: number, rate: number, momentum: number, decay: number): void;
  adamStep(
    p: number,
    first: number,
    second: number,
    update: number,
    n: number,
    keep1: number,
    take1: number,
    keep2: number,
    take2: number,
    penalty: number,
    shrink: number,
    stepSize: number,
    rootScale: number,
    epsilon: number,
  ): void;
}

export type KernelKind = 'wasm' | 'typescript';

let compiled: WebAssembly.Module | undefined;

/** @throws WebAssembly.CompileError on a host without SIMD */
export function instantiateWasm(memory: WebAssembly.Memory): Kernels {
  compiled ??= new WebAssembly.Module(wasmBytes());
  return new WebAssembly.Instance(compiled, { env: { memory } }).exports as unknown as Kernels;
}

/** Whether this host has WebAssembly with SIMD. */
export function wasmSupported(): boolean {
  return typeof WebAssembly === 'object' && (compiled !== undefined || WebAssembly.validate(wasmBytes()));
}

function wasmBytes(): Uint8Array {
  return Uint8Array.from(atob(kernelsBase64), (character) => character.charCodeAt(0));
}
