import { modelConfig } from '@troupe/config';
import { describe, expect, it } from 'vitest';
import { CELLS, createLayout, createRandom, stateSize, type Batch, type ModelConfig } from '../src/index.js';
import { gradientFlow, referenceLoss } from '../src/reference/index.js';

const H = 5;
const T = 7;
const model = (over: Partial<ModelConfig>): ModelConfig => modelConfig({ hidden: H, vocabulary: 12, ...over });

function randomVector(length: number, seed: number): Float64Array {
  const random = createRandom(seed);
  return Float64Array.from({ length }, () => random.uniform() - 0.5);
}

/** One of every character. */
const tokens = Uint16Array.from({ length: T + 1 }, (_, t) => (t * 5 + 3) % 12);

function batchOf(ids: Uint16Array, states: Float32Array): Batch {
  return { streams: 1, window: ids.length - 1, tokens: ids, states };
}

const norm = (values: readonly number[]): number => Math.sqrt(values.reduce((sum, value) => sum + value * value, 0));

/** Loss in nats of the last character of `ids` alone, from `states` before the first. */
function lastLoss(config: ModelConfig, parameters: Float64Array, ids: Uint16Array, states: Float32Array): number {
  const all = referenceLoss(config, parameters, batchOf(ids, states)).lossSum;
  if (ids.length === 2) return all;
  return all - referenceLoss(config, parameters, batchOf(ids.slice(0, -1), states)).lossSum;
}

/** States are float32; on a grid of this width the steps below are exact. */
const GRID = 2 ** -18;

/**
 * d(loss of the last character)/d(state_t) of the top layer: splits the window after time step t and
 * perturbs the state there, of an LSTM both h and c.
 */
function byDifferences(config: ModelConfig, parameters: Float64Array, start: Float32Array, t: number): number[] {
  const { endStates } = referenceLoss(config, parameters, batchOf(tokens.slice(0, t + 2), start));
  // Long steps cross kinks, and short ones suffer from rounding.
  const step = config.cell === 'rnn-relu' ? 2 ** -12 : 2 ** -6;
  const top = ((config.layers - 1) * endStates.length) / config.layers;
  const moved = (j: number, by: number): number => {
    const states = Float32Array.from(endStates, (value) => Math.round(value / GRID) * GRID);
    states[top + j] += by;
    return lastLoss(config, parameters, tokens.slice(t + 1), states);
  };
  // Of fourth order, so that the step may be large.
  return Array.from(
    { length: stateSize(config) / config.layers },
    (_, j) => (8 * (moved(j, step) - moved(j, -step)) - (moved(j, 2 * step) - moved(j, -2 * step))) / (12 * step),
  );
}

describe('gradientFlow', () => {
  const cases = CELLS.flatMap((cell) => [model({ cell }), model({ cell, layers: 2, layerNorm: cell === 'gru' })]);

  it.each(cases)('is the norm of d(last loss)/d(state_t) by finite differences: $cell, $layers layers', (config) => {
    const parameters = randomVector(createLayout(config).size, 3);
    const start = Float32Array.from(randomVector(stateSize(config), 4));
    const flow = gradientFlow(config, parameters, batchOf(tokens, start));
    expect(flow.map((layer) => layer.length)).toEqual(new Array(config.layers).fill(T));
    for (let back = 1; back < T; back++) {
      const expected = norm(byDifferences(config, parameters, start, T - 1 - back));
      expect(Math.abs(flow[config.layers - 1][back] - expected)).toBeLessThan(2e-5 + 1e-3 * expected);
    }
  });

  it('includes the effect of a lower layer through the layers above it', () => {
    // An input of H numbers for one character alone changes h_t of layer 0 only through 1 - h^2.
    const config = model({ cell: 'rnn-tanh', layers: 2, embedding: H });
    const layout = createLayout(config);
    const parameters = randomVector(layout.size, 5);
    const tensor = (name: string) => layout.tensors.find((one) => one.name === name)!;
    const input = tensor('rnn.weight_ih_l0');
    for (let i = 0; i < H * H; i++) parameters[input.offset + i] = i % (H + 1) === 0 ? 1 : 0;
    const start = Float32Array.from(randomVector(stateSize(config), 6));
    const flow = gradientFlow(config, parameters, batchOf(tokens, start));
    for (let back = 0; back < T; back++) {
      const t = T - 1 - back;
      const { endStates } = referenceLoss(config, parameters, batchOf(tokens.slice(0, t + 2), start));
      const slopes = Array.from({ length: H }, (_, j) => {
        const moved = (by: number): number => {
          const others = parameters.slice();
          others[tensor('embedding.weight').offset + tokens[t] * H + j] += by;
          return lastLoss(config, others, tokens, start);
        };
        return (moved(1e-5) - moved(-1e-5)) / 2e-5 / (1 - endStates[j] ** 2);
      });
      expect(flow[0][back]).toBeCloseTo(norm(slopes), 7);
    }
  });

  it('is the mean over the streams', () => {
    const config = model({ cell: 'gru' });
    const parameters = randomVector(createLayout(config).size, 7);
    const size = stateSize(config);
    const states = Float32Array.from(randomVector(2 * size, 8));
    const other = Uint16Array.from(tokens, (token) => (token + 4) % 12);
    const both = { streams: 2, window: T, tokens: Uint16Array.from([...tokens, ...other]), states };
    const one = gradientFlow(config, parameters, batchOf(tokens, states.slice(0, size)))[0];
    const two = gradientFlow(config, parameters, batchOf(other, states.slice(size)))[0];
    gradientFlow(config, parameters, both)[0].forEach((value, i) => expect(value).toBeCloseTo((one[i] + two[i]) / 2, 12));
  });
});
