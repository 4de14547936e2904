/**
 * The body of a `lease`: tokens uint16 [steps, streams, T+1], padding to 4 bytes, states float32
 * [given, L*S*H], and in a local round the learning rates float32 [steps]. Little-endian.
 */

export interface LeaseShape {
  /** H; 1 if the rounds are not local. */
  readonly steps: number;
  readonly streams: number;
  /** T. */
  readonly window: number;
  /** Number of streams whose hidden state is in the body. */
  readonly given: number;
  /** L*S*H. */
  readonly stateFloats: number;
}

export interface LeaseParts {
  /** One window [T+1] per step and stream; step by step. */
  readonly windows: readonly Uint16Array[];
  /** One [L*S*H] per given stream, in stream order. */
  readonly states: readonly Float32Array[];
  /** [steps] in a local round, otherwise empty. */
  readonly learningRates: readonly number[];
}

/** Views of a body. */
export interface LeaseContent {
  /** [steps, streams, T+1] */
  readonly tokens: Uint16Array;
  /** [given, L*S*H] */
  readonly states: Float32Array;
  /** [steps] in a local round, otherwise empty. */
  readonly learningRates: Float32Array;
}

export function leaseBodyBytes(shape: LeaseShape): number {
  const { states, rates } = floatsOf(shape);
  return statesOffset(shape) + (states + rates) * 4;
}

export function encodeLeaseBody(shape: LeaseShape, { windows, states, learningRates }: LeaseParts): Uint8Array {
  const body = new Uint8Array(leaseBodyBytes(shape));
  const content = decodeLeaseBody(shape, body);
  windows.forEach((window, i) => content.tokens.set(window, i * (shape.window + 1)));
  states.forEach((state, i) => content.states.set(state, i * shape.stateFloats));
  content.learningRates.set(learningRates);
  return body;
}

/** `body` must start at offset 0 of its buffer and have `leaseBodyBytes(shape)` bytes. */
export function decodeLeaseBody(shape: LeaseShape, { buffer, byteOffset }: Uint8Array): LeaseContent {
  const at = byteOffset + statesOffset(shape);
  const { states, rates } = floatsOf(shape);
  return {
    tokens: new Uint16Array(buffer, byteOffset, tokensOf(shape)),
    states: new Float32Array(buffer, at, states),
    learningRates: new Float32Array(buffer, at + states * 4, rates),
  };
}

function tokensOf({ steps, streams, window }: LeaseShape): number {
  return steps * streams * (window + 1);
}

function statesOffset(shape: LeaseShape): number {
  return Math.ceil((tokensOf(shape) * 2) / 4) * 4;
}

function floatsOf({ steps, given, stateFloats }: LeaseShape): { readonly states: number; readonly rates: number } {
  return { states: given * stateFloats, rates: steps > 1 ? steps : 0 };
}
