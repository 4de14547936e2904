import { checkBatch, checkParameters } from '../batch.js';
import type { ModelConfig } from '../config.js';
import type { Batch } from '../engine.js';
import { stateSize } from '../layout.js';
import { addTransposed, affine } from './linear-algebra.js';
import { carve, forward, hiddenOf, layerBackward, outputsOf, softmaxLoss, type Network } from './network.js';
import { normaliseBackward } from './norm.js';

/**
 * How far back the error of a window's last character reaches: the norm of d(its loss)/d(state_t), for
 * every layer and time step, as the mean over the streams of the batch; without dropout. If it
 * shrinks step by step, the network cannot learn from what lies further back; if it grows, only
 * clipping bounds the update. The state is what a layer hands to its next step: h, and for an LSTM h and c
 * as one vector. Of an LSTM, h alone says little: what it remembers travels in c.
 *
 * @param parameters [P]
 * @returns [L][T]; index 0 is the last time step, index i is i steps before it
 * @throws EngineError `bad_shape`
 */
export function gradientFlow(config: ModelConfig, parameters: Float64Array, batch: Batch): number[][] {
  checkParameters(config, parameters);
  checkBatch(config, { maxStreams: Infinity, maxWindow: Infinity }, batch);
  const network = carve(config, parameters);
  // The pass computes the gradients of the parameters too; they are not used.
  const scratch = carve(config, new Float64Array(parameters.length));
  const flow = Array.from({ length: config.layers }, () => new Array<number>(batch.window).fill(0));
  for (let b = 0; b < batch.streams; b++) {
    streamFlow(config, network, scratch, batch, b, (layer, t, norm) => {
      flow[layer][batch.window - 1 - t] += norm / batch.streams;
    });
  }
  return flow;
}

function streamFlow(
  config: ModelConfig,
  network: Network,
  scratch: Network,
  { window: T, tokens, states }: Batch,
  stream: number,
  add: (layer: number, t: number, norm: number) => void,
): void {
  const size = stateSize(config);
  const ids = tokens.subarray(stream * (T + 1), (stream + 1) * (T + 1));
  const start = Float64Array.from(states.subarray(stream * size, (stream + 1) * size));
  const traces = forward(config, network, ids.subarray(0, T), start, []);
  const top = outputsOf(traces.at(-1)!, config.hidden, network.norms.at(-1));
  const dLogits = affine(network.linearWeight, top[T - 1], network.linearBias);
  softmaxLoss(dLogits, ids[T]);
  let dOutputs: readonly Float64Array[] = top.map(({ length }) => new Float64Array(length));
  addTransposed(network.linearWeight, dLogits, dOutputs[T - 1]);
  for (let k = config.layers - 1; k >= 0; k--) {
    const norm = network.norms[k];
    if (norm) {
      const hidden = hiddenOf(traces[k], config.hidden);
      dOutputs = dOutputs.map((row, t) => normaliseBackward(hidden[t], row, norm, scratch.norms[k]));
    }
    dOutputs = layerBackward(config, network.layers[k], traces[k], dOutputs, scratch.layers[k], (t, dState) =>
      add(k, t, Math.sqrt(dState.reduce((sum, value) => sum + value * value, 0))),
    );
  }
}
