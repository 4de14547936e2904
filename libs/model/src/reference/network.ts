import { CELL_SHAPES, type Cell, type ModelConfig } from '../config.js';
import { dropoutMask, dropoutOf, usesDropout } from '../dropout.js';
import type { Batch } from '../engine.js';
import { createLayout, stateSize } from '../layout.js';
import type { Layer, RecurrentCell } from './cell.js';
import { gruCell, gruResetAfterCell } from './gru.js';
import { add, addOuter, addTransposed, affine } from './linear-algebra.js';
import { lstmCell } from './lstm.js';
import { normalise, normaliseBackward, type Norm } from './norm.js';
import { rnnReluCell, rnnTanhCell } from './rnn.js';

/** float64 throughout; the caller owns the arrays. */
export interface ReferenceResult {
  /** Sum of negative log-likelihood over the B*T targets, nats. */
  readonly lossSum: number;
  /** [B, L, S, H] */
  readonly endStates: Float64Array;
}

const cells: Readonly<Record<Cell, RecurrentCell>> = {
  lstm: lstmCell,
  gru: gruCell,
  'gru-reset-after': gruResetAfterCell,
  'rnn-tanh': rnnTanhCell,
  'rnn-relu': rnnReluCell,
};

/** Views into one flat vector: parameters or their gradient. */
export interface Network {
  /** [V, E]; empty if characters enter one-hot. */
  readonly embedding: Float64Array;
  readonly layers: readonly Layer[];
  /** One per layer, or none. */
  readonly norms: readonly Norm[];
  /** [V, H]; the embedding itself if tied. */
  readonly linearWeight: Float64Array;
  /** [V] */
  readonly linearBias: Float64Array;
}

export function carve(config: ModelConfig, vector: Float64Array): Network {
  const { module } = CELL_SHAPES[config.cell];
  const views = new Map(
    createLayout(config).tensors.map(({ name, offset, size }) => [name, vector.subarray(offset, offset + size)]),
  );
  const view = (name: string): Float64Array => views.get(name) ?? new Float64Array();
  const layers = Array.from({ length: config.layers }, (_, k) => ({
    weightIh: view(`${module}.weight_ih_l${k}`),
    weightHh: view(`${module}.weight_hh_l${k}`),
    biasIh: view(`${module}.bias_ih_l${k}`),
    biasHn: view(`${module}.bias_hn_l${k}`),
  }));
  const norms = config.layerNorm
    ? layers.map((_, k) => ({ weight: view(`norms.${k}.weight`), bias: view(`norms.${k}.bias`) }))
    : [];
  const embedding = view('embedding.weight');
  const linearWeight = config.tied ? embedding : view('linear.weight');
  return { embedding, layers, norms, linearWeight, linearBias: view('linear.bias') };
}

/** One layer over one stream's window; row t + 1 of `states` is the state after time step t. */
export interface LayerTrace {
  /** T rows of [I]. */
  readonly inputs: readonly Float64Array[];
  /** T + 1 rows of [S, H]. */
  readonly states: readonly Float64Array[];
  /** T rows of [savedVectors, H]. */
  readonly saved: readonly Float64Array[];
}

const rows = (count: number, length: number): Float64Array[] => Array.from({ length: count }, () => new Float64Array(length));

/** T rows of h [H]. */
export const hiddenOf = ({ states }: LayerTrace, H: number): Float64Array[] =>
  states.slice(1).map((after) => after.subarray(0, H));

/** T rows of [H]: the layer's output before dropout. */
export function outputsOf(trace: LayerTrace, H: number, norm: Norm | undefined): Float64Array[] {
  const hidden = hiddenOf(trace, H);
  return norm ? hidden.map((row) => normalise(row, norm)) : hidden;
}

function layerForward({ cell, hidden: H }: ModelConfig, layer: Layer, inputs: readonly Float64Array[], start: Float64Array) {
  const { forward, savedVectors } = cells[cell];
  const states = [start, ...rows(inputs.length, start.length)];
  const saved = rows(inputs.length, savedVectors * H);
  inputs.forEach((x, t) => {
    const fromInput = affine(layer.weightIh, x, layer.biasIh);
    forward(layer, { fromInput, before: states[t], after: states[t + 1], saved: saved[t] });
  });
  return { inputs, states, saved };
}

/**
 * Adds to `gradient`; `dOutputs` are T rows of d(loss)/dh [H] from above. Returns T rows of
 * d(loss)/d(input) [I]. `look` receives d(loss)/d(state) of every time step, [H], or [2H] where the
 * cell carries c too, including the gradient from later time steps.
 */
export function layerBackward(
  { cell }: ModelConfig,
  layer: Layer,
  { inputs, states, saved }: LayerTrace,
  dOutputs: readonly Float64Array[],
  gradient: Layer,
  look: (t: number, dState: Float64Array) => void = () => {},
): Float64Array[] {
  const dInputs = rows(inputs.length, inputs[0].length);
  const dFromInput = new Float64Array(layer.biasIh.length);
  // Truncated: no gradient flows back from after the window.
  let dAfter = new Float64Array(states[0].length);
  let dBefore = new Float64Array(states[0].length);
  for (let t = inputs.length - 1; t >= 0; t--) {
    add(dOutputs[t], dAfter.subarray(0, dOutputs[t].length));
    look(t, dAfter);
    const step = { before: states[t], after: states[t + 1], saved: saved[t], dAfter, dFromInput, dBefore };
    cells[cell].backward(layer, step, gradient);
    addTransposed(layer.weightIh, dFromInput, dInputs[t]);
    addOuter(dFromInput, inputs[t], gradient.weightIh);
    add(dFromInput, gradient.biasIh);
    [dAfter, dBefore] = [dBefore, dAfter];
  }
  return dInputs;
}

/** Softmax cross-entropy, nats. `logits` [V] become d(loss)/d(logits). */
export function softmaxLoss(logits: Float64Array, target: number): number {
  const greatest = logits.reduce((a, b) => Math.max(a, b));
  const normalizer = greatest + Math.log(logits.reduce((sum, logit) => sum + Math.exp(logit - greatest), 0));
  const loss = normalizer - logits[target];
  for (let v = 0; v < logits.length; v++) logits[v] = Math.exp(logits[v] - normalizer);
  logits[target] -= 1;
  return loss;
}

/** The input of layer 0: the character's embedding [E], or one-hot [V]. */
function inputOf({ vocabulary: V, embedding: E = 0 }: ModelConfig, { embedding }: Network, token: number): Float64Array {
  if (E > 0) return embedding.subarray(token * E, (token + 1) * E);
  const row = new Float64Array(V);
  row[token] = 1;
  return row;
}

/** For each layer, T rows of [H]; empty if nothing is dropped. */
type Masks = readonly (readonly Float32Array[])[];

function masksOf(config: ModelConfig, batch: Batch, stream: number): Masks {
  const key = batch.dropout;
  if (!usesDropout(config) || !key) return [];
  return Array.from({ length: config.layers }, (_, k) =>
    Array.from({ length: batch.window }, (_, t) => {
      const mask = new Float32Array(config.hidden);
      dropoutMask(dropoutOf(config, k), key, k, stream, t, mask);
      return mask;
    }),
  );
}

const masked = (values: readonly Float64Array[], masks: readonly Float32Array[] | undefined): readonly Float64Array[] =>
  masks ? values.map((row, t) => row.map((value, j) => value * masks[t][j])) : values;

/** Runs one stream through all layers. `state` [L, S, H] before the window. */
export function forward(
  config: ModelConfig,
  network: Network,
  ids: Uint16Array,
  state: Float64Array,
  masks: Masks,
): LayerTrace[] {
  const size = state.length / config.layers;
  let below: readonly Float64Array[] = Array.from(ids, (token) => inputOf(config, network, token));
  return network.layers.map((layer, k) => {
    const trace = layerForward(config, layer, below, state.subarray(k * size, (k + 1) * size));
    below = masked(outputsOf(trace, config.hidden, network.norms[k]), masks[k]);
    return trace;
  });
}

/**
 * Loss and end states of `batch`, with dropout if it has a dropout key. Adds
 * d(lossSum)/d(parameters) to `gradient` [P] if given. The caller checks shapes (checkBatch,
 * checkParameters).
 */
export function referencePass(
  config: ModelConfig,
  parameters: Float64Array,
  batch: Batch,
  gradient?: Float64Array,
): ReferenceResult {
  const { streams: B, window: T, tokens, states } = batch;
  const network = carve(config, parameters);
  const gradients = gradient && carve(config, gradient);
  const size = stateSize(config);
  const endStates = new Float64Array(B * size);
  let lossSum = 0;
  for (let b = 0; b < B; b++) {
    const ids = tokens.subarray(b * (T + 1), (b + 1) * (T + 1));
    const masks = masksOf(config, batch, b);
    const start = Float64Array.from(states.subarray(b * size, (b + 1) * size));
    const traces = forward(config, network, ids.subarray(0, T), start, masks);
    traces.forEach((trace, k) => endStates.set(trace.states[T], b * size + (k * size) / config.layers));
    const outputs = masked(outputsOf(traces.at(-1)!, config.hidden, network.norms.at(-1)), masks.at(-1));
    const dLogits = outputs.map((output) => affine(network.linearWeight, output, network.linearBias));
    dLogits.forEach((row, t) => (lossSum += softmaxLoss(row, ids[t + 1])));
    if (gradients) backward(config, network, { ids, masks, traces, outputs, dLogits }, gradients);
  }
  return { lossSum, endStates };
}

/** One stream's window after the forward pass. */
interface Trace {
  readonly ids: Uint16Array;
  readonly masks: Masks;
  readonly traces: readonly LayerTrace[];
  readonly outputs: readonly Float64Array[];
  readonly dLogits: readonly Float64Array[];
}

function backward(
  config: ModelConfig,
  network: Network,
  { ids, masks, traces, outputs, dLogits }: Trace,
  gradients: Network,
): void {
  let dOutputs: readonly Float64Array[] = rows(dLogits.length, config.hidden);
  dLogits.forEach((dRow, t) => {
    addTransposed(network.linearWeight, dRow, dOutputs[t]);
    addOuter(dRow, outputs[t], gradients.linearWeight);
    add(dRow, gradients.linearBias);
  });
  for (let k = config.layers - 1; k >= 0; k--) {
    dOutputs = masked(dOutputs, masks[k]);
    const norm = network.norms[k];
    if (norm) {
      const hidden = hiddenOf(traces[k], config.hidden);
      dOutputs = dOutputs.map((row, t) => normaliseBackward(hidden[t], row, norm, gradients.norms[k]));
    }
    dOutputs = layerBackward(config, network.layers[k], traces[k], dOutputs, gradients.layers[k]);
  }
  if (gradients.embedding.length > 0) dOutputs.forEach((row, t) => add(row, inputOf(config, gradients, ids[t])));
}

/** One time step of one stream: `state` [L, S, H] is overwritten; returns logits [V]. */
export function referenceStep(config: ModelConfig, parameters: Float64Array, token: number, state: Float64Array): Float64Array {
  const network = carve(config, parameters);
  const traces = forward(config, network, Uint16Array.of(token), state.slice(), []);
  traces.forEach((trace, k) => state.set(trace.states[1], (k * state.length) / config.layers));
  const [output] = outputsOf(traces.at(-1)!, config.hidden, network.norms.at(-1));
  return affine(network.linearWeight, output, network.linearBias);
}
