import { LAYER_NORM_EPSILON } from '../config.js';
import type { EmbeddingMap, LayerMap, Matrix, NormMap } from './memory-map.js';
import { block } from './cells/cell.js';
import type { Factor, Part } from './operands.js';
import { multiplyOverRows } from './outer-products.js';
import { fill, FLOAT, type Workspace } from './workspace.js';

/**
 * The gradients of weight_hh, weight_ih (above layer 0) and the biases of a layer. `below` [T, B,
 * H']: its input, above layer 0.
 */
export function gateGradients(workspace: Workspace, layer: LayerMap, below: number | undefined, B: number, T: number): void {
  const { map, cell } = workspace;
  const { panels } = map;
  const own = { h: hiddenFactor(workspace, layer.h, panels.own), saved: hiddenFactor(workspace, layer.saved, panels.saved) };
  const input = below === undefined ? undefined : hiddenFactor(workspace, below, panels.below);
  const factors = [...new Set(cell.recurrent.map((part) => own[part.input])), ...(input ? [input] : [])];
  multiplyOverRows(
    workspace,
    T * B,
    { address: layer.gates, stride: map.gateStride },
    factors,
    gateParts(workspace, layer, own, input),
  );
  biasGradients(workspace, layer);
  for (const matrix of input ? [...layer.recurrent, layer.input] : layer.recurrent) unpad(workspace, matrix);
}

function hiddenFactor({ map }: Workspace, address: number, panels: number): Factor {
  const { paddedHidden } = map;
  return { address, stride: paddedHidden, width: paddedHidden, paddedWidth: paddedHidden, panels };
}

/** The columns of gates from left to right, split where the factors change. */
function gateParts(
  { map, cell }: Workspace,
  { input, recurrent }: LayerMap,
  own: Readonly<Record<'h' | 'saved', Factor>>,
  below: Factor | undefined,
): Part[] {
  const { paddedHidden } = map;
  const parts: Part[] = [];
  for (let column = 0; column < cell.columns; column += parts[parts.length - 1].columns / paddedHidden) {
    const products = [];
    const i = recurrent.findIndex((matrix) => matrix.column === column);
    if (i >= 0) products.push({ factor: own[cell.recurrent[i].input], address: recurrent[i].product });
    if (below && column < input.gates) {
      products.push({ factor: below, address: input.product + column * paddedHidden ** 2 * FLOAT });
    }
    const columns = (i < 0 ? 1 : recurrent[i].gates) * paddedHidden;
    parts.push({ first: column * paddedHidden, columns, used: columns, products });
  }
  return parts;
}

/** Copies the gradients of the biases from the column sums of dG. */
function biasGradients({ config, map, kernels }: Workspace, { input, bias, candidateBias }: LayerMap): void {
  const { hidden: H } = config;
  const { paddedHidden, inputWidth, sums } = map;
  kernels.copyRows(input.gates, H, sums, paddedHidden, bias.gradient, H);
  if (candidateBias) kernels.copyRows(1, H, sums + inputWidth * FLOAT, H, candidateBias.gradient, H);
}

/** Copies the gradient of a matrix, computed with padding, to its place in the flat gradient. */
function unpad({ config, map, kernels }: Workspace, { gates, width, paddedWidth, product, gradient }: Matrix): void {
  if (product === gradient) return;
  const { hidden: H } = config;
  for (let gate = 0; gate < gates; gate++) {
    const from = product + gate * map.paddedHidden * paddedWidth * FLOAT;
    kernels.copyRows(H, width, from, paddedWidth, gradient + gate * H * width * FLOAT, width);
  }
}

/**
 * Turns the gradient of a layer's output, in map.hGradient, into that of h; computes the gradients
 * of its normalisation.
 */
export function normGradients(workspace: Workspace, { h }: LayerMap, norm: NormMap, B: number, T: number): void {
  const { config, map, kernels } = workspace;
  const { hidden: H } = config;
  const { paddedHidden, hGradient } = map;
  const { weight, bias } = map.normGradients;
  fill(workspace, weight, paddedHidden, 0);
  fill(workspace, bias, paddedHidden, 0);
  const source = block(workspace, h, B, 1);
  const { paddedWeight } = norm;
  kernels.normaliseBackward(T * B, H, paddedHidden, source, paddedWeight, hGradient, weight, bias, LAYER_NORM_EPSILON);
  kernels.copyRows(1, H, weight, H, norm.weight.gradient, H);
  kernels.copyRows(1, H, bias, H, norm.bias.gradient, H);
}

/** The gradients of linear.weight and linear.bias. `top` [T, B, H']: output of the top layer. */
export function outputGradients(workspace: Workspace, top: number, B: number, T: number): void {
  const { config, map, kernels } = workspace;
  const { hidden: H, vocabulary: V } = config;
  const { paddedVocabulary, output, outputBias, logits, panels, sums } = map;
  const factor = hiddenFactor(workspace, top, panels.own);
  const products = [{ factor, address: output.product }];
  const part = { first: 0, columns: paddedVocabulary, used: V, products };
  multiplyOverRows(workspace, T * B, { address: logits, stride: paddedVocabulary }, [factor], [part]);
  kernels.copyRows(1, V, sums, V, outputBias.gradient, V);
  if (output.product !== output.gradient) kernels.copyRows(V, H, output.product, output.paddedWidth, output.gradient, H);
}

/**
 * The gradients of layer 0's weight_ih and the embedding, from that of its table, which has one
 * row per character.
 */
export function characterGradients(workspace: Workspace, { gates, input }: LayerMap, B: number, T: number): void {
  const { config, map, kernels } = workspace;
  const { hidden: H, vocabulary: V } = config;
  const { paddedHidden, inputWidth, gateStride, inputs, tableGradient, embedding } = map;
  kernels.sumByCharacter(T * B, V, inputWidth, gateStride, gates, inputs, tableGradient);
  if (embedding) embeddingGradients(workspace, input, embedding);
  else kernels.inputGradient(V, input.gates, H, paddedHidden, tableGradient, input.gradient);
}

/**
 * The table is embedding weight_ih^T. If tied, the embedding's gradient already contains that of
 * the output layer.
 */
function embeddingGradients(workspace: Workspace, input: Matrix, embedding: EmbeddingMap): void {
  const { config, map, kernels, tile } = workspace;
  const { vocabulary: V, tied = false } = config;
  const { inputWidth, tableGradient, panels } = map;
  const { value, gradient, width, paddedWidth, product } = embedding;
  const factor = { address: value, stride: width, width, paddedWidth, panels: panels.own };
  const part = { first: 0, columns: inputWidth, used: inputWidth, products: [{ factor, address: input.product }] };
  multiplyOverRows(workspace, V, { address: tableGradient, stride: inputWidth }, [factor], [part]);
  unpad(workspace, input);
  const padded = product !== gradient;
  if (padded && tied) kernels.copyRows(V, width, gradient, width, product, paddedWidth);
  kernels.gemm(
    tile,
    V,
    paddedWidth,
    inputWidth,
    tableGradient,
    inputWidth,
    input.backward,
    product,
    paddedWidth,
    tied ? 1 : 0,
    0,
    0,
  );
  if (padded) kernels.copyRows(V, width, product, paddedWidth, gradient, width);
}
