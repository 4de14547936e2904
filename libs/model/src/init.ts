import type { ModelConfig } from './config.js';
import type { ParameterLayout } from './layout.js';
import { createRandom } from './random.js';

/**
 * The parameters [P] a run starts from: PyTorch's uniform(-1/sqrt(H), 1/sqrt(H)) for every tensor, and an LSTM's forget-gate bias
 * (rows H..2H of bias_ih) set to 1, so that cells remember from the start (Jozefowicz, Zaremba & Sutskever 2015). The same
 * (layout, seed) gives the same bits on every host: tensor t draws from stream t of PCG32, and only exactly rounded operations
 * (square root, division, multiplication, rounding to float32) follow.
 * @param seed whole number below 2^32
 */
export function initialParameters(config: ModelConfig, layout: ParameterLayout, seed: number): Float32Array {
  const H = config.hidden;
  const bound = 1 / Math.sqrt(H);
  const parameters = new Float32Array(layout.size);
  layout.tensors.forEach(({ name, offset, size }, index) => {
    const random = createRandom(seed, index);
    for (let i = offset; i < offset + size; i++) parameters[i] = (2 * random.uniform() - 1) * bound;
    if (config.cell === 'lstm' && name.startsWith('lstm.bias_ih_')) parameters.fill(1, offset + H, offset + 2 * H);
  });
  return parameters;
}
