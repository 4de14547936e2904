import type { ModelConfig } from '../config.js';
import { BLOCK_COLUMNS, type Arena, type LayerArena, type Matrix } from './arena.js';
import { BLOCK_DEPTH } from './generated/tiles.js';
import type { Kernels } from './kernels.js';

/** A model in the memory of one instance of the kernels. Everything below works on rows [T, B], see Arena. */
export interface Workspace {
  readonly config: ModelConfig;
  readonly arena: Arena;
  readonly kernels: Kernels;
  /** Index into TILES. */
  readonly tile: number;
  /** The whole memory. */
  readonly memory: Float32Array;
}

const FLOAT = 4;
/** A logit that leaves no probability, yet finite. */
const FAR_BELOW = -1e30;

/** Packs what the forward pass reads; once for each new set of parameters. */
export function packForward(space: Workspace): void {
  const { arena, kernels, tile, memory } = space;
  const { hidden: H, vocabulary: V } = space.config;
  const { paddedHidden, paddedVocabulary, layers, output, outputBias, logitsBias } = arena;
  for (const [l, { input, recurrent, bias, table }] of layers.entries()) {
    if (l === 0) kernels.inputTable(V, H, paddedHidden, input.value, bias.value, table);
    else kernels.copyRows(4, H, bias.value, H, table, paddedHidden);
    for (const matrix of l === 0 ? [recurrent] : [recurrent, input]) {
      kernels.packPanels(
        tile,
        gateWeights(space, matrix),
        1,
        paddedHidden,
        H,
        4 * paddedHidden,
        4 * paddedHidden,
        matrix.forward,
      );
    }
  }
  kernels.packPanels(tile, output.value, 1, H, H, V, paddedVocabulary, output.forward);
  const first = logitsBias / FLOAT;
  memory.fill(FAR_BELOW, first + V, first + paddedVocabulary);
  kernels.copyRows(1, V, outputBias.value, V, logitsBias, V);
}

/** Packs what the backward pass reads. */
export function packBackward(space: Workspace): void {
  const { config, arena, kernels, tile } = space;
  const { hidden: H, vocabulary: V } = config;
  const { paddedHidden, layers, output } = arena;
  for (const [l, { input, recurrent }] of layers.entries()) {
    for (const matrix of l === 0 ? [recurrent] : [recurrent, input]) {
      const weights = gateWeights(space, matrix);
      kernels.packPanels(tile, weights, paddedHidden, 1, 4 * paddedHidden, paddedHidden, paddedHidden, matrix.backward);
    }
  }
  kernels.packPanels(tile, output.value, H, 1, V, H, paddedHidden, output.backward);
}

/** W [4H', H']: the parameters themselves, or a copy with padding. */
function gateWeights({ config, arena, kernels }: Workspace, { value }: Matrix): number {
  const { hidden: H } = config;
  const { paddedHidden, ownPadded } = arena;
  if (paddedHidden === H) return value;
  for (let gate = 0; gate < 4; gate++) {
    kernels.copyRows(H, H, value + gate * H * H * FLOAT, H, ownPadded + gate * paddedHidden ** 2 * FLOAT, paddedHidden);
  }
  return ownPadded;
}

/** From inputs [T, B] and the state before the window to logits and all that the backward pass needs. */
export function forward(space: Workspace, B: number, T: number): void {
  const { arena, kernels, tile } = space;
  const { hidden: H } = space.config;
  const { paddedHidden, gateStride, paddedVocabulary, layers, output } = arena;
  const G = 4 * paddedHidden;
  const block = B * paddedHidden * FLOAT;
  let below: LayerArena | undefined;
  for (const layer of layers) {
    if (below) kernels.gemm(tile, T * B, G, H, below.h + block, paddedHidden, layer.input.forward, layer.gates, gateStride, 0);
    for (let t = 0; t < T; t++) {
      const gates = layer.gates + t * B * gateStride * FLOAT;
      const h = layer.h + t * block;
      const cell = layer.cell + t * block;
      const ids = below ? arena.zeroIds : arena.inputs + t * B * FLOAT;
      kernels.gemm(tile, B, G, H, h, paddedHidden, layer.recurrent.forward, gates, gateStride, below ? 1 : 0);
      kernels.lstmForward(
        B,
        paddedHidden,
        gateStride,
        gates,
        layer.table,
        ids,
        cell,
        cell + block,
        h + block,
        layer.tanhCell + t * block,
      );
    }
    below = layer;
  }
  const top = layers[layers.length - 1].h + block;
  kernels.fillRows(T * B, paddedVocabulary, arena.logitsBias, arena.logits);
  kernels.gemm(tile, T * B, paddedVocabulary, H, top, paddedHidden, output.forward, arena.logits, paddedVocabulary, 1);
}

/** Turns the logits into the gradient of the loss. Returns the summed negative log-likelihood of the targets, nats. */
export function loss({ config, arena, kernels }: Workspace, B: number, T: number): number {
  return kernels.softmaxLoss(T * B, config.vocabulary, arena.paddedVocabulary, arena.logits, arena.targets);
}

/** After forward and loss: the gradient of every parameter, truncated at the start of the window. */
export function backward(space: Workspace, B: number, T: number): void {
  const { arena, kernels, tile } = space;
  const { vocabulary: V } = space.config;
  const { paddedHidden, gateStride, paddedVocabulary, layers, output, hGradient } = arena;
  const G = 4 * paddedHidden;
  outputGradients(space, B, T);
  kernels.gemm(tile, T * B, paddedHidden, V, arena.logits, paddedVocabulary, output.backward, hGradient, paddedHidden, 0);
  for (let l = layers.length - 1; l >= 0; l--) {
    const layer = layers[l];
    backThroughTime(space, layer, B, T);
    gateGradients(space, layer, layers[l - 1], B, T);
    if (l > 0)
      kernels.gemm(tile, T * B, paddedHidden, G, layer.gates, gateStride, layer.input.backward, hGradient, paddedHidden, 0);
    else inputGradients(space, layer, B, T);
  }
}

/** Replaces the activations of a layer by the gradients of its pre-activations. */
function backThroughTime({ arena, kernels, tile, memory }: Workspace, layer: LayerArena, B: number, T: number): void {
  const { paddedHidden, gateStride, hGradient, cellGradient } = arena;
  const G = 4 * paddedHidden;
  const block = B * paddedHidden * FLOAT;
  memory.fill(0, cellGradient / FLOAT, (cellGradient + block) / FLOAT);
  for (let t = T - 1; t >= 0; t--) {
    const gates = layer.gates + t * B * gateStride * FLOAT;
    const dh = hGradient + t * block;
    kernels.lstmBackward(
      B,
      paddedHidden,
      gateStride,
      gates,
      layer.cell + t * block,
      layer.tanhCell + t * block,
      dh,
      cellGradient,
    );
    if (t > 0) kernels.gemm(tile, B, paddedHidden, G, gates, gateStride, layer.recurrent.backward, dh - block, paddedHidden, 1);
  }
}

/** A factor x of the weight gradient dG^T x, both with one row per character of the window. */
interface Factor {
  /** [rows, H'] */
  readonly x: number;
  /** Room for a part of x in panels. */
  readonly panels: number;
  /** [columns of dG, H'] */
  readonly product: number;
}

/** dG [rows, columns], gradients of pre-activations or logits. */
interface Cotangent {
  readonly address: number;
  /** Floats from row to row. */
  readonly stride: number;
  /** With padding, a multiple of the tile's width. */
  readonly columns: number;
  /** Columns that become rows of the products. */
  readonly used: number;
}

/** dG^T x for each factor, as one GEMM over all rows of the window, and the column sums of dG in arena.sums. */
function accumulateOverWindow(space: Workspace, rows: number, dG: Cotangent, factors: readonly Factor[]): void {
  const { arena, kernels, tile, memory } = space;
  const { paddedHidden, transposed, sums } = arena;
  const { stride, columns, used } = dG;
  memory.fill(0, sums / FLOAT, sums / FLOAT + columns);
  for (let k = 0; k < rows; k += BLOCK_DEPTH) {
    const depth = Math.min(BLOCK_DEPTH, rows - k);
    for (const { x, panels } of factors) {
      kernels.packPanels(tile, x + k * paddedHidden * FLOAT, paddedHidden, 1, depth, paddedHidden, paddedHidden, panels);
    }
    for (let m = 0; m < columns; m += BLOCK_COLUMNS) {
      const width = Math.min(BLOCK_COLUMNS, columns - m);
      kernels.transpose(dG.address + (k * stride + m) * FLOAT, stride, depth, width, transposed, sums + m * FLOAT);
      const height = Math.min(width, used - m);
      for (const { panels, product } of factors) {
        const target = product + m * paddedHidden * FLOAT;
        kernels.gemm(tile, height, paddedHidden, depth, transposed, depth, panels, target, paddedHidden, k > 0 ? 1 : 0);
      }
    }
  }
}

/** dW_hh, dW_ih (above layer 0) and the bias's gradient. */
function gateGradients(space: Workspace, layer: LayerArena, below: LayerArena | undefined, B: number, T: number): void {
  const { arena, kernels } = space;
  const { hidden: H } = space.config;
  const { paddedHidden, gateStride, ownPanels, belowPanels, ownPadded, belowPadded } = arena;
  const exact = paddedHidden === H;
  const G = 4 * paddedHidden;
  const { recurrent, input, bias } = layer;
  const factors: Factor[] = [{ x: layer.h, panels: ownPanels, product: exact ? recurrent.gradient : ownPadded }];
  if (below) {
    const x = below.h + B * paddedHidden * FLOAT;
    factors.push({ x, panels: belowPanels, product: exact ? input.gradient : belowPadded });
  }
  accumulateOverWindow(space, T * B, { address: layer.gates, stride: gateStride, columns: G, used: G }, factors);
  kernels.copyRows(4, H, arena.sums, paddedHidden, bias.gradient, H);
  if (exact) return;
  for (let gate = 0; gate < 4; gate++) {
    const from = gate * paddedHidden ** 2 * FLOAT;
    const to = gate * H * H * FLOAT;
    kernels.copyRows(H, H, ownPadded + from, paddedHidden, recurrent.gradient + to, H);
    if (below) kernels.copyRows(H, H, belowPadded + from, paddedHidden, input.gradient + to, H);
  }
}

function outputGradients(space: Workspace, B: number, T: number): void {
  const { arena, kernels } = space;
  const { hidden: H, vocabulary: V } = space.config;
  const { paddedHidden, paddedVocabulary, layers, output, outputBias, ownPanels, ownPadded } = arena;
  const exact = paddedHidden === H;
  const x = layers[layers.length - 1].h + B * paddedHidden * FLOAT;
  const factor = { x, panels: ownPanels, product: exact ? output.gradient : ownPadded };
  const dLogits = { address: arena.logits, stride: paddedVocabulary, columns: paddedVocabulary, used: V };
  accumulateOverWindow(space, T * B, dLogits, [factor]);
  kernels.copyRows(1, V, arena.sums, V, outputBias.gradient, V);
  if (!exact) kernels.copyRows(V, H, ownPadded, paddedHidden, output.gradient, H);
}

/** One-hot input: the gradient of layer 0's input weights is a sum of rows per character. */
function inputGradients({ config, arena, kernels }: Workspace, { gates, input }: LayerArena, B: number, T: number): void {
  const { hidden: H, vocabulary: V } = config;
  const { paddedHidden, gateStride, inputs, tableGradient } = arena;
  kernels.scatterInputs(T * B, V, paddedHidden, gateStride, gates, inputs, tableGradient);
  kernels.inputGradient(V, H, paddedHidden, tableGradient, input.gradient);
}
