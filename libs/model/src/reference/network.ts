import type { Cell, ModelConfig } from '../config.js';
import type { Batch } from '../engine.js';
import { createLayout, stateSize } from '../layout.js';
import { lstmCell, type RecurrentCell } from './cell.js';
import { addOuter, addTransposed, affine } from './linear-algebra.js';

/** float64 throughout; arrays are the caller's to keep. */
export interface ReferenceResult {
  /** Sum of negative log-likelihood over the B*T targets, nats. */
  readonly lossSum: number;
  /** [B, L, S, H] */
  readonly endStates: Float64Array;
}

const cells: Readonly<Record<Cell, RecurrentCell>> = { lstm: lstmCell };

/** Views into one flat vector, of parameters or of their gradient. */
interface Layer {
  /** [G, I], I = k ? H : V. */
  readonly weightIh: Float64Array;
  /** [G, H] */
  readonly weightHh: Float64Array;
  /** [G] */
  readonly biasIh: Float64Array;
}

interface Network {
  readonly layers: readonly Layer[];
  /** [V, H] */
  readonly linearWeight: Float64Array;
  /** [V] */
  readonly linearBias: Float64Array;
}

function carve(config: ModelConfig, vector: Float64Array): Network {
  const views = new Map(
    createLayout(config).tensors.map(({ name, offset, size }) => [name, vector.subarray(offset, offset + size)]),
  );
  const view = (name: string): Float64Array => views.get(name)!;
  const layers = Array.from({ length: config.layers }, (_, k) => ({
    weightIh: view(`lstm.weight_ih_l${k}`),
    weightHh: view(`lstm.weight_hh_l${k}`),
    biasIh: view(`lstm.bias_ih_l${k}`),
  }));
  return { layers, linearWeight: view('linear.weight'), linearBias: view('linear.bias') };
}

/** One layer over one stream's window; row t + 1 of `states` is the state after time step t. */
interface LayerTrace {
  /** T rows of [I]. */
  readonly inputs: readonly Float64Array[];
  /** T + 1 rows of [S, H]. */
  readonly states: readonly Float64Array[];
  /** T rows of [savedVectors, H]. */
  readonly saved: readonly Float64Array[];
}

const rows = (count: number, length: number): Float64Array[] => Array.from({ length: count }, () => new Float64Array(length));

function layerForward(
  cell: RecurrentCell,
  H: number,
  layer: Layer,
  inputs: readonly Float64Array[],
  start: Float64Array,
): LayerTrace {
  const G = cell.gates * H;
  const states = [start, ...rows(inputs.length, cell.stateVectors * H)];
  const saved = rows(inputs.length, cell.savedVectors * H);
  const fromInput = new Float64Array(G);
  const fromHidden = new Float64Array(G);
  const noBias = new Float64Array(G);
  inputs.forEach((x, t) => {
    affine(layer.weightIh, x, layer.biasIh, fromInput);
    affine(layer.weightHh, states[t].subarray(0, H), noBias, fromHidden);
    cell.forward(H, fromInput, fromHidden, states[t], states[t + 1], saved[t]);
  });
  return { inputs, states, saved };
}

/** Adds to `gradient`; `dOutputs` are T rows of d(loss)/dh [H] from above. Returns T rows of d(loss)/d(input) [I]. */
function layerBackward(
  cell: RecurrentCell,
  H: number,
  layer: Layer,
  trace: LayerTrace,
  dOutputs: readonly Float64Array[],
  gradient: Layer,
) {
  const { inputs, states, saved } = trace;
  const G = cell.gates * H;
  const dInputs = rows(inputs.length, inputs[0].length);
  const dFromInput = new Float64Array(G);
  const dFromHidden = new Float64Array(G);
  // Truncated: nothing flows back from behind the window.
  let dAfter = new Float64Array(cell.stateVectors * H);
  let dBefore = new Float64Array(cell.stateVectors * H);
  for (let t = inputs.length - 1; t >= 0; t--) {
    for (let j = 0; j < H; j++) dAfter[j] += dOutputs[t][j];
    cell.backward(H, { before: states[t], saved: saved[t], dAfter, dFromInput, dFromHidden, dBefore });
    addTransposed(layer.weightHh, dFromHidden, dBefore.subarray(0, H));
    addTransposed(layer.weightIh, dFromInput, dInputs[t]);
    addOuter(dFromInput, inputs[t], gradient.weightIh);
    addOuter(dFromHidden, states[t].subarray(0, H), gradient.weightHh);
    for (let row = 0; row < G; row++) gradient.biasIh[row] += dFromInput[row];
    [dAfter, dBefore] = [dBefore, dAfter];
  }
  return dInputs;
}

/** Softmax cross-entropy, nats. `logits` [V] become d(loss)/d(logits). */
function softmaxLoss(logits: Float64Array, target: number): number {
  const greatest = logits.reduce((a, b) => Math.max(a, b));
  const normalizer = greatest + Math.log(logits.reduce((sum, logit) => sum + Math.exp(logit - greatest), 0));
  const loss = normalizer - logits[target];
  for (let v = 0; v < logits.length; v++) logits[v] = Math.exp(logits[v] - normalizer);
  logits[target] -= 1;
  return loss;
}

function oneHot(token: number, V: number): Float64Array {
  const row = new Float64Array(V);
  row[token] = 1;
  return row;
}

/** Runs one stream through all layers. `state` [L, S, H] before the window. */
function forward(config: ModelConfig, network: Network, inputs: Float64Array[], state: Float64Array): LayerTrace[] {
  const cell = cells[config.cell];
  const H = config.hidden;
  const size = cell.stateVectors * H;
  let below = inputs;
  return network.layers.map((layer, k) => {
    const trace = layerForward(cell, H, layer, below, state.subarray(k * size, (k + 1) * size));
    below = trace.states.slice(1).map((after) => after.subarray(0, H));
    return trace;
  });
}

/**
 * Loss and end states of `batch`; with `gradient` [P], adds d(lossSum)/d(parameters) to it. Shapes are the caller's to check
 * (checkBatch, checkParameters).
 */
export function referencePass(
  config: ModelConfig,
  parameters: Float64Array,
  batch: Batch,
  gradient?: Float64Array,
): ReferenceResult {
  const { hidden: H, vocabulary: V } = config;
  const { streams: B, window: T, tokens, states } = batch;
  const network = carve(config, parameters);
  const gradients = gradient && carve(config, gradient);
  const size = stateSize(config);
  const endStates = new Float64Array(B * size);
  let lossSum = 0;
  for (let b = 0; b < B; b++) {
    const ids = tokens.subarray(b * (T + 1), (b + 1) * (T + 1));
    const inputs = Array.from(ids.subarray(0, T), (token) => oneHot(token, V));
    const traces = forward(config, network, inputs, Float64Array.from(states.subarray(b * size, (b + 1) * size)));
    traces.forEach((trace, k) => endStates.set(trace.states[T], b * size + (k * size) / config.layers));
    const outputs = traces
      .at(-1)!
      .states.slice(1)
      .map((after) => after.subarray(0, H));
    const dLogits = outputs.map((output) => affine(network.linearWeight, output, network.linearBias, new Float64Array(V)));
    dLogits.forEach((row, t) => (lossSum += softmaxLoss(row, ids[t + 1])));
    if (gradients) backward(config, network, traces, outputs, dLogits, gradients);
  }
  return { lossSum, endStates };
}

function backward(
  config: ModelConfig,
  network: Network,
  traces: readonly LayerTrace[],
  outputs: readonly Float64Array[],
  dLogits: readonly Float64Array[],
  gradients: Network,
): void {
  const H = config.hidden;
  let dOutputs = rows(dLogits.length, H);
  dLogits.forEach((dRow, t) => {
    addTransposed(network.linearWeight, dRow, dOutputs[t]);
    addOuter(dRow, outputs[t], gradients.linearWeight);
    for (let v = 0; v < dRow.length; v++) gradients.linearBias[v] += dRow[v];
  });
  for (let k = config.layers - 1; k >= 0; k--) {
    dOutputs = layerBackward(cells[config.cell], H, network.layers[k], traces[k], dOutputs, gradients.layers[k]);
  }
}

/** One time step of one stream: `state` [L, S, H] is overwritten; returns logits [V]. */
export function referenceStep(config: ModelConfig, parameters: Float64Array, token: number, state: Float64Array): Float64Array {
  const network = carve(config, parameters);
  const traces = forward(config, network, [oneHot(token, config.vocabulary)], state.slice());
  traces.forEach((trace, k) => state.set(trace.states[1], (k * state.length) / config.layers));
  const output = traces.at(-1)!.states[1].subarray(0, config.hidden);
  return affine(network.linearWeight, output, network.linearBias, new Float64Array(config.vocabulary));
}
