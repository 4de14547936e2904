import { EngineError } from '../engine.js';
import relaxed from './generated/relaxed.js';
import simd from './generated/simd.js';

/**
 * The exports of assembly/index.ts. Addresses are in bytes, lengths and strides in floats; `tile`
 * is an index into TILES.
 */
export interface Kernels {
  /** First byte after the module's own constants. */
  heapBase(): number;
  gemm(
    tile: number,
    m: number,
    n: number,
    k: number,
    a: number,
    lda: number,
    panels: number,
    c: number,
    ldc: number,
    add: number,
    second: number,
    sign: number,
  ): void;
  packPanels(
    tile: number,
    source: number,
    rowStride: number,
    columnStride: number,
    k: number,
    n: number,
    padded: number,
    panels: number,
  ): void;
  packSums(
    tile: number,
    source: number,
    other: number,
    sign: number,
    rowStride: number,
    k: number,
    n: number,
    panels: number,
  ): void;
  copyRows(rows: number, length: number, source: number, sourceStride: number, target: number, targetStride: number): void;
  transpose(source: number, stride: number, depth: number, columns: number, target: number, sums: number): void;
  transposeSums(
    source: number,
    other: number,
    sign: number,
    stride: number,
    depth: number,
    columns: number,
    target: number,
    sums: number,
  ): void;
  lstmForward(
    streams: number,
    hidden: number,
    stride: number,
    gates: number,
    table: number,
    ids: number,
    before: number,
    cell: number,
    h: number,
    tanhCell: number,
  ): void;
  lstmBackward(
    streams: number,
    hidden: number,
    stride: number,
    gates: number,
    before: number,
    tanhCell: number,
    dh: number,
    dc: number,
  ): void;
  gruResetForward(
    streams: number,
    hidden: number,
    stride: number,
    gates: number,
    table: number,
    ids: number,
    before: number,
    reset: number,
  ): void;
  gruCandidateForward(
    streams: number,
    hidden: number,
    stride: number,
    gates: number,
    table: number,
    ids: number,
    before: number,
    h: number,
  ): void;
  gruAfterForward(
    streams: number,
    hidden: number,
    stride: number,
    gates: number,
    table: number,
    ids: number,
    before: number,
    h: number,
    projected: number,
  ): void;
  gruCandidateBackward: GruBackward;
  gruResetBackward: GruBackward;
  gruAfterBackward: GruBackward;
  rnnTanhForward: RnnForward;
  rnnReluForward: RnnForward;
  rnnTanhBackward: RnnBackward;
  rnnReluBackward: RnnBackward;
  dropout(
    rows: number,
    streams: number,
    hidden: number,
    source: number,
    target: number,
    ids: number,
    seed: number,
    layer: number,
    round: number,
    threshold: number,
    scale: number,
  ): void;
  addInputWeights(
    vocabulary: number,
    gates: number,
    hidden: number,
    padded: number,
    weight: number,
    table: number,
    width: number,
  ): void;
  sumByCharacter(rows: number, vocabulary: number, width: number, stride: number, gates: number, ids: number, sums: number): void;
  inputGradient(vocabulary: number, gates: number, hidden: number, padded: number, sums: number, gradient: number): void;
  normalise(
    rows: number,
    hidden: number,
    padded: number,
    source: number,
    weight: number,
    bias: number,
    target: number,
    epsilon: number,
  ): void;
  normaliseBackward(
    rows: number,
    hidden: number,
    padded: number,
    source: number,
    weight: number,
    gradient: number,
    weightGradient: number,
    biasGradient: number,
    epsilon: number,
  ): void;
  fillRows(rows: number, length: number, row: number, target: number): void;
  softmaxLoss(rows: number, vocabulary: number, padded: number, logits: number, targets: number): number;
  allFinite(count: number, values: number): number;
}

/** `gradient`: that of h after the step, or of r * h. */
type GruBackward = (
  streams: number,
  hidden: number,
  stride: number,
  gates: number,
  before: number,
  gradient: number,
  dBefore: number,
) => void;

type RnnForward = (streams: number, hidden: number, stride: number, gates: number, table: number, ids: number, h: number) => void;

type RnnBackward = (streams: number, hidden: number, stride: number, gates: number, h: number, dh: number) => void;

/**
 * `relaxed-simd` adds fused multiply-add, whose rounding may differ between CPUs; `simd` gives the
 * same bits everywhere.
 */
export type InstructionSet = 'simd' | 'relaxed-simd';

const sources: Record<InstructionSet, string> = { simd, 'relaxed-simd': relaxed };
const modules = new Map<InstructionSet, Promise<WebAssembly.Module>>();

function decode(base64: string): Uint8Array {
  return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
}

export function supported(set: InstructionSet): boolean {
  return modules.has(set) || WebAssembly.validate(decode(sources[set]));
}

/** Compiled once per process, so that engines share the code that the host has optimised. */
export function compileKernels(set: InstructionSet): Promise<WebAssembly.Module> {
  let compiled = modules.get(set);
  if (!compiled) {
    compiled = WebAssembly.compile(decode(sources[set]));
    modules.set(set, compiled);
  }
  return compiled;
}

export async function instantiate(module: WebAssembly.Module, memory: WebAssembly.Memory): Promise<Kernels> {
  const { exports } = await WebAssembly.instantiate(module, { env: { memory } });
  return exports as unknown as Kernels;
}

const PAGE = 65536;
const LARGEST = 65536 * PAGE;

/**
 * @throws EngineError `out_of_memory` if the host refuses, or beyond the 4 GiB that WebAssembly
 * can address.
 */
export function allocate(bytes: number): WebAssembly.Memory {
  const tooLarge = (options?: ErrorOptions) =>
    new EngineError(
      'out_of_memory',
      `the engine needs ${Math.ceil(bytes / 2 ** 20)} MiB, more than this host can allocate (WebAssembly ends at 4096 MiB)`,
      'lower the batch, the window or the hidden size, or divide the batch among more workers',
      options,
    );
  if (bytes > LARGEST) throw tooLarge();
  try {
    return new WebAssembly.Memory({ initial: Math.ceil(bytes / PAGE) });
  } catch (cause) {
    throw tooLarge({ cause });
  }
}
