import { expect, it } from 'vitest';
import { createLayout, stateSize, type ModelConfig } from '../src/index.js';

const config: ModelConfig = { cell: 'lstm', layers: 2, hidden: 4, vocabulary: 7 };

it("names and shapes tensors as the state dict of PyTorch's nn.LSTM and nn.Linear", () => {
  expect(createLayout(config).tensors.map(({ name, shape }) => [name, ...shape])).toEqual([
    ['lstm.weight_ih_l0', 16, 7],
    ['lstm.weight_hh_l0', 16, 4],
    ['lstm.bias_ih_l0', 16],
    ['lstm.weight_ih_l1', 16, 4],
    ['lstm.weight_hh_l1', 16, 4],
    ['lstm.bias_ih_l1', 16],
    ['linear.weight', 7, 4],
    ['linear.bias', 7],
  ]);
});

it('covers the flat vector without gap or overlap', () => {
  const { tensors, size } = createLayout(config);
  let next = 0;
  for (const tensor of tensors) {
    expect(tensor.offset).toBe(next);
    next += tensor.size;
  }
  expect(size).toBe(next);
  expect(stateSize(config)).toBe(2 * 2 * 4);
});

it('hashes alike for the same shapes and differently for any other', () => {
  const hash = (change: Partial<ModelConfig>) => createLayout({ ...config, ...change }).hash;
  expect(hash({})).toMatch(/^[0-9a-f]{16}$/);
  expect(hash({})).toBe(createLayout(config).hash);
  expect(new Set([hash({}), hash({ layers: 3 }), hash({ hidden: 5 }), hash({ vocabulary: 8 })]).size).toBe(4);
});
