import type { LayerMap, Matrix, NormMap } from './memory-map.js';
import { fill, FLOAT, type Workspace } from './workspace.js';

/** A finite logit whose probability is 0. */
const FAR_BELOW = -1e30;

/** Packs what the forward pass reads; once for each new set of parameters. */
export function packForward(workspace: Workspace): void {
  const { config, map, kernels, tile } = workspace;
  const { hidden: H, vocabulary: V } = config;
  const { paddedVocabulary, layers, output, outputBias, logitsBias } = map;
  for (const [l, layer] of layers.entries()) {
    if (hasWeights(workspace, l)) packTransposed(workspace, layer.input);
    for (const part of layer.recurrent) packTransposed(workspace, part);
    if (l === 0) packCharacters(workspace, layer);
    else packBiases(workspace, layer, layer.table);
    if (layer.norm) packNorm(workspace, layer.norm);
  }
  kernels.packPanels(tile, output.value, 1, H, H, V, paddedVocabulary, output.forward);
  fill(workspace, logitsBias + V * FLOAT, paddedVocabulary - V, FAR_BELOW);
  kernels.copyRows(1, V, outputBias.value, V, logitsBias, V);
}

/** Packs what the backward pass reads. */
export function packBackward(workspace: Workspace): void {
  const { config, map, kernels, tile } = workspace;
  const { hidden: H, vocabulary: V } = config;
  const { paddedHidden, layers, output } = map;
  for (const [l, { input, recurrent }] of layers.entries()) {
    for (const matrix of hasWeights(workspace, l) ? [input, ...recurrent] : recurrent) {
      const { width, paddedWidth, gates, backward } = matrix;
      const weights = paddedRows(workspace, matrix);
      kernels.packPanels(tile, weights, width, 1, gates * paddedHidden, width, paddedWidth, backward);
    }
  }
  kernels.packPanels(tile, output.value, H, 1, V, H, paddedHidden, output.backward);
}

/**
 * Whether a layer's input is multiplied by weight_ih: one-hot characters only select columns of
 * it.
 */
export function hasWeights({ map }: Workspace, l: number): boolean {
  return l > 0 || map.embedding !== undefined;
}

function packTransposed(workspace: Workspace, matrix: Matrix): void {
  const { map, kernels, tile } = workspace;
  const { width, gates, forward } = matrix;
  const columns = gates * map.paddedHidden;
  kernels.packPanels(tile, paddedRows(workspace, matrix), 1, width, width, columns, columns, forward);
}

/** W [gates * H', width]: the parameters themselves, or a copy with zero rows between the gates. */
function paddedRows(workspace: Workspace, { value, gates, width }: Matrix): number {
  const { config, map, kernels } = workspace;
  const { hidden: H } = config;
  const { paddedHidden, paddedWeights } = map;
  if (paddedHidden === H) return value;
  for (let gate = 0; gate < gates; gate++) {
    const target = paddedWeights + gate * paddedHidden * width * FLOAT;
    kernels.copyRows(H, width, value + gate * H * width * FLOAT, width, target, width);
    fill(workspace, target + H * width * FLOAT, (paddedHidden - H) * width, 0);
  }
  return paddedWeights;
}

/** The biases of all columns of gates, as one row. */
function packBiases({ config, map, kernels }: Workspace, { input, bias, candidateBias }: LayerMap, row: number): void {
  const { hidden: H } = config;
  const { paddedHidden, inputWidth } = map;
  kernels.copyRows(input.gates, H, bias.value, H, row, paddedHidden);
  if (candidateBias) kernels.copyRows(1, H, candidateBias.value, H, row + inputWidth * FLOAT, H);
}

function packNorm({ config, kernels }: Workspace, { weight, bias, paddedWeight, paddedBias }: NormMap): void {
  const { hidden: H } = config;
  kernels.copyRows(1, H, weight.value, H, paddedWeight, H);
  kernels.copyRows(1, H, bias.value, H, paddedBias, H);
}

/** Fills layer 0's table: what each character adds to the gates. */
function packCharacters(workspace: Workspace, layer: LayerMap): void {
  const { config, map, kernels, tile } = workspace;
  const { hidden: H, vocabulary: V } = config;
  const { paddedHidden, gateWidth, inputWidth, embedding, sums } = map;
  const { input, table } = layer;
  fill(workspace, sums, gateWidth, 0);
  packBiases(workspace, layer, sums);
  kernels.fillRows(V, gateWidth, sums, table);
  if (embedding) {
    const { value, width } = embedding;
    kernels.gemm(tile, V, inputWidth, width, value, width, input.forward, table, gateWidth, 1, 0, 0);
  } else {
    kernels.addInputWeights(V, input.gates, H, paddedHidden, input.value, table, gateWidth);
  }
}
