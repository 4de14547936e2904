/** How a model is called in lines for people. */
import type { TrainingConfig } from '@troupe/protocol';

type Model = TrainingConfig['model'];

/** "LSTM", "reset-after GRU". */
export const CELL_NAMES: Readonly<Record<Model['cell'], string>> = {
  lstm: 'LSTM',
  gru: 'GRU',
  'gru-reset-after': 'reset-after GRU',
  'rnn-tanh': 'tanh RNN',
  'rnn-relu': 'ReLU RNN',
};

/** What a model has beside its layers, if anything: "dropout 0.25", "embedding 64 tied". */
export function modelOptions({ layers, embedding, tied, dropout, layerNorm }: Model): string[] {
  const options: string[] = [];
  if (dropout > 0) options.push(`dropout ${dropout}${layers === 1 ? ' (no effect: it acts between layers)' : ''}`);
  if (embedding > 0) options.push(`embedding ${embedding}${tied ? ' tied' : ''}`);
  if (layerNorm) options.push('layer norm');
  return options;
}

/** "2x256 GRU, dropout 0.25, embedding 64 tied". */
export function modelName(model: Model): string {
  return [`${model.layers}x${model.hidden} ${CELL_NAMES[model.cell]}`, ...modelOptions(model)].join(', ');
}
