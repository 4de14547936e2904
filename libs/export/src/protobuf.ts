/**
 * Writes Protocol Buffers messages (https://protobuf.dev/programming-guides/encoding): the three wire
 * types that ONNX needs. A library with the definitions of ONNX would add megabytes to every
 * installation for these few lines.
 */

/** A part of a message. Messages inside others are lists of blocks, so that weights are not copied. */
export type Blocks = readonly Uint8Array[];

/** A whole number of 0 or more. */
export function varintField(field: number, value: number): Blocks {
  return [Uint8Array.from([...varint(field * 8), ...varint(value)])];
}

export function floatField(field: number, value: number): Blocks {
  return [Uint8Array.from(varint(field * 8 + 5)), new Uint8Array(Float32Array.of(value).buffer)];
}

/** Bytes, or a message inside this one. */
export function bytesField(field: number, content: Uint8Array | Blocks): Blocks {
  const blocks = content instanceof Uint8Array ? [content] : content;
  const length = blocks.reduce((sum, block) => sum + block.length, 0);
  return [Uint8Array.from([...varint(field * 8 + 2), ...varint(length)]), ...blocks];
}

export function textField(field: number, text: string): Blocks {
  return bytesField(field, new TextEncoder().encode(text));
}

/** Seven bits a byte, the lowest first; the top bit says that another follows. Exact up to 2^53. */
function varint(value: number): number[] {
  const bytes: number[] = [];
  let rest = value;
  for (; rest >= 0x80; rest = Math.floor(rest / 0x80)) bytes.push((rest % 0x80) | 0x80);
  return [...bytes, rest];
}
