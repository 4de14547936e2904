import { createLayout, initialParameters, type ModelConfig } from '@troupe/model';
import type { TrainedModel } from '../src/index.js';

export const MODEL: ModelConfig = { cell: 'lstm', layers: 2, hidden: 12, vocabulary: 5 };

/** A model whose weights are larger than initial ones, so that every gate matters. */
export function exampleModel(model: ModelConfig = MODEL, vocabulary = ['\n', '<', 'é', '—', '😀']): TrainedModel {
  return {
    model,
    vocabulary,
    parameters: initialParameters(model, createLayout(model), 1).map((value) => value * 4),
    round: 1200,
    corpus: { name: 'sonnets</script>', sha256: 'ab'.repeat(32), characters: 94_476, trainFraction: 0.9 },
  };
}
