import { OptimError } from './errors.js';
import { int8Blocks } from './int8.js';

/**
 * Elements per block. Vectors from another memory are staged block by block, and kernels that run
 * over the same values one after the other do so block by block: 64 KiB of float32 stay in the L2
 * cache. Smaller blocks cost more calls.
 */
const BLOCK = 16_384;
const SLOT_BYTES = BLOCK * 4;
/**
 * The first KiB stays unused; then come a slot for staged reads, a slot for staged writes, and
 * room for small states.
 */
const READ_SLOT = 1024;
const WRITE_SLOT = READ_SLOT + SLOT_BYTES;
const STATES = WRITE_SLOT + SLOT_BYTES;
const STATE_BYTES = 64;
/** Sixteen lanes of uint32. */
export const DIGEST_STATE = STATES;
/** Four float64. */
export const SQUARES_STATE = STATES + STATE_BYTES;
/** Nine float32. */
export const COEFFICIENTS = STATES + 2 * STATE_BYTES;
/** Exponents of a block's values in int8, staged beside these. */
export const EXPONENTS_SLOT = STATES + 3 * STATE_BYTES;
/** 416 bytes that encodeInt8 uses during a call. */
export const INT8_STATE = EXPONENTS_SLOT + int8Blocks(BLOCK);
export const FIRST_FREE = INT8_STATE + 416;

export type Vector = Float32Array | Uint16Array | Int8Array;

export const pad = (bytes: number) => Math.ceil(bytes / 16) * 16;

/**
 * Layout of one vector memory: allocates resident vectors, and stages other vectors in and out
 * block by block.
 */
export class MemoryMap {
  readonly buffer: ArrayBuffer;
  readonly #bytes: Uint8Array;
  #free = FIRST_FREE;

  constructor(buffer: ArrayBuffer) {
    this.buffer = buffer;
    this.#bytes = new Uint8Array(buffer);
  }

  /** @returns the address. @throws OptimError `out_of_memory` */
  allocate(bytes: number): number {
    const address = this.#free;
    if (address + bytes > this.buffer.byteLength) {
      throw new OptimError(
        'out_of_memory',
        `the vector memory has fewer than ${bytes} bytes left`,
        'Create it with the size that vectorMemoryBytes returns for all its vectors.',
      );
    }
    this.#free = address + pad(bytes);
    return address;
  }

  /** Address of a vector that was allocated here. @throws OptimError `bad_state` */
  resident(vector: Vector | Float64Array): number {
    if (vector.buffer === this.buffer) return vector.byteOffset;
    throw new OptimError(
      'bad_state',
      'this argument must be allocated in the vector memory, but comes from another memory',
      'Allocate it with the allocate methods of this memory.',
    );
  }

  /**
   * Address of source[from, from + n): its own if it is resident, else that of a copy in the slot.
   */
  stage(source: Vector, from: number, n: number, slot = READ_SLOT): number {
    const offset = source.byteOffset + from * source.BYTES_PER_ELEMENT;
    if (source.buffer === this.buffer) return offset;
    this.copyIn(source, from, n, slot);
    return slot;
  }

  /** Copies source[from, from + n) to `address`. */
  copyIn(source: Vector, from: number, n: number, address: number): void {
    const size = source.BYTES_PER_ELEMENT;
    this.#bytes.set(new Uint8Array(source.buffer, source.byteOffset + from * size, n * size), address);
  }

  /**
   * Where to write target[from ...): its own address if it is resident, else the slot, from which
   * `unstage` copies it.
   */
  target(target: Vector, from: number, slot = WRITE_SLOT): number {
    return target.buffer === this.buffer ? target.byteOffset + from * target.BYTES_PER_ELEMENT : slot;
  }

  unstage(target: Vector, from: number, n: number, slot = WRITE_SLOT): void {
    if (target.buffer === this.buffer) return;
    const size = target.BYTES_PER_ELEMENT;
    new Uint8Array(target.buffer, target.byteOffset + from * size, n * size).set(this.#bytes.subarray(slot, slot + n * size));
  }
}

export function blocks(length: number, run: (from: number, n: number) => void): void {
  for (let from = 0; from < length; from += BLOCK) run(from, Math.min(BLOCK, length - from));
}
