import type { LayerMap, Matrix, NormMap } from './memory-map.js';
import { fill, FLOAT, type Workspace } from './workspace.js';

/** A logit that leaves no probability, yet finite. */
const FAR_BELOW = -1e30;

/** Packs what the forward pass reads; once for each new set of parameters. */
export function packForward(space: Workspace): void {
  const { config, map, kernels, tile } = space;
  const { hidden: H, vocabulary: V } = config;
  const { paddedVocabulary, layers, output, outputBias, logitsBias } = map;
  for (const [l, layer] of layers.entries()) {
    if (hasWeights(space, l)) packTransposed(space, layer.input);
    for (const part of layer.recurrent) packTransposed(space, part);
    if (l === 0) packCharacters(space, layer);
    else packBiases(space, layer, layer.table);
    if (layer.norm) packNorm(space, layer.norm);
  }
  kernels.packPanels(tile, output.value, 1, H, H, V, paddedVocabulary, output.forward);
  fill(space, logitsBias + V * FLOAT, paddedVocabulary - V, FAR_BELOW);
  kernels.copyRows(1, V, outputBias.value, V, logitsBias, V);
}

/** Packs what the backward pass reads. */
export function packBackward(space: Workspace): void {
  const { config, map, kernels, tile } = space;
  const { hidden: H, vocabulary: V } = config;
  const { paddedHidden, layers, output } = map;
  for (const [l, { input, recurrent }] of layers.entries()) {
    for (const matrix of hasWeights(space, l) ? [input, ...recurrent] : recurrent) {
      const { width, paddedWidth, gates, backward } = matrix;
      const weights = paddedRows(space, matrix);
      kernels.packPanels(tile, weights, width, 1, gates * paddedHidden, width, paddedWidth, backward);
    }
  }
  kernels.packPanels(tile, output.value, H, 1, V, H, paddedHidden, output.backward);
}

/** Whether a layer's input is multiplied by weight_ih: one-hot characters only pick columns of it. */
export function hasWeights({ map }: Workspace, l: number): boolean {
  return l > 0 || map.embedding !== undefined;
}

function packTransposed(space: Workspace, matrix: Matrix): void {
  const { map, kernels, tile } = space;
  const { width, gates, forward } = matrix;
  const columns = gates * map.paddedHidden;
  kernels.packPanels(tile, paddedRows(space, matrix), 1, width, width, columns, columns, forward);
}

/** W [gates * H', width]: the parameters themselves, or a copy with zero rows between the gates. */
function paddedRows(space: Workspace, { value, gates, width }: Matrix): number {
  const { config, map, kernels } = space;
  const { hidden: H } = config;
  const { paddedHidden, paddedWeights } = map;
  if (paddedHidden === H) return value;
  for (let gate = 0; gate < gates; gate++) {
    const target = paddedWeights + gate * paddedHidden * width * FLOAT;
    kernels.copyRows(H, width, value + gate * H * width * FLOAT, width, target, width);
    fill(space, target + H * width * FLOAT, (paddedHidden - H) * width, 0);
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

/** Layer 0's table: what each character adds to the gates. */
function packCharacters(space: Workspace, layer: LayerMap): void {
  const { config, map, kernels, tile } = space;
  const { hidden: H, vocabulary: V } = config;
  const { paddedHidden, gateWidth, inputWidth, embedding, sums } = map;
  const { input, table } = layer;
  fill(space, sums, gateWidth, 0);
  packBiases(space, layer, sums);
  kernels.fillRows(V, gateWidth, sums, table);
  if (embedding) {
    const { value, width } = embedding;
    kernels.gemm(tile, V, inputWidth, width, value, width, input.forward, table, gateWidth, 1, 0, 0);
  } else {
    kernels.addInputWeights(V, input.gates, H, paddedHidden, input.value, table, gateWidth);
  }
}
