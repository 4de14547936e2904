import kernelsBase64 from './generated/kernels.js';

/**
 * The kernels under VectorMemory. Addresses are byte offsets into one memory, n counts elements.
 * Two implementations give the same bits: WebAssembly SIMD (assembly/kernels.ts) and the scalar
 * fallback in TypeScript (scalar-kernels.ts).
 */
export interface Kernels {
  encodeHalf(source: number, n: number, scale: number, target: number): void;
  decodeHalf(source: number, n: number, scale: number, target: number): void;
  addHalf(sum: number, source: number, n: number, scale: number): void;
  addFloat(sum: number, source: number, n: number): void;
  storeHalf(sum: number, source: number, n: number, scale: number): void;
  storeFloat(sum: number, source: number, n: number): void;
  maxMagnitude(source: number, n: number): number;
  maxMagnitudeHalf(source: number, n: number): number;
  measure(source: number, n: number, squares: number): number;
  scaleToFloat(source: number, n: number, factor: number, target: number): void;
  scaleToHalf(source: number, n: number, factor: number, scale: number, target: number): void;
  digestWords(state: number, source: number, n: number): void;
  /**
   * `index`: place of source[0] in its segment, a multiple of 256. `state`: 416 bytes that
   * the kernel uses during the call.
   */
  encodeInt8(
    source: number,
    n: number,
    seed: number,
    round: number,
    stream: number,
    first: number,
    index: number,
    exponents: number,
    values: number,
    state: number,
  ): void;
  addInt8(sum: number, exponents: number, values: number, n: number): void;
  storeInt8(sum: number, exponents: number, values: number, n: number): void;
  maxMagnitudeInt8(source: number, n: number): number;
  /** `coefficients`: address of float32 rate, momentum, decay, keep, take. */
  sgdStep(p: number, velocity: number, update: number, n: number, coefficients: number): void;
  sgdStepHalf(p: number, velocity: number, update: number, n: number, scale: number, coefficients: number): void;
  /**
   * `coefficients`: address of float32 keep1, take1, keep2, take2, penalty, shrink, stepSize,
   * rootScale, epsilon.
   */
  adamStep(p: number, first: number, second: number, update: number, n: number, coefficients: number): void;
  adamStepHalf(p: number, first: number, second: number, update: number, n: number, scale: number, coefficients: number): void;
  averageStep(average: number, p: number, n: number, take: number): void;
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
