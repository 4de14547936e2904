import { CELL_SHAPES } from '../config.js';
import { createCharacters, oneHot, type Characters, type Window } from './characters.js';
import { dropped, forward, layerBackward, logitsOf, type LayerTrace, type Network } from './network.js';
import { normalizeBackward } from './norm.js';
import type { Matrix } from './ops.js';
import type { GroupWeights } from './weights.js';

/** The whole computation as one graph of tensors. Functions here are called inside a tidy. */
export interface Outcome {
  /** Negative log-likelihood of each target, nats, [T*B]. */
  readonly losses: Matrix;
  /** After the window, S matrices [B, H] for each layer. */
  readonly endStates: readonly (readonly Matrix[])[];
}

/** Gradients by the layout's names, each in consecutive pieces. */
export type Gradients = Record<string, Matrix[]>;

/** S matrices [B, H] for each layer. */
export type States = readonly (readonly Matrix[])[];

export function evaluateWindow(network: Network, window: Window, start: States): Outcome {
  const { ops, config } = network;
  const { logits, endStates } = logitsAfter(network, window, start);
  const targets = oneHot(ops, window.targets, config.vocabulary);
  return { losses: lossesOf(network, logits, targets), endStates };
}

/** Logits [T*B, V]. */
export function logitsAfter(network: Network, window: Window, start: States): Pick<Outcome, 'endStates'> & { logits: Matrix } {
  const { ops, config } = network;
  const characters = createCharacters(ops, window, config.vocabulary);
  const traces = forward(network, characters, window.T, start, { trains: false, masks: [] });
  return { logits: logitsOf(network, traces.at(-1)!.output), endStates: endStatesOf(traces) };
}

/** `masks`: see ForwardOptions. */
export function differentiate(
  network: Network,
  window: Window,
  start: States,
  masks: readonly (Matrix | undefined)[],
): Outcome & { readonly gradients: Gradients } {
  const { ops, config } = network;
  const characters = createCharacters(ops, window, config.vocabulary);
  const traces = forward(network, characters, window.T, start, { trains: true, masks });
  const output = ops.tf.tidy(() => outputLayer(network, window, dropped(ops, traces.at(-1)!.output, masks.at(-1))));
  const gradients = { ...output.gradients };
  let dOutput = output.dInput;
  for (let k = config.layers - 1; k >= 0; k--) {
    const layer = ops.tf.tidy(() => {
      const { dH, gradients: norm } = normBackward(network, k, traces[k], dropped(ops, dOutput, masks[k]));
      const below = backThrough(network, k, traces[k], characters, dH);
      return { ...below, gradients: { ...below.gradients, ...norm } };
    });
    addGradients(network, gradients, layer.gradients);
    [dOutput] = layer.dInput;
  }
  return { losses: output.losses, endStates: endStatesOf(traces), gradients };
}

/** A tied matrix, and no other, is used twice. */
function addGradients({ ops: { tf } }: Network, sums: Gradients, more: Gradients): void {
  for (const [name, pieces] of Object.entries(more)) {
    const before = sums[name];
    sums[name] = before ? [tf.add(before[0], pieces[0])] : pieces;
  }
}

function endStatesOf(traces: readonly LayerTrace[]): States {
  return traces.map(({ states }) => states.at(-1)!);
}

function lossesOf({ ops: { tf } }: Network, logits: Matrix, targets: Matrix): Matrix {
  return tf.neg(tf.sum<Matrix>(tf.mul(tf.logSoftmax(logits), targets), 1, true));
}

/**
 * Output of the last layer after dropout [T*B, H] -> losses, d(loss)/d(that output) and the gradients of the
 * network's output layer.
 */
function outputLayer(network: Network, { targets }: Window, h: Matrix) {
  const { ops, config, weights } = network;
  const logits = logitsOf(network, h);
  const wanted = oneHot(ops, targets, config.vocabulary);
  const dLogits = ops.tf.sub<Matrix>(ops.tf.softmax(logits), wanted);
  return {
    losses: lossesOf(network, logits, wanted),
    dInput: ops.tf.matMul<Matrix>(dLogits, weights.linear),
    gradients: {
      [config.tied ? 'embedding.weight' : 'linear.weight']: [ops.transposedProduct(dLogits, h)],
      'linear.bias': [ops.columnSums(dLogits)],
    } as Gradients,
  };
}

/** From the gradient of layer k's output to that of its h, both [T*B, H]. */
function normBackward({ ops, weights }: Network, k: number, { norm: trace }: LayerTrace, dOutput: Matrix) {
  const { norm } = weights.layers[k];
  if (!norm || !trace) return { dH: dOutput, gradients: {} };
  const { dInput, dWeight, dBias } = normalizeBackward(ops, dOutput, trace, norm);
  return { dH: dInput, gradients: { [`norms.${k}.weight`]: [dWeight], [`norms.${k}.bias`]: [dBias] } };
}

/**
 * Layer k: d(loss)/dh [T*B, H] -> d(loss)/d(output of the layer below), if there is one, and the
 * layer's gradients.
 */
function backThrough(network: Network, k: number, trace: LayerTrace, characters: Characters, dH: Matrix) {
  const { ops, config, weights } = network;
  const { groups } = weights.layers[k];
  const name = (tensor: string) => `${CELL_SHAPES[config.cell].module}.${tensor}_l${k}`;
  const { dInput, dHidden, recurrentInputs } = layerBackward(ops, config, weights.layers[k], trace, dH);
  const { input } = trace;
  const gradients: Gradients = {
    [name('weight_hh')]: dHidden.map((d, group) => ops.transposedProduct(d, recurrentInputs[group])),
    ...(config.cell === 'gru-reset-after' && { [name('bias_hn')]: [ops.columnSums(dHidden[1])] }),
  };
  if (!input) {
    const { dEmbedding, dInputWeights, dBiases } = characterGradients(network, groups, characters, dInput);
    Object.assign(gradients, dEmbedding, { [name('weight_ih')]: dInputWeights, [name('bias_ih')]: dBiases });
    return { gradients, dInput: [] };
  }
  gradients[name('weight_ih')] = dInput.map((d) => ops.transposedProduct(d, input));
  gradients[name('bias_ih')] = dInput.map((d) => ops.columnSums(d));
  const below = dInput
    .map((d, group) => ops.tf.matMul<Matrix>(d, groups[group].input))
    .reduce((sum, part) => ops.tf.add(sum, part));
  return { gradients, dInput: [below] };
}

/**
 * Gradients of the first layer, through d(loss)/d(table) [V, gates * H], table = embedding
 * weight_ih^T + bias.
 */
function characterGradients(
  { ops, weights: { embedding } }: Network,
  groups: readonly GroupWeights[],
  characters: Characters,
  dInput: readonly Matrix[],
) {
  const { tf } = ops;
  const dTables = dInput.map((d) => characters.collect(d));
  const dBiases = dTables.map((d) => ops.columnSums(d));
  if (!embedding) return { dEmbedding: {}, dBiases, dInputWeights: dTables.map((d) => ops.transpose(d)) };
  const dRows = dTables.map((d, group) => tf.matMul(d, groups[group].input));
  return {
    dEmbedding: { 'embedding.weight': [dRows.reduce((sum, part) => tf.add(sum, part))] },
    dBiases,
    dInputWeights: dTables.map((d) => ops.transposedProduct(d, embedding)),
  };
}
