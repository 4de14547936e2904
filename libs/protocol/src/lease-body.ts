/**
 * The body of a `lease`: tokens uint16 [streams, T+1], padding to 4 bytes, then states float32
 * [given, L*S*H]. Little-endian.
 */

export interface LeaseShape {
  readonly streams: number;
  /** T. */
  readonly window: number;
  /** Number of streams whose hidden state is in the body. */
  readonly given: number;
  /** L*S*H. */
  readonly stateFloats: number;
}

function statesOffset({ streams, window }: LeaseShape): number {
  return Math.ceil((streams * (window + 1) * 2) / 4) * 4;
}

export function leaseBodyBytes(shape: LeaseShape): number {
  return statesOffset(shape) + shape.given * shape.stateFloats * 4;
}

/** `tokens`: one [T+1] window per stream; `states`: one [L*S*H] per given stream, in stream order. */
export function encodeLeaseBody(shape: LeaseShape, tokens: readonly Uint16Array[], states: readonly Float32Array[]): Uint8Array {
  const body = new Uint8Array(leaseBodyBytes(shape));
  const ids = new Uint16Array(body.buffer, 0, shape.streams * (shape.window + 1));
  tokens.forEach((window, i) => ids.set(window, i * (shape.window + 1)));
  const floats = new Float32Array(body.buffer, statesOffset(shape), shape.given * shape.stateFloats);
  states.forEach((state, i) => floats.set(state, i * shape.stateFloats));
  return body;
}

/** Views of `body`, which must start at offset 0 of its buffer and have `leaseBodyBytes(shape)` bytes. */
export function decodeLeaseBody(
  shape: LeaseShape,
  body: Uint8Array,
): { readonly tokens: Uint16Array; readonly states: Float32Array } {
  return {
    tokens: new Uint16Array(body.buffer, body.byteOffset, shape.streams * (shape.window + 1)),
    states: new Float32Array(body.buffer, body.byteOffset + statesOffset(shape), shape.given * shape.stateFloats),
  };
}
