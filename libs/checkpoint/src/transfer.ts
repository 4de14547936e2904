import { createLayout, type ModelConfig } from '@troupe/model';
import type { Checkpoint } from './checkpoint.js';

export interface Transferred {
  /** [P] of the new model. */
  readonly parameters: Float32Array;
  /** Characters of the new model that the trained one does not know, which keep their fresh weights. */
  readonly added: readonly string[];
}

/**
 * The weights of a trained model for a model with another vocabulary. Weights that belong to a
 * character go to the same character; everything else is copied. The result depends on the arguments
 * alone.
 * @param model equals that of the checkpoint except for `vocabulary`, `dropout` and `dropoutOutput`
 * @param characters [V] of the new model, by id
 * @param fresh [P], the weights that the new model would have without a trained one; not changed
 * @throws RangeError if the models differ in more than that
 */
export function transferParameters(
  trained: Pick<Checkpoint, 'model' | 'vocabulary' | 'parameters'>,
  model: ModelConfig,
  characters: readonly string[],
  fresh: Float32Array,
): Transferred {
  const [from, to] = [createLayout(trained.model), createLayout(model)];
  // The dimension that grows with the vocabulary is that of the characters.
  const grown = createLayout({ ...model, vocabulary: model.vocabulary + 1 });
  const idOf = new Map(trained.vocabulary.map((character, id) => [character, id]));
  const sources = characters.map((character) => idOf.get(character) ?? -1);
  const parameters = fresh.slice();
  for (const [i, { name, shape, offset, size }] of to.tensors.entries()) {
    const source = from.tensors[i];
    const axis = shape.findIndex((length, at) => length !== grown.tensors[i].shape[at]);
    const fits = source?.name === name && shape.every((length, at) => at === axis || length === source.shape[at]);
    if (!fits) throw new RangeError(`the trained model has no tensor ${name} of that shape`);
    const values = trained.parameters.subarray(source.offset, source.offset + source.size);
    const target = parameters.subarray(offset, offset + size);
    if (axis < 0) target.set(values);
    else copyCharacters(values, source.shape, target, shape, axis, sources);
  }
  return { parameters, added: characters.filter((_, id) => sources[id] < 0) };
}

/** Copies slices along `axis` of row-major tensors: slice `id` of the target is slice `sources[id]` of the source. */
function copyCharacters(
  source: Float32Array,
  sourceShape: readonly number[],
  target: Float32Array,
  targetShape: readonly number[],
  axis: number,
  sources: readonly number[],
): void {
  const product = (lengths: readonly number[]) => lengths.reduce((result, length) => result * length, 1);
  const outer = product(targetShape.slice(0, axis));
  const inner = product(targetShape.slice(axis + 1));
  const [from, to] = [sourceShape[axis] * inner, targetShape[axis] * inner];
  for (let row = 0; row < outer; row++) {
    for (const [id, old] of sources.entries()) {
      if (old < 0) continue;
      const start = row * from + old * inner;
      target.set(source.subarray(start, start + inner), row * to + id * inner);
    }
  }
}
