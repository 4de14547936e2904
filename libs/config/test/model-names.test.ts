import { describe, expect, it } from 'vitest';
import { CELL_NAMES, CELLS, modelConfig, modelName } from '../src/index.js';

describe('the name of a model', () => {
  it.each([
    [{}, '2x256 LSTM'],
    [{ cell: 'gru', dropout: 0.25, embedding: 64 }, '2x256 GRU, dropout 0.25, embedding 64'],
    [{ cell: 'gru-reset-after', embedding: 256, tied: true }, '2x256 reset-after GRU, embedding 256 tied'],
    [{ cell: 'rnn-relu', layers: 1 }, '1x256 ReLU RNN'],
    [{ layerNorm: true }, '2x256 LSTM, layer norm'],
    [{ layers: 2, dropout: 0.25, dropoutOutput: 0.5 }, '2x256 LSTM, dropout 0.25, output dropout 0.5'],
    [{ layers: 1, dropout: 0.5 }, '1x256 LSTM, dropout 0.5 (no effect: it acts between layers)'],
  ] as const)('%j: %s', (change, name) => {
    expect(modelName(modelConfig({ layers: 2, vocabulary: 65, ...change }))).toBe(name);
  });

  it('differs for every cell', () => {
    expect(new Set(CELLS.map((cell) => CELL_NAMES[cell])).size).toBe(CELLS.length);
  });
});
