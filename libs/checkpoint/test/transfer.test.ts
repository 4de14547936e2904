import { createLayout, initialParameters, type ModelConfig } from '@troupe/model';
import { describe, expect, it } from 'vitest';
import { transferParameters } from '../src/index.js';

const OLD = ['\n', 'a', 'b', 'c', 'd'];
const NEW = ['a', 'c', 'x', 'd', '\n', 'y', 'z'];
const MODELS: readonly [string, Omit<ModelConfig, 'vocabulary'>][] = [
  ['a one-hot LSTM', { cell: 'lstm', layers: 2, hidden: 3 }],
  ['a reset-after GRU with layer normalisation', { cell: 'gru-reset-after', layers: 1, hidden: 3, layerNorm: true }],
  ['an RNN with an embedding', { cell: 'rnn-tanh', layers: 1, hidden: 3, embedding: 2 }],
  ['a tied LSTM', { cell: 'lstm', layers: 1, hidden: 3, embedding: 3, tied: true }],
  // As many hidden units as characters: shapes do not tell them apart.
  ['an LSTM with as many units as characters', { cell: 'lstm', layers: 1, hidden: 7 }],
];

const withVocabulary = (model: Omit<ModelConfig, 'vocabulary'>, characters: readonly string[]): ModelConfig => ({
  ...model,
  vocabulary: characters.length,
});
const weights = (model: ModelConfig, seed: number) =>
  Float32Array.from({ length: createLayout(model).size }, (_, i) => seed + i / 1024);

describe.each(MODELS)('the weights of a trained model: %s', (_, base) => {
  const [old, target] = [withVocabulary(base, OLD), withVocabulary(base, NEW)];
  const trained = { model: old, vocabulary: OLD, parameters: weights(old, 1) };
  const fresh = weights(target, 1000);

  it('go to the same characters; new characters keep fresh ones', () => {
    const { parameters, added } = transferParameters(trained, target, NEW, fresh);
    expect(added).toEqual(['x', 'y', 'z']);
    for (const [i, { name, shape, offset }] of createLayout(target).tensors.entries()) {
      const source = createLayout(old).tensors[i];
      const [rows, columns] = [shape[0], shape[1] ?? 1];
      const isIn = name.endsWith('weight_ih_l0') && !base.embedding;
      const isOut = /^(linear|embedding)\./.test(name);
      for (let row = 0; row < rows; row++) {
        for (let column = 0; column < columns; column++) {
          const [oldRow, oldColumn] = [isOut ? OLD.indexOf(NEW[row]) : row, isIn ? OLD.indexOf(NEW[column]) : column];
          const at = offset + row * columns + column;
          const expected =
            oldRow < 0 || oldColumn < 0
              ? fresh[at]
              : trained.parameters[source.offset + oldRow * (source.shape[1] ?? 1) + oldColumn];
          expect(parameters[at]).toBe(expected);
        }
      }
    }
  });

  it('are the same bits for the same characters, in any order and back', () => {
    const shuffled = ['d', 'b', '\n', 'c', 'a'];
    const there = transferParameters(trained, old, shuffled, fresh.slice(0, trained.parameters.length));
    const back = transferParameters(
      { ...trained, vocabulary: shuffled, parameters: there.parameters },
      old,
      OLD,
      weights(old, 5),
    );
    expect(back).toEqual({ parameters: trained.parameters, added: [] });
  });

  it('depend on the arguments alone, and leave them unchanged', () => {
    const before = fresh.slice();
    const first = transferParameters(trained, target, NEW, fresh);
    expect(transferParameters(trained, target, NEW, fresh)).toEqual(first);
    expect(fresh).toEqual(before);
  });
});

it('a model of another shape is refused', () => {
  const [small, large] = [4, 5].map((hidden) => withVocabulary({ cell: 'lstm', layers: 1, hidden }, OLD));
  const trained = { model: small, vocabulary: OLD, parameters: initialParameters(small, createLayout(small), 1) };
  expect(() => transferParameters(trained, large, OLD, weights(large, 1))).toThrow(RangeError);
});
