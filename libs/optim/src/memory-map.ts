import { OptimError } from './errors.js';

/**
 * Elements per block. A vector from another memory is staged block by block, and where several kernels run over the same values one
 * after the other they do so block by block: 64 KiB of float32 stay in the second-level cache. Smaller blocks cost more in calls.
 */
const BLOCK = 16_384;
const SLOT_BYTES = BLOCK * 4;
/** The first page is left alone; then come one slot for what is read, one for what is written, and room for small states. */
const READ_SLOT = 1024;
const WRITE_SLOT = READ_SLOT + SLOT_BYTES;
const STATES = WRITE_SLOT + SLOT_BYTES;
const STATE_BYTES = 64;
/** sixteen lanes of uint32. */
export const DIGEST_STATE = STATES;
/** Four float64. */
export const SQUARES_STATE = STATES + STATE_BYTES;
/** Nine float32. */
export const COEFFICIENTS = STATES + 2 * STATE_BYTES;
export const FIRST_FREE = STATES + 3 * STATE_BYTES;

export type Vector = Float32Array | Uint16Array;

export const pad = (bytes: number) => Math.ceil(bytes / 16) * 16;

/** Lays out one vector memory: hands out resident vectors, and brings others in and out block by block. */
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
        `the vector memory has no ${bytes} bytes left`,
        'Give createVectorSpace the bytes that spaceBytes counts.',
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
      'a vector from another memory was given where a resident one is needed',
      'Allocate it in this memory.',
    );
  }

  /** Address of source[from, from + n): its own when it is resident, else a copy in the read slot. */
  stage(source: Vector, from: number, n: number): number {
    const offset = source.byteOffset + from * source.BYTES_PER_ELEMENT;
    if (source.buffer === this.buffer) return offset;
    this.copyIn(source, from, n, READ_SLOT);
    return READ_SLOT;
  }

  /** Copies source[from, from + n) to `address`. */
  copyIn(source: Vector, from: number, n: number, address: number): void {
    const size = source.BYTES_PER_ELEMENT;
    this.#bytes.set(new Uint8Array(source.buffer, source.byteOffset + from * size, n * size), address);
  }

  /** Where target[from ...) is to be written: in its own place when it is resident, else in the write slot, from where `unstage` takes it. */
  target(target: Vector, from: number): number {
    return target.buffer === this.buffer ? target.byteOffset + from * target.BYTES_PER_ELEMENT : WRITE_SLOT;
  }

  unstage(target: Vector, from: number, n: number): void {
    if (target.buffer === this.buffer) return;
    const size = target.BYTES_PER_ELEMENT;
    new Uint8Array(target.buffer, target.byteOffset + from * size, n * size).set(
      this.#bytes.subarray(WRITE_SLOT, WRITE_SLOT + n * size),
    );
  }
}

export function blocks(length: number, run: (from: number, n: number) => void): void {
  for (let from = 0; from < length; from += BLOCK) run(from, Math.min(BLOCK, length - from));
}
