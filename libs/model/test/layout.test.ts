import { expect, it } from 'vitest';
import { CELLS, createLayout, parameterCount, stateSize, type ModelConfig } from '../src/index.js';

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

it("gives a GRU three gates, an RNN one, and a gru-reset-after the candidate's recurrent bias", () => {
  const shapes = (cell: ModelConfig['cell']) =>
    createLayout({ ...config, cell, layers: 1 }).tensors.map(({ name, shape }) => [name, ...shape]);
  const linear = [
    ['linear.weight', 7, 4],
    ['linear.bias', 7],
  ];
  const gru = [
    ['gru.weight_ih_l0', 12, 7],
    ['gru.weight_hh_l0', 12, 4],
    ['gru.bias_ih_l0', 12],
  ];
  expect(shapes('gru')).toEqual([...gru, ...linear]);
  expect(shapes('gru-reset-after')).toEqual([...gru, ['gru.bias_hn_l0', 4], ...linear]);
  expect(shapes('rnn-relu')).toEqual([['rnn.weight_ih_l0', 4, 7], ['rnn.weight_hh_l0', 4, 4], ['rnn.bias_ih_l0', 4], ...linear]);
});

it('puts an embedding first and omits the output weight if tied', () => {
  const names = (change: Partial<ModelConfig>) => createLayout({ ...config, ...change }).tensors.map(({ name }) => name);
  expect(names({ embedding: 3 })[0]).toBe('embedding.weight');
  expect(names({ embedding: 4, tied: true })).not.toContain('linear.weight');
});

it('counts parameters without creating the layout', () => {
  for (const cell of CELLS) {
    for (const options of [{}, { embedding: 5 }, { embedding: 4, tied: true }, { layerNorm: true }]) {
      const model = { ...config, cell, ...options };
      expect(parameterCount(model)).toBe(createLayout(model).size);
    }
  }
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

it('has the same hash for the same shapes and a different one for any other', () => {
  const hash = (change: Partial<ModelConfig>) => createLayout({ ...config, ...change }).hash;
  expect(hash({})).toMatch(/^[0-9a-f]{16}$/);
  expect(hash({})).toBe(createLayout(config).hash);
  expect(new Set([hash({}), hash({ layers: 3 }), hash({ hidden: 5 }), hash({ vocabulary: 8 })]).size).toBe(4);
  expect(new Set(CELLS.map((cell) => hash({ cell }))).size).toBe(CELLS.length);
  expect(hash({ embedding: 4 })).not.toBe(hash({ embedding: 4, tied: true }));
});
