/**
 * Dimension letters used throughout: B streams in a batch, T time steps in a window, V vocabulary size, H hidden units,
 * L layers, G = gates * H (4H for an LSTM), S state vectors per layer (2 for an LSTM: h and C; 1 for RNN and GRU).
 */

export const CELLS = ['lstm'] as const;
export type Cell = (typeof CELLS)[number];

export interface ModelConfig {
  readonly cell: Cell;
  /** L, layers. */
  readonly layers: number;
  /** H, hidden units per layer. */
  readonly hidden: number;
  /** V, number of distinct characters. */
  readonly vocabulary: number;
}
