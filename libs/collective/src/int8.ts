/**
 * A segment of a contribution in int8: one exponent (int8) for each block of 256 values, then the values (int8), then zeros up to a
 * multiple of four bytes. A value is q * 2^exponent, with q from -127 to 127.
 */
import {
  INT8_NOT_FINITE,
  int8Blocks,
  isInt8Exponent,
  MAX_INT8_EXPONENT,
  MIN_INT8_EXPONENT,
  type ScaledBytes,
  type VectorMemory,
} from '@troupe/optim';

/** Bytes of a segment of `length` values. */
export function int8Bytes(length: number): number {
  return Math.ceil((int8Blocks(length) + length) / 4) * 4;
}

/** A segment of `length` values, as views of its bytes. */
export function int8In(bytes: Uint8Array, length: number): ScaledBytes {
  const blocks = int8Blocks(length);
  return {
    exponents: new Int8Array(bytes.buffer, bytes.byteOffset, blocks),
    values: new Int8Array(bytes.buffer, bytes.byteOffset + blocks, length),
  };
}

/** What is wrong with a segment, if anything. Without a memory its values are not looked at: all of them are finite. */
export function int8Defect({ exponents, values }: ScaledBytes, memory?: VectorMemory): string | undefined {
  const wrong = exponents.find((exponent) => !isInt8Exponent(exponent));
  if (wrong === INT8_NOT_FINITE) return 'a block is marked as not finite';
  if (wrong !== undefined) return `the exponent of a block is ${wrong}, not from ${MIN_INT8_EXPONENT} to ${MAX_INT8_EXPONENT}`;
  return memory !== undefined && memory.maxMagnitude(values) > 127 ? 'a value is -128, below the range' : undefined;
}
