import { describe, expect, it } from 'vitest';
import { CELLS, LIMITS, parseTrainingConfig } from '../src/index.js';
import { EXAMPLES } from './examples.js';

const { config: CONFIG } = EXAMPLES.welcome;
const withModel = (model: object) => parseTrainingConfig({ ...CONFIG, model: { ...CONFIG.model, ...model } });

describe('a training config', () => {
  it.each(CELLS)('may have the cell %s', (cell) => {
    expect(withModel({ cell })).toEqual({ ok: true, config: { ...CONFIG, model: { ...CONFIG.model, cell } } });
  });

  it('of a release that knew neither embeddings nor dropout, layer normalisation, forget biases or fixed leases means a run without them', () => {
    const { forgetBias: _, leaseStreams: __, ...older } = CONFIG;
    const model = { cell: 'lstm', layers: 2, hidden: 256, vocabulary: 65 };
    expect(parseTrainingConfig({ ...older, model })).toEqual({
      ok: true,
      config: {
        ...older,
        model: { ...model, embedding: 0, tied: false, dropout: 0, layerNorm: false },
        forgetBias: 1,
        leaseStreams: 0,
      },
    });
  });

  it('may tie an embedding that is as large as the hidden layer', () => {
    expect(withModel({ tied: true, embedding: 256 }).ok).toBe(true);
  });

  it.each<[string, object, string]>([
    ['a cell that is none', { cell: 'xlstm' }, 'model.cell'],
    ['a tied embedding of another size', { tied: true, embedding: 64 }, 'model.embedding'],
    ['a tied embedding of none', { tied: true, embedding: 0 }, 'model.embedding'],
    ['half an embedding', { embedding: 0.5 }, 'model.embedding'],
    ['an embedding over the limit', { embedding: LIMITS.embedding + 1 }, 'model.embedding'],
    ['a dropout of everything', { dropout: 1 }, 'model.dropout'],
    ['a negative dropout', { dropout: -0.1 }, 'model.dropout'],
    ['a dropout that is no number', { dropout: '0.5' }, 'model.dropout'],
    ['a tie that is a number', { tied: 1 }, 'model.tied'],
    ['a layer normalisation that is a number', { layerNorm: 1 }, 'model.layerNorm'],
    ['a field nobody knows', { peephole: true }, 'model.peephole'],
  ])('with %s is turned down by that field', (_, model, field) => {
    expect(withModel(model)).toMatchObject({ ok: false, field, problem: expect.stringMatching(/./) });
  });

  it('says what a tied embedding must be', () => {
    expect(withModel({ tied: true, embedding: 64 })).toMatchObject({ problem: 'must be as large as hidden when tied' });
  });

  it('with a forget bias that is none is turned down by that field', () => {
    expect(parseTrainingConfig({ ...CONFIG, forgetBias: -1 })).toMatchObject({ ok: false, field: 'forgetBias' });
  });

  it.each([0, 1, CONFIG.streams])('may lend %i streams at a time', (leaseStreams) => {
    expect(parseTrainingConfig({ ...CONFIG, leaseStreams })).toEqual({ ok: true, config: { ...CONFIG, leaseStreams } });
  });

  it.each([-1, 0.5, CONFIG.streams + 1, LIMITS.streams + 1, '4'])(
    'that lends %s streams at a time is turned down',
    (leaseStreams) => {
      expect(parseTrainingConfig({ ...CONFIG, leaseStreams })).toMatchObject({ ok: false, field: 'leaseStreams' });
    },
  );

  it('says how many streams a lease may have', () => {
    const streams = CONFIG.streams;
    expect(parseTrainingConfig({ ...CONFIG, leaseStreams: streams + 1 })).toMatchObject({ problem: 'must be at most streams' });
  });
});
