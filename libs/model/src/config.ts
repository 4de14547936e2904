/**
 * Dimension letters used throughout: B streams in a batch, T time steps in a window, V vocabulary size, H hidden units,
 * L layers, E embedding size, G = gates * H (4H for an LSTM, 3H for a GRU, H for an RNN), S state vectors per layer (2 for an LSTM:
 * h and C; 1 for GRU and RNN).
 */

/**
 * - `lstm`: long short-term memory with a forget gate.
 * - `gru`: gated recurrent unit whose reset gate works before the matrix product: h~ = tanh(W x + U (r * h) + b) (Cho et al. 2014).
 * - `gru-reset-after`: the reset gate works after it: h~ = tanh(W x + b + r * (U h + b_hn)), PyTorch's and cuDNN's form.
 * - `rnn-tanh`, `rnn-relu`: Elman's network, h' = tanh(W x + U h + b), or max(0, ...).
 */
export const CELLS = ['lstm', 'gru', 'gru-reset-after', 'rnn-tanh', 'rnn-relu'] as const;
export type Cell = (typeof CELLS)[number];

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

export interface ModelConfig {
  readonly cell: Cell;
  /** L, layers. */
  readonly layers: number;
  /** H, hidden units per layer. */
  readonly hidden: number;
  /** V, number of distinct characters. */
  readonly vocabulary: number;
  /** E, length of a character's embedding; 0 or absent: characters enter one-hot. */
  readonly embedding?: number;
  /** Embedding and output layer share one matrix [V, H]; needs E = H. Absent: false. (Press & Wolf 2017) */
  readonly tied?: boolean;
  /** Probability, 0 <= p < 1, that an output of a layer is dropped on its way to the layer above. Absent: 0. See dropout.ts. */
  readonly dropout?: number;
  /**
   * What a layer hands up, to the layer above and to the output layer, is normalised over its H units, then scaled and shifted (Ba, Kiros
   * & Hinton 2016; torch.nn.LayerNorm, epsilon 1e-5); before dropout. The recurrence and the hidden state are left alone. Absent: false.
   */
  readonly layerNorm?: boolean;
}

/** What the variance is raised by before its root is divided by. */
export const LAYER_NORM_EPSILON = 1e-5;
