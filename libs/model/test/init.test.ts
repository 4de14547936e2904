import { expect, it } from 'vitest';
import { createLayout, initialParameters, type ModelConfig } from '../src/index.js';

const config: ModelConfig = { cell: 'lstm', layers: 2, hidden: 24, vocabulary: 65 };
const layout = createLayout(config);
const tensor = (parameters: Float32Array, name: string) => {
  const { offset, size } = layout.tensors.find((spec) => spec.name === name)!;
  return parameters.subarray(offset, offset + size);
};

it('is uniform within 1/sqrt(H) in every tensor', () => {
  const parameters = initialParameters(config, layout, 1);
  const bound = 1 / Math.sqrt(config.hidden);
  for (const { name } of layout.tensors.filter((spec) => spec.shape.length === 2)) {
    const values = tensor(parameters, name);
    const spread = values.reduce((sum, x) => sum + x * x, 0) / values.length;
    expect(Math.max(...values)).toBeLessThanOrEqual(Math.fround(bound));
    expect(Math.min(...values)).toBeGreaterThanOrEqual(Math.fround(-bound));
    expect(Math.abs(spread / (bound ** 2 / 3) - 1), name).toBeLessThan(0.1);
  }
});

it('sets the forget-gate bias of every layer to 1 and no other bias', () => {
  const parameters = initialParameters(config, layout, 1);
  for (const name of ['lstm.bias_ih_l0', 'lstm.bias_ih_l1']) {
    const ones = Array.from(tensor(parameters, name), (value) => value === 1);
    expect(ones).toEqual(ones.map((_, row) => row >= config.hidden && row < 2 * config.hidden));
  }
});

it('returns the same bits on every host for a seed', () => {
  // The expected hash comes from 64-bit integers and numpy, not from this code.
  const parameters = initialParameters(config, layout, 1);
  const words = new Uint32Array(parameters.buffer);
  let hash = 0x811c9dc5;
  for (const word of words) hash = Math.imul(hash ^ word, 0x01000193);
  expect((hash >>> 0).toString(16)).toBe('b0eab3be');
});

it('returns different parameters for another seed and for every tensor', () => {
  const [one, two] = [1, 2].map((seed) => initialParameters(config, layout, seed));
  expect(one).not.toEqual(two);
  const hh = (layer: number) => tensor(one, `lstm.weight_hh_l${layer}`);
  expect(hh(0)).not.toEqual(hh(1));
});

it('starts layer normalisation with weights 1 and biases 0, and an untied embedding with variance 1', () => {
  const start = (change: Partial<ModelConfig>, name: string) => {
    const model = { ...config, ...change };
    const all = createLayout(model);
    const { offset, size } = all.tensors.find((spec) => spec.name === name)!;
    return initialParameters(model, all, 1).subarray(offset, offset + size);
  };
  expect(start({ layerNorm: true }, 'norms.1.weight').every((value) => value === 1)).toBe(true);
  expect(start({ layerNorm: true }, 'norms.1.bias').every((value) => value === 0)).toBe(true);
  const variance = (values: Float32Array) => values.reduce((sum, x) => sum + x * x, 0) / values.length;
  expect(Math.abs(variance(start({ embedding: 40 }, 'embedding.weight')) - 1)).toBeLessThan(0.1);
  expect(variance(start({ embedding: 24, tied: true }, 'embedding.weight'))).toBeLessThan(1 / 24);
});

it("starts an LSTM's forget gates with the requested bias", () => {
  const { offset } = layout.tensors.find(({ name }) => name === 'lstm.bias_ih_l1')!;
  const parameters = initialParameters(config, layout, 1, 2.5);
  expect(parameters[offset + config.hidden]).toBe(2.5);
  expect(parameters[offset + 2 * config.hidden - 1]).toBe(2.5);
});
