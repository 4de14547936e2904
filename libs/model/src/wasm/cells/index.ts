import type { Cell } from '../../config.js';
import type { CellPasses } from '../workspace.js';
import { gru, gruResetAfter } from './gru.js';
import { lstm } from './lstm.js';
import { rnnRelu, rnnTanh } from './rnn.js';

export const CELL_PASSES: Readonly<Record<Cell, CellPasses>> = {
  lstm,
  gru,
  'gru-reset-after': gruResetAfter,
  'rnn-tanh': rnnTanh,
  'rnn-relu': rnnRelu,
};
