import type { ModelConfig } from '../config.js';
import type { EngineLimits } from '../engine.js';
import { createLayout, stateSize } from '../layout.js';
import { BLOCK_DEPTH } from './generated/tiles.js';

/**
 * Where everything lies in the engine's memory, as byte addresses; laid out once, so that no call allocates. Inside, time comes
 * first: rows are ordered [T, B], so that a time step is one block and a window one matrix. H is padded to H' and V to V',
 * multiples of the GEMM tile's width; the padding of weights and states is zero, and so is all that follows from it.
 */
export interface Arena {
  /** H'. */
  readonly paddedHidden: number;
  /** Floats from one row of gates [4H'] to the next: a line more than they fill, lest the rows of one column share a cache set. */
  readonly gateStride: number;
  /** V'. */
  readonly paddedVocabulary: number;
  readonly layers: readonly LayerArena[];
  readonly output: Matrix;
  readonly outputBias: Pair;
  /** All parameters, in the ParameterLayout's order, and how many there are. */
  readonly flat: Pair;
  readonly size: number;
  /** Ids [T, B], unsigned 32 bits. */
  readonly inputs: number;
  readonly targets: number;
  /** [B] zeros: picks the only row of an upper layer's table. */
  readonly zeroIds: number;
  /** [V'] linear.bias, in the padding so low that nothing is left of it after the softmax. */
  readonly logitsBias: number;
  /** [T, B, V'], replaced by the gradient of the loss. */
  readonly logits: number;
  /** [T, B, H'] gradient of h of the layer in work. */
  readonly hGradient: number;
  /** [B, H'] gradient of C. */
  readonly cellGradient: number;
  /** Blocks of the factors of a weight gradient: the layer's own h and the layer below's in panels, dG transposed. */
  readonly ownPanels: number;
  readonly belowPanels: number;
  readonly transposed: number;
  /** Column sums, [4H'] or [V']. */
  readonly sums: number;
  /** Weight matrices or their gradients with room for the padding, [4H', H'] or [V, H']; unused where H' = H. */
  readonly ownPadded: number;
  readonly belowPadded: number;
  /** [V, 4H'] gradient of the table of layer 0. */
  readonly tableGradient: number;
  /** [B, L, S, H] and [B, V], for the caller. */
  readonly endStates: number;
  readonly stepLogits: number;
  /** Size of the memory. */
  readonly bytes: number;
}

/** A parameter tensor and its gradient. */
export interface Pair {
  readonly value: number;
  readonly gradient: number;
}

/** A weight matrix W [out, in]; besides, packed for GEMM, W^T for the forward and W for the backward pass. */
export interface Matrix extends Pair {
  readonly forward: number;
  readonly backward: number;
}

export interface LayerArena {
  /** [T, B, 4H'], rows gateStride apart: pre-activations, then activations, then the gradient of the pre-activations. */
  readonly gates: number;
  /** [T+1, B, H'] each; the first block is the state before the window. */
  readonly h: number;
  readonly cell: number;
  /** [T, B, H']. */
  readonly tanhCell: number;
  /** What is added to the gates: [V, 4H'] bias and input weights of each character in layer 0, [1, 4H'] the bias above. */
  readonly table: number;
  readonly input: Matrix;
  readonly recurrent: Matrix;
  readonly bias: Pair;
}

/** Columns of dG, rows of a weight gradient, that are worked on together: small enough for the second cache. */
export const BLOCK_COLUMNS = 96;

/** Bytes at the start of the memory that are left to the constants of the compiled module. */
export const RESERVED = 65536;

const FLOAT = 4;
const LINE = 64;

/** `columns`: width of the GEMM's tile. */
export function layOut(config: ModelConfig, limits: EngineLimits, columns: number): Arena {
  const { layers: L, hidden: H, vocabulary: V } = config;
  const { maxStreams: B, maxWindow: T } = limits;
  const paddedHidden = roundUp(H, columns);
  const paddedVocabulary = roundUp(V, columns);
  const G = 4 * paddedHidden;
  const gateStride = G + LINE / FLOAT;
  const scratch = paddedHidden === H ? 0 : Math.max(G, V) * paddedHidden;
  const { tensors, size } = createLayout(config);

  let end = RESERVED;
  const floats = (count: number): number => {
    const address = roundUp(end, LINE);
    end = address + count * FLOAT;
    return address;
  };
  const flat: Pair = { value: floats(size), gradient: floats(size) };
  const pair = (tensor: number): Pair => {
    const offset = tensors[tensor].offset * FLOAT;
    return { value: flat.value + offset, gradient: flat.gradient + offset };
  };
  const matrix = (tensor: number, forward: number, backward: number): Matrix => ({
    ...pair(tensor),
    forward: floats(forward),
    backward: floats(backward),
  });
  const layer = (l: number): LayerArena => ({
    gates: floats(T * B * gateStride),
    h: floats((T + 1) * B * paddedHidden),
    cell: floats((T + 1) * B * paddedHidden),
    tanhCell: floats(T * B * paddedHidden),
    table: floats((l === 0 ? V : 1) * G),
    input: l === 0 ? matrix(0, 0, 0) : matrix(3 * l, H * G, G * paddedHidden),
    recurrent: matrix(3 * l + 1, H * G, G * paddedHidden),
    bias: pair(3 * l + 2),
  });

  return {
    paddedHidden,
    gateStride,
    paddedVocabulary,
    flat,
    size,
    layers: Array.from({ length: L }, (_, l) => layer(l)),
    output: matrix(3 * L, H * paddedVocabulary, V * paddedHidden),
    outputBias: pair(3 * L + 1),
    inputs: floats(T * B),
    targets: floats(T * B),
    zeroIds: floats(B),
    logitsBias: floats(paddedVocabulary),
    logits: floats(T * B * paddedVocabulary),
    hGradient: floats(T * B * paddedHidden),
    cellGradient: floats(B * paddedHidden),
    ownPanels: floats(BLOCK_DEPTH * paddedHidden),
    belowPanels: floats(BLOCK_DEPTH * paddedHidden),
    transposed: floats(BLOCK_COLUMNS * BLOCK_DEPTH),
    sums: floats(Math.max(G, paddedVocabulary)),
    ownPadded: floats(scratch),
    belowPadded: floats(scratch),
    tableGradient: floats(V * G),
    endStates: floats(B * stateSize(config)),
    stepLogits: floats(B * V),
    bytes: end,
  };
}

function roundUp(value: number, multiple: number): number {
  return Math.ceil(value / multiple) * multiple;
}
