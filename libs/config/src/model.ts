/**
 * The families of models and their options. This file alone declares an option: its type, range,
 * default, flag and help, and how it shows in the name of a model. Engines implement it.
 */
import type { Complete, CompleteKinds, Fields, Group, Kinds, SparseKinds } from './field.js';
import { LIMITS } from './limits.js';

/**
 * - `lstm`: long short-term memory with a forget gate.
 * - `gru`: gated recurrent unit whose reset gate acts before the matrix product:
 *   h~ = tanh(W x + U (r * h) + b) (Cho et al. 2014).
 * - `gru-reset-after`: the reset gate acts after it, as in PyTorch and cuDNN:
 *   h~ = tanh(W x + b + r * (U h + b_hn)).
 * - `rnn-tanh`, `rnn-relu`: Elman's network, h' = tanh(W x + U h + b), or max(0, ...).
 *
 * The native engine numbers the cells in this order.
 */
export const CELLS = ['lstm', 'gru', 'gru-reset-after', 'rnn-tanh', 'rnn-relu'] as const;
export type Cell = (typeof CELLS)[number];

/** "LSTM", "reset-after GRU". */
export const CELL_NAMES: Readonly<Record<Cell, string>> = {
  lstm: 'LSTM',
  gru: 'GRU',
  'gru-reset-after': 'reset-after GRU',
  'rnn-tanh': 'tanh RNN',
  'rnn-relu': 'ReLU RNN',
};

const RECURRENT_FIELDS = {
  cell: {
    type: 'choice',
    choices: CELLS,
    default: 'lstm',
    option: {
      flag: '--cell',
      placeholder: 'CELL',
      group: 'Model',
      help: 'lstm, gru (reset gate before the matrix product), gru-reset-after (after it, as in PyTorch), rnn-tanh or rnn-relu (plain recurrence)',
    },
  },
  /** L. */
  layers: {
    type: 'whole',
    min: 1,
    max: LIMITS.layers,
    default: 1,
    option: { flag: '--layers', placeholder: 'L', group: 'Model', help: 'recurrent layers' },
  },
  /** H, hidden units per layer. */
  hidden: {
    type: 'whole',
    min: 1,
    max: LIMITS.hidden,
    default: 256,
    option: { flag: '--hidden', placeholder: 'H', group: 'Model', help: 'hidden units per layer' },
  },
  /** V, number of distinct characters. */
  vocabulary: { type: 'whole', min: 2, max: LIMITS.vocabulary, from: '--corpus' },
  /** E, length of a character's embedding. 0: characters are one-hot. */
  embedding: {
    type: 'whole',
    min: 0,
    max: LIMITS.embedding,
    default: 0,
    optional: true,
    option: {
      flag: '--embedding',
      placeholder: 'E',
      group: 'Model',
      help: 'length of the learned vector for each character; 0 = one-hot characters (default: 0, or H with --tied)',
    },
  },
  /** The embedding and the output layer share one matrix [V, H]. Requires E = H (Press & Wolf 2017). */
  tied: {
    type: 'switch',
    default: false,
    optional: true,
    option: {
      flag: '--tied',
      group: 'Model',
      help: 'share one matrix between embedding and output layer; the embedding then has length H',
    },
  },
  /**
   * Probability of dropping an output of a layer before it enters the layer above. See dropout.ts
   * in libs/model.
   */
  dropout: {
    type: 'real',
    min: 0,
    below: 1,
    default: 0,
    optional: true,
    option: {
      flag: '--dropout',
      placeholder: 'P',
      group: 'Model',
      help: 'dropout probability between layers, below 1; no effect with one layer',
    },
  },
  /** Probability of dropping an output of the last layer before it enters the output layer. See dropout.ts. */
  dropoutOutput: {
    type: 'real',
    min: 0,
    below: 1,
    default: 0,
    optional: true,
    option: {
      flag: '--dropout-output',
      placeholder: 'P',
      group: 'Model',
      help: 'dropout probability between the last layer and the output layer, below 1',
    },
  },
  /**
   * Normalise the output of each layer over its H units, then scale and shift it, before dropout
   * (Ba, Kiros & Hinton 2016; torch.nn.LayerNorm, epsilon 1e-5). The recurrence and the hidden
   * state are not normalised.
   */
  layerNorm: {
    type: 'switch',
    default: false,
    optional: true,
    option: {
      flag: '--layer-norm',
      group: 'Model',
      help: 'normalise the output of each layer; learns faster and to a lower loss, at little cost',
    },
  },
} as const satisfies Fields;

type RecurrentConfig = Complete<typeof RECURRENT_FIELDS>;

const RECURRENT = {
  fields: RECURRENT_FIELDS,
  rules: [
    {
      field: 'embedding',
      problem: 'must be as large as hidden when tied',
      holds: ({ tied, embedding, hidden }: RecurrentConfig) => !tied || embedding === hidden,
    },
  ],
  derived: { embedding: ({ tied, hidden }: RecurrentConfig) => (tied ? hidden : 0) },
} as const satisfies Group;

/** The families of models, by the `kind` of their configs. */
export const MODEL = {
  type: 'kinds',
  kinds: { recurrent: RECURRENT },
  default: 'recurrent',
  implied: true,
} as const satisfies Kinds;

/** The architecture of a model. Options may be absent, as in checkpoints of older releases. */
export type ModelConfig = SparseKinds<typeof MODEL>;

/** The architecture of a model, with every option. */
export type FullModelConfig = CompleteKinds<typeof MODEL>;

/** The options of a model in words: "dropout 0.25", "embedding 64 tied". Empty if it uses none. */
export function modelOptions({ layers, embedding, tied, dropout, dropoutOutput, layerNorm }: FullModelConfig): string[] {
  const options: string[] = [];
  if (dropout > 0) options.push(`dropout ${dropout}${layers === 1 ? ' (no effect: it acts between layers)' : ''}`);
  if (dropoutOutput > 0) options.push(`output dropout ${dropoutOutput}`);
  if (embedding > 0) options.push(`embedding ${embedding}${tied ? ' tied' : ''}`);
  if (layerNorm) options.push('layer norm');
  return options;
}

/** "2x256 GRU, dropout 0.25, embedding 64 tied". */
export function modelName(model: FullModelConfig): string {
  return [`${model.layers}x${model.hidden} ${CELL_NAMES[model.cell]}`, ...modelOptions(model)].join(', ');
}
