import { LAYER_NORM_EPSILON } from '../config.js';
import { dropoutOf, dropoutScale, dropoutThreshold, type DropoutKey } from '../dropout.js';
import type { LayerMap, NormMap } from './memory-map.js';
import { block, gatesOf, project, projectBack } from './cells/cell.js';
import { characterGradients, gateGradients, normGradients, outputGradients } from './gradients.js';
import { fill, FLOAT, type Workspace } from './workspace.js';

/**
 * From inputs [T, B] and the state before the window to logits and all that the backward pass
 * needs. With `key`, dropout acts on the layers' outputs.
 */
export function forward(workspace: Workspace, B: number, T: number, key?: DropoutKey): void {
  const { map, kernels, tile } = workspace;
  const { paddedHidden, paddedVocabulary, layers, output } = map;
  for (const [l, layer] of layers.entries()) {
    if (l > 0) project(workspace, T * B, outputOf(workspace, l - 1, B, key), layer.input, layer.gates, false);
    for (let t = 0; t < T; t++) {
      workspace.cell.forward(workspace, layer, B, t, l > 0 ? map.zeroIds : map.inputs + t * B * FLOAT, l > 0);
    }
    if (layer.norm) normalise(workspace, layer, layer.norm, B, T);
    if (drops(workspace, l, key)) drop(workspace, l, B, T, key, outputOf(workspace, l, B), layer.output);
  }
  const top = outputOf(workspace, layers.length - 1, B, key);
  kernels.fillRows(T * B, paddedVocabulary, map.logitsBias, map.logits);
  kernels.gemm(
    tile,
    T * B,
    paddedVocabulary,
    output.width,
    top,
    paddedHidden,
    output.forward,
    map.logits,
    paddedVocabulary,
    1,
    0,
    0,
  );
}

/**
 * Turns the logits into the gradient of the loss. Returns the summed negative log-likelihood of
 * the targets, nats.
 */
export function loss({ config, map, kernels }: Workspace, B: number, T: number): number {
  return kernels.softmaxLoss(T * B, config.vocabulary, map.paddedVocabulary, map.logits, map.targets);
}

/**
 * The gradient of every parameter, truncated at the start of the window; after forward, with the
 * same key, and loss. The gradient becomes final from its end to its start: `handOver` is called
 * with the address from which on it is.
 */
export function backward(
  workspace: Workspace,
  B: number,
  T: number,
  key?: DropoutKey,
  handOver?: (address: number) => void,
): void {
  const { config, map, kernels, tile } = workspace;
  const { paddedHidden, paddedVocabulary, layers, output, outputBias, hGradient } = map;
  const { vocabulary: V, tied = false } = config;
  outputGradients(workspace, outputOf(workspace, layers.length - 1, B, key), B, T);
  handOver?.(tied ? outputBias.gradient : output.gradient);
  kernels.gemm(tile, T * B, paddedHidden, V, map.logits, paddedVocabulary, output.backward, hGradient, paddedHidden, 0, 0, 0);
  for (let l = layers.length - 1; l >= 0; l--) {
    const layer = layers[l];
    if (drops(workspace, l, key)) drop(workspace, l, B, T, key, hGradient, hGradient);
    if (layer.norm) normGradients(workspace, layer, layer.norm, B, T);
    fill(workspace, map.carry, B * paddedHidden, 0);
    for (let t = T - 1; t >= 0; t--) workspace.cell.backward(workspace, layer, B, t);
    gateGradients(workspace, layer, l > 0 ? outputOf(workspace, l - 1, B, key) : undefined, B, T);
    handOver?.(l > 0 ? layer.input.gradient : layer.recurrent[0].gradient);
    if (l > 0) projectBack(workspace, T * B, gatesOf(workspace, layer, B, 0), layer.input, hGradient, false);
    else characterGradients(workspace, layer, B, T);
  }
}

/** Output of layer l, [T, B, H']: h, or h after normalisation and, with a key, dropout. */
function outputOf(workspace: Workspace, l: number, B: number, key?: DropoutKey): number {
  const { norm, output, h } = workspace.map.layers[l];
  return norm || drops(workspace, l, key) ? output : block(workspace, h, B, 1);
}

function drops({ config }: Workspace, l: number, key: DropoutKey | undefined): key is DropoutKey {
  return key !== undefined && dropoutOf(config, l) > 0;
}

/** target = source times the mask of layer l's output, [T, B, H'] each. */
function drop(workspace: Workspace, l: number, B: number, T: number, key: DropoutKey, source: number, target: number): void {
  const { config, map, kernels } = workspace;
  const p = dropoutOf(config, l);
  const { paddedHidden, streamIds } = map;
  const [threshold, scale] = [dropoutThreshold(p), dropoutScale(p)];
  kernels.dropout(T * B, B, paddedHidden, source, target, streamIds, key.seed, l, key.round, threshold, scale);
}

function normalise(workspace: Workspace, { h, output }: LayerMap, norm: NormMap, B: number, T: number): void {
  const { config, map, kernels } = workspace;
  const { paddedWeight, paddedBias } = norm;
  const source = block(workspace, h, B, 1);
  kernels.normalise(T * B, config.hidden, map.paddedHidden, source, paddedWeight, paddedBias, output, LAYER_NORM_EPSILON);
}
