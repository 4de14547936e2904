/**
 * Dimension letters used throughout: B streams in a batch, T time steps in a window, V vocabulary size, H hidden units,
 * L layers, E embedding size, G = gates * H (4H for an LSTM, 3H for a GRU, H for an RNN), S state vectors per layer (2 for an LSTM:
 * h and C; 1 for GRU and RNN).
 */

import type { Cell } from '@troupe/config';

export { CELLS, type Cell, type ModelConfig } from '@troupe/config';

export interface CellShape {
  /** Name of PyTorch's module: tensors are `<module>.weight_ih_l0` and so on. */
  readonly module: 'lstm' | 'gru' | 'rnn';
  /** G / H. Rows of a weight matrix stand in PyTorch's order: i, f, g, o; r, z, n. */
  readonly gates: number;
  /** S; the first vector is h, the cell's output. */
  readonly stateVectors: number;
}

export const CELL_SHAPES: Readonly<Record<Cell, CellShape>> = {
  lstm: { module: 'lstm', gates: 4, stateVectors: 2 },
  gru: { module: 'gru', gates: 3, stateVectors: 1 },
  'gru-reset-after': { module: 'gru', gates: 3, stateVectors: 1 },
  'rnn-tanh': { module: 'rnn', gates: 1, stateVectors: 1 },
  'rnn-relu': { module: 'rnn', gates: 1, stateVectors: 1 },
};

/** What the variance is raised by before its root is divided by. */
export const LAYER_NORM_EPSILON = 1e-5;
