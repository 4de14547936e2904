import { CELL_SHAPES, type ModelConfig } from '../config.js';
import { dropoutOf } from '../dropout.js';
import type { EngineLimits } from '../engine.js';
import { createLayout, stateSize } from '../layout.js';
import { BLOCK_DEPTH } from './generated/tiles.js';

/**
 * Byte addresses of everything in the engine's memory, laid out once, so that no call allocates.
 * Rows are ordered [T, B], so that a time step is one block and a window one matrix. H is padded
 * to H', V to V' and E to E', multiples of the GEMM tile's width. The padding of weights and
 * states is zero, and so is all that is computed from it. C is the number of columns of gates of
 * the cell (CellLayout.columns).
 */
export interface MemoryMap {
  /** H'. */
  readonly paddedHidden: number;
  /** C * H', floats of a row of gates. */
  readonly gateWidth: number;
  /**
   * Floats from one row of gates to the next: a cache line more than a row, so that the rows of a
   * column do not share a cache set.
   */
  readonly gateStride: number;
  /** G' = gates * H', the floats of a row that the input adds to. */
  readonly inputWidth: number;
  /** V'. */
  readonly paddedVocabulary: number;
  readonly layers: readonly LayerMap[];
  /** embedding.weight [V, E]; undefined: one-hot input. */
  readonly embedding: EmbeddingMap | undefined;
  /** linear.weight [V, H]. */
  readonly output: Omit<Matrix, 'gates' | 'column'>;
  readonly outputBias: Pair;
  /** All parameters, in the ParameterLayout's order, and their number. */
  readonly flat: Pair;
  readonly size: number;
  /** Ids [T, B], unsigned 32 bits. */
  readonly inputs: number;
  readonly targets: number;
  /** [B], numbers of the streams in the run, unsigned 32 bits. */
  readonly streamIds: number;
  /** [B] zeros, which select the only row of an upper layer's table. */
  readonly zeroIds: number;
  /** [V'] linear.bias; in the padding so low that the softmax gives 0. */
  readonly logitsBias: number;
  /** [T, B, V'], later replaced by the gradient of the loss. */
  readonly logits: number;
  /**
   * [T, B, H'] gradient of h of the current layer. The block before it receives the gradient of
   * the state before the window.
   */
  readonly hGradient: number;
  /** [B, H'] that a cell passes from kernel to kernel in the backward pass. */
  readonly carry: number;
  /**
   * Blocks of the factors of a weight gradient, in panels: the layer's own h, its input from below
   * and LayerMap.saved.
   */
  readonly panels: { readonly own: number; readonly below: number; readonly saved: number };
  /** A block of the other factor, dG, transposed. */
  readonly transposed: number;
  /** Column sums, [C * H'] or [V']. */
  readonly sums: number;
  /** [H'] each, gradients of a layer's normalisation. */
  readonly normGradients: { readonly weight: number; readonly bias: number };
  /** A weight matrix with rows of zeros between the gates, before it is packed into panels. */
  readonly paddedWeights: number;
  /** [V, G'], gradient of the table of layer 0. */
  readonly tableGradient: number;
  /** [B, L, S, H] and [B, V], results for the caller. */
  readonly endStates: number;
  readonly stepLogits: number;
  /** Size of the memory in bytes. */
  readonly bytes: number;
}

/**
 * The buffers that a kind of cell needs. A row of gates has `columns` columns of H'. The input
 * adds to the first G / H of them, in PyTorch's order; layers above the first find its projection
 * there.
 */
export interface CellLayout {
  readonly columns: number;
  /** Whether a layer has, besides gates and h, a second state C [T+1, B, H'] (LayerMap.memory). */
  readonly memory: boolean;
  /** Whether the forward pass saves another [T, B, H'] for the backward pass (LayerMap.saved). */
  readonly saved: boolean;
  /** weight_hh, split by rows into parts, in order. */
  readonly recurrent: readonly RecurrentPart[];
}

export interface RecurrentPart {
  /** Rows of weight_hh, in units of H. */
  readonly gates: number;
  /** First of the columns of gates that it feeds. */
  readonly column: number;
  /** The factor of the part: h before the step, or LayerMap.saved. */
  readonly input: 'h' | 'saved';
}

/** A parameter tensor and its gradient. */
export interface Pair {
  readonly value: number;
  readonly gradient: number;
}

/**
 * A weight matrix [gates * H, width], or some rows of one. Also, packed for GEMM, its transpose
 * for the forward pass and the matrix itself for the backward pass, with rows padded to gates * H'
 * and columns to paddedWidth.
 */
export interface Matrix extends Pair {
  readonly gates: number;
  /** First of the columns of gates that it feeds. */
  readonly column: number;
  readonly width: number;
  readonly paddedWidth: number;
  readonly forward: number;
  readonly backward: number;
  /** Where the padded gradient is computed: `gradient` itself if nothing is padded. */
  readonly product: number;
}

export interface LayerMap {
  /**
   * [T, B, C * H'], rows gateStride apart: pre-activations, then activations, then the gradient of
   * the pre-activations.
   */
  readonly gates: number;
  /**
   * [T+1, B, H'] each; the first block is the state before the window. `memory`: C of an LSTM; 0
   * for other cells.
   */
  readonly h: number;
  readonly memory: number;
  /** h, then C: the S state vectors. */
  readonly states: readonly number[];
  /** [T, B, H'], see CellLayout; 0 if the cell saves nothing. */
  readonly saved: number;
  /**
   * [T, B, H'], h normalised or with units dropped, for the layer above or the output layer; 0 if
   * the layer has neither.
   */
  readonly output: number;
  /**
   * What is added to the gates: [V, C * H'] bias and input weights of each character in layer 0,
   * [1, C * H'] the bias above.
   */
  readonly table: number;
  /** weight_ih; packed only above layer 0 or with an embedding. */
  readonly input: Matrix;
  /** weight_hh, in the parts of CellLayout.recurrent. */
  readonly recurrent: readonly Matrix[];
  readonly bias: Pair;
  /** b_hn of a gru-reset-after. */
  readonly candidateBias: Pair | undefined;
  readonly norm: NormMap | undefined;
}

/** Layer normalisation of a layer's output. */
export interface NormMap {
  readonly weight: Pair;
  readonly bias: Pair;
  /** [H'] each, padded with zeros. */
  readonly paddedWeight: number;
  readonly paddedBias: number;
}

/** embedding.weight [V, E]; `product` as in Matrix. */
export interface EmbeddingMap extends Pair {
  readonly width: number;
  readonly paddedWidth: number;
  readonly product: number;
}

/**
 * Columns of dG (rows of a weight gradient) that are computed together: few enough for the L2
 * cache.
 */
export const BLOCK_COLUMNS = 96;

/** Bytes at the start of the memory that are reserved for the constants of the compiled module. */
export const RESERVED = 65536;

const FLOAT = 4;
const LINE = 64;

type Floats = (count: number) => number;

/** `tileWidth`: columns of the GEMM's tile. */
export function layOut(config: ModelConfig, cell: CellLayout, limits: EngineLimits, tileWidth: number): MemoryMap {
  let end = RESERVED;
  const floats: Floats = (count) => {
    const address = roundUp(end, LINE);
    end = address + count * FLOAT;
    return address;
  };
  const sizes = sizesOf(config, cell, limits, tileWidth);
  const { size, tensors } = createLayout(config);
  const flat = { value: floats(size), gradient: floats(size) };
  const offsets = new Map(tensors.map(({ name, offset }) => [name, offset * FLOAT]));
  const pair: Pairs = (name) => ({ value: flat.value + offsets.get(name)!, gradient: flat.gradient + offsets.get(name)! });
  const scratch = { own: floats(sizes.paddedWeights), below: floats(sizes.paddedWeights) };
  const place: Place = { cell, sizes, pair, floats, scratch };
  return {
    ...sizes,
    flat,
    size,
    paddedWeights: scratch.own,
    layers: Array.from({ length: config.layers }, (_, l) => layerMap(config, place, l)),
    embedding: embeddingMap(config, place),
    output: outputMatrix(config, place),
    outputBias: pair('linear.bias'),
    ...windowBuffers(place),
    ...gradientBuffers(config, place),
    endStates: floats(limits.maxStreams * stateSize(config)),
    stepLogits: floats(limits.maxStreams * config.vocabulary),
    bytes: end,
  };
}

/** Parameters and gradient of a tensor, by name. */
type Pairs = (name: string) => Pair;

interface Place {
  readonly cell: CellLayout;
  readonly sizes: Sizes;
  readonly pair: Pairs;
  readonly floats: Floats;
  /**
   * Buffers for padded products: of weights for a layer's own state, and of weights for its input
   * from below.
   */
  readonly scratch: { readonly own: number; readonly below: number };
}

interface Sizes extends EngineLimits {
  readonly paddedHidden: number;
  readonly paddedVocabulary: number;
  readonly paddedEmbedding: number;
  readonly gateWidth: number;
  readonly inputWidth: number;
  readonly gateStride: number;
  /** Floats of the largest padded weight matrix; 0 if none is padded. */
  readonly paddedWeights: number;
}

function sizesOf(config: ModelConfig, { columns }: CellLayout, limits: EngineLimits, tileWidth: number): Sizes {
  const { cell, hidden: H, vocabulary: V, embedding: E = 0 } = config;
  const paddedHidden = roundUp(H, tileWidth);
  const paddedEmbedding = roundUp(E, tileWidth);
  const gateWidth = columns * paddedHidden;
  const inputWidth = CELL_SHAPES[cell].gates * paddedHidden;
  const exact = paddedHidden === H && paddedEmbedding === E;
  return {
    ...limits,
    paddedHidden,
    paddedVocabulary: roundUp(V, tileWidth),
    paddedEmbedding,
    gateWidth,
    inputWidth,
    gateStride: gateWidth + LINE / FLOAT,
    paddedWeights: exact ? 0 : Math.max(inputWidth, V) * Math.max(paddedHidden, paddedEmbedding),
  };
}

function layerMap(config: ModelConfig, place: Place, l: number): LayerMap {
  const { sizes, pair, floats } = place;
  const { cell, vocabulary: V, layerNorm = false } = config;
  const { paddedHidden, gateWidth, gateStride, maxStreams: B, maxWindow: T } = sizes;
  const { module } = CELL_SHAPES[cell];
  const steps = (count: number) => floats(count * B * paddedHidden);
  const h = steps(T + 1);
  const memory = place.cell.memory ? steps(T + 1) : 0;
  return {
    gates: floats(T * B * gateStride),
    h,
    memory,
    states: place.cell.memory ? [h, memory] : [h],
    saved: place.cell.saved ? steps(T) : 0,
    output: layerNorm || dropoutOf(config, l) > 0 ? steps(T) : 0,
    table: floats((l === 0 ? V : 1) * gateWidth),
    input: inputMatrix(config, place, l),
    recurrent: recurrentMatrices(config, place, l),
    bias: pair(`${module}.bias_ih_l${l}`),
    candidateBias: cell === 'gru-reset-after' ? pair(`${module}.bias_hn_l${l}`) : undefined,
    norm: layerNorm ? normMap(place, l) : undefined,
  };
}

function normMap({ sizes, pair, floats }: Place, l: number): NormMap {
  return {
    weight: pair(`norms.${l}.weight`),
    bias: pair(`norms.${l}.bias`),
    paddedWeight: floats(sizes.paddedHidden),
    paddedBias: floats(sizes.paddedHidden),
  };
}

function inputMatrix({ cell, hidden: H, embedding: E = 0 }: ModelConfig, place: Place, l: number): Matrix {
  const { sizes, pair, floats, scratch } = place;
  const { module, gates } = CELL_SHAPES[cell];
  const width = l > 0 ? H : E;
  const paddedWidth = l > 0 ? sizes.paddedHidden : sizes.paddedEmbedding;
  const exact = sizes.paddedHidden === H && paddedWidth === width;
  const { value, gradient } = pair(`${module}.weight_ih_l${l}`);
  return {
    value,
    gradient,
    gates,
    column: 0,
    width,
    paddedWidth,
    forward: floats(width * sizes.inputWidth),
    backward: floats(sizes.inputWidth * paddedWidth),
    product: exact ? gradient : scratch.below,
  };
}

function recurrentMatrices({ cell, hidden: H }: ModelConfig, place: Place, l: number): Matrix[] {
  const { sizes, pair, floats, scratch } = place;
  const { paddedHidden } = sizes;
  let { value, gradient } = pair(`${CELL_SHAPES[cell].module}.weight_hh_l${l}`);
  let padded = scratch.own;
  return place.cell.recurrent.map(({ gates, column }) => {
    const matrix = {
      value,
      gradient,
      gates,
      column,
      width: H,
      paddedWidth: paddedHidden,
      forward: floats(H * gates * paddedHidden),
      backward: floats(gates * paddedHidden * paddedHidden),
      product: paddedHidden === H ? gradient : padded,
    };
    value += gates * H * H * FLOAT;
    gradient += gates * H * H * FLOAT;
    padded += gates * paddedHidden * paddedHidden * FLOAT;
    return matrix;
  });
}

function embeddingMap({ embedding: E = 0 }: ModelConfig, { sizes, pair, scratch }: Place): EmbeddingMap | undefined {
  if (E === 0) return undefined;
  const { value, gradient } = pair('embedding.weight');
  const { paddedEmbedding } = sizes;
  return { value, gradient, width: E, paddedWidth: paddedEmbedding, product: paddedEmbedding === E ? gradient : scratch.own };
}

function outputMatrix({ hidden: H, vocabulary: V, tied = false }: ModelConfig, place: Place): Omit<Matrix, 'gates' | 'column'> {
  const { sizes, pair, floats, scratch } = place;
  const { paddedHidden, paddedVocabulary } = sizes;
  const { value, gradient } = pair(tied ? 'embedding.weight' : 'linear.weight');
  return {
    value,
    gradient,
    width: H,
    paddedWidth: paddedHidden,
    forward: floats(H * paddedVocabulary),
    backward: floats(V * paddedHidden),
    product: paddedHidden === H ? gradient : scratch.own,
  };
}

function windowBuffers({ sizes, floats }: Place) {
  const { maxStreams: B, maxWindow: T, paddedHidden, paddedVocabulary } = sizes;
  // The block before hGradient.
  floats(B * paddedHidden);
  return {
    hGradient: floats(T * B * paddedHidden),
    carry: floats(B * paddedHidden),
    logitsBias: floats(paddedVocabulary),
    logits: floats(T * B * paddedVocabulary),
    inputs: floats(T * B),
    targets: floats(T * B),
    streamIds: floats(B),
    zeroIds: floats(B),
  };
}

function gradientBuffers({ vocabulary: V }: ModelConfig, { sizes, floats }: Place) {
  const { paddedHidden, paddedVocabulary, paddedEmbedding, gateWidth, inputWidth } = sizes;
  // Strassen's seven products, each of half the width, need more room than the block itself.
  const panels = () => floats((7 / 4) * BLOCK_DEPTH * Math.max(paddedHidden, paddedEmbedding));
  return {
    panels: { own: panels(), below: panels(), saved: panels() },
    transposed: floats(BLOCK_COLUMNS * BLOCK_DEPTH),
    sums: floats(Math.max(gateWidth, paddedVocabulary)),
    normGradients: { weight: floats(paddedHidden), bias: floats(paddedHidden) },
    tableGradient: floats(V * inputWidth),
  };
}

function roundUp(value: number, multiple: number): number {
  return Math.ceil(value / multiple) * multiple;
}
