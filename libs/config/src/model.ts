/**
 * The families of models and the options of each. An option is declared here and nowhere else: its type, range, default, flag, help and
 * place in the name of a model. Engines decide what it computes.
 */
import type { Complete, CompleteKinds, Fields, Group, Kinds, SparseKinds } from './field.js';
import { LIMITS } from './limits.js';

/**
 * - `lstm`: long short-term memory with a forget gate.
 * - `gru`: gated recurrent unit whose reset gate acts before the matrix product: h~ = tanh(W x + U (r * h) + b) (Cho et al. 2014).
 * - `gru-reset-after`: the reset gate acts after it: h~ = tanh(W x + b + r * (U h + b_hn)), the form of PyTorch and cuDNN.
 * - `rnn-tanh`, `rnn-relu`: Elman's network, h' = tanh(W x + U h + b), or max(0, ...).
 *
 * The native engine numbers cells in this order.
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
      help:
        'lstm: long short-term memory; gru: gated recurrent unit, reset gate before the matrix product; gru-reset-after: ' +
        "after it, as PyTorch's GRU; rnn-tanh, rnn-relu: plain recurrence",
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
  /** E, length of a character's embedding. 0: characters enter one-hot. */
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
      help: 'length of a learned vector for each character; 0 = characters enter one-hot (default: 0; H with --tied)',
    },
  },
  /** Embedding and output layer share one matrix [V, H]; needs E = H (Press & Wolf 2017). */
  tied: {
    type: 'switch',
    default: false,
    optional: true,
    option: {
      flag: '--tied',
      group: 'Model',
      help: 'embedding and output layer share one matrix; the embedding is as long as the hidden layer',
    },
  },
  /** Probability that an output of a layer is dropped on its way to the layer above. See libs/model, dropout.ts. */
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
      help: 'probability, below 1, that an output of a layer is dropped on its way to the layer above; no effect with one layer',
    },
  },
  /**
   * The output of a layer is normalised over its H units, then scaled and shifted, before dropout, for the layer above and for the output
   * layer (Ba, Kiros & Hinton 2016; torch.nn.LayerNorm, epsilon 1e-5). The recurrence and the hidden state are left alone.
   */
  layerNorm: {
    type: 'switch',
    default: false,
    optional: true,
    option: {
      flag: '--layer-norm',
      group: 'Model',
      help: 'normalise what each layer hands up: learns faster, and to a lower loss, for little time',
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

/** Every family of models by the `kind` of its configs. */
export const MODEL = {
  type: 'kinds',
  kinds: { recurrent: RECURRENT },
  default: 'recurrent',
  implied: true,
} as const satisfies Kinds;

/** What a model is made of. Options may be absent, as in checkpoints of older releases. */
export type ModelConfig = SparseKinds<typeof MODEL>;

/** With every option. */
export type FullModelConfig = CompleteKinds<typeof MODEL>;

/** What a model has besides its layers, if anything: "dropout 0.25", "embedding 64 tied". */
export function modelOptions({ layers, embedding, tied, dropout, layerNorm }: FullModelConfig): string[] {
  const options: string[] = [];
  if (dropout > 0) options.push(`dropout ${dropout}${layers === 1 ? ' (no effect: it acts between layers)' : ''}`);
  if (embedding > 0) options.push(`embedding ${embedding}${tied ? ' tied' : ''}`);
  if (layerNorm) options.push('layer norm');
  return options;
}

/** "2x256 GRU, dropout 0.25, embedding 64 tied". */
export function modelName(model: FullModelConfig): string {
  return [`${model.layers}x${model.hidden} ${CELL_NAMES[model.cell]}`, ...modelOptions(model)].join(', ');
}
