import { CELL_SHAPES, type ModelConfig } from './config.js';
import type { ParameterLayout } from './layout.js';
import { createRandom } from './random.js';

/**
 * The initial parameters [P] of a run:
 *
 * - every tensor of the recurrent layers and the output layer: uniform(-1/sqrt(H), 1/sqrt(H)), as
 *   in PyTorch
 * - an LSTM's forget-gate bias (rows H..2H of bias_ih): `forgetBias`, by default 1, so that cells
 *   remember from the start
 *   (Jozefowicz, Zaremba & Sutskever 2015)
 * - an embedding: uniform with variance 1, which is PyTorch's variance; a tied one: like the
 *   output layer
 * - layer normalisation: weights 1, biases 0
 *
 * The same (config, seed, forgetBias) gives the same bits on every host: tensor t draws from
 * stream t of PCG32, and only exactly rounded operations (square root, division, multiplication,
 * rounding to float32) follow.
 * @param seed whole number below 2^32
 */
export function initialParameters(config: ModelConfig, layout: ParameterLayout, seed: number, forgetBias = 1): Float32Array {
  const H = config.hidden;
  const parameters = new Float32Array(layout.size);
  layout.tensors.forEach(({ name, offset, size }, index) => {
    const random = createRandom(seed, index);
    const bound = name === 'embedding.weight' && !config.tied ? Math.sqrt(3) : 1 / Math.sqrt(H);
    if (name.startsWith('norms.')) {
      parameters.fill(name.endsWith('.weight') ? 1 : 0, offset, offset + size);
      return;
    }
    for (let i = offset; i < offset + size; i++) parameters[i] = (2 * random.uniform() - 1) * bound;
    if (config.cell === 'lstm' && name.startsWith(`${CELL_SHAPES.lstm.module}.bias_ih_`)) {
      parameters.fill(forgetBias, offset + H, offset + 2 * H);
    }
  });
  return parameters;
}
