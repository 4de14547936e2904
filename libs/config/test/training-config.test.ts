import { describe, expect, it } from 'vitest';
import { CELLS, LIMITS, modelConfig, parseTrainingConfig, type TrainingConfig } from '../src/index.js';

const CONFIG: TrainingConfig = {
  model: modelConfig({ cell: 'gru', layers: 2, vocabulary: 65, embedding: 64, dropout: 0.25, layerNorm: true }),
  streams: 32,
  leaseStreams: 4,
  window: 64,
  rounds: 1150,
  seed: 0xffffffff,
  learningRate: 0.02,
  forgetBias: 1,
  clip: 5,
  optimizer: { kind: 'adam', beta1: 0.9, beta2: 0.99, epsilon: 1e-8, weightDecay: 0 },
  ema: 0,
  schedule: { kind: 'cosine', warmupRounds: 100, finalFraction: 0.05, decayRounds: 0 },
  codec: 'fp16',
  localSteps: 1,
  tracks: 0,
  outerLearningRate: 1,
  outerMomentum: 0.7,
  changedRound: 0,
  changedWindow: 0,
};
const withModel = (model: object) => parseTrainingConfig({ ...CONFIG, model: { ...CONFIG.model, ...model } });

describe('a training config', () => {
  it.each(CELLS)('may have the cell %s', (cell) => {
    expect(withModel({ cell })).toEqual({ ok: true, config: { ...CONFIG, model: { ...CONFIG.model, cell } } });
  });

  it('gets defaults for embedding, both dropouts, layer normalisation, forget bias, lease size, average and local rounds when an older release omits them', () => {
    const { forgetBias: _, leaseStreams: __, ema: ___, localSteps: ____, tracks: _____, ...rest } = CONFIG;
    const { outerLearningRate, outerMomentum, ...older } = rest;
    const model = { cell: 'lstm', layers: 2, hidden: 256, vocabulary: 65 };
    expect(parseTrainingConfig({ ...older, model })).toEqual({
      ok: true,
      config: {
        ...older,
        model: { ...model, embedding: 0, tied: false, dropout: 0, dropoutOutput: 0, layerNorm: false },
        forgetBias: 1,
        leaseStreams: 0,
        ema: 0,
        localSteps: 1,
        tracks: 0,
        outerLearningRate,
        outerMomentum,
      },
    });
  });

  it('has tracks when it has local steps, and they divide the batch', () => {
    const local = { ...CONFIG, streams: 24, localSteps: 8, leaseStreams: 0 };
    expect(parseTrainingConfig({ ...local, tracks: 6 }).ok).toBe(true);
    const refused = (config: object) => parseTrainingConfig({ ...local, ...config });
    expect(refused({ tracks: 5 })).toMatchObject({
      field: 'tracks',
      problem: 'must divide the batch of 24 streams: 4 and 6 do',
    });
    expect(refused({ tracks: 30 })).toMatchObject({ problem: 'must divide the batch of 24 streams: 24 does' });
    expect(refused({ tracks: 0 })).toMatchObject({ problem: 'must divide the batch of 24 streams: 1 does' });
    expect(refused({ localSteps: 1, tracks: 4 })).toMatchObject({ problem: 'has no effect unless --local-steps is above 1' });
    expect(refused({ localSteps: 0 })).toMatchObject({ field: 'localSteps' });
    expect(refused({ localSteps: LIMITS.localSteps + 1 })).toMatchObject({ field: 'localSteps' });
    expect(refused({ tracks: 6, leaseStreams: 4 }).ok).toBe(true);
    expect(refused({ tracks: 6, leaseStreams: 3 })).toMatchObject({ field: 'leaseStreams' });
  });

  it('may tie an embedding that is as large as the hidden layer', () => {
    expect(withModel({ tied: true, embedding: 256 }).ok).toBe(true);
  });

  it.each<[string, object, string]>([
    ['an unknown cell', { cell: 'xlstm' }, 'model.cell'],
    ['a tied embedding of another size', { tied: true, embedding: 64 }, 'model.embedding'],
    ['a tied embedding of length 0', { tied: true, embedding: 0 }, 'model.embedding'],
    ['a fractional embedding', { embedding: 0.5 }, 'model.embedding'],
    ['an embedding over the limit', { embedding: LIMITS.embedding + 1 }, 'model.embedding'],
    ['a dropout of 1', { dropout: 1 }, 'model.dropout'],
    ['a negative dropout', { dropout: -0.1 }, 'model.dropout'],
    ['an output dropout of 1', { dropoutOutput: 1 }, 'model.dropoutOutput'],
    ['a dropout that is text', { dropout: '0.5' }, 'model.dropout'],
    ['a switch that is a number', { tied: 1 }, 'model.tied'],
    ['a layer normalisation that is a number', { layerNorm: 1 }, 'model.layerNorm'],
    ['an unknown field', { peephole: true }, 'model.peephole'],
  ])('with %s is refused, naming that field', (_, model, field) => {
    expect(withModel(model)).toMatchObject({ ok: false, field, problem: expect.stringMatching(/./) });
  });

  it('says what a tied embedding must be', () => {
    expect(withModel({ tied: true, embedding: 64 })).toMatchObject({ problem: 'must be as large as hidden when tied' });
  });

  it('with a negative forget bias is refused, naming that field', () => {
    expect(parseTrainingConfig({ ...CONFIG, forgetBias: -1 })).toMatchObject({ ok: false, field: 'forgetBias' });
  });

  it('may name the family of its model, which the output omits for the default family', () => {
    expect(withModel({ kind: 'recurrent' })).toEqual({ ok: true, config: CONFIG });
    expect(withModel({ kind: 'transformer' })).toMatchObject({ ok: false, field: 'model.kind' });
  });

  it.each<[unknown, string, string]>([
    [{ ...CONFIG, rounds: 0 }, 'rounds', 'must be a whole number from 1 to 100000000'],
    [{ ...CONFIG, codec: 'fp8' }, 'codec', 'must be one of fp16, int8, int8-both, fp32'],
    [{ ...CONFIG, model: { ...CONFIG.model, dropout: 1 } }, 'model.dropout', 'must be a number of at least 0 and below 1'],
    [{ ...CONFIG, model: { ...CONFIG.model, tied: 'yes' } }, 'model.tied', 'must be true or false'],
    [{ ...CONFIG, optimizer: { ...CONFIG.optimizer, beta1: 1 } }, 'optimizer.beta1', 'must be a number from 0 to 0.9999'],
  ])('says what a field must be: %#', (value, field, problem) => {
    expect(parseTrainingConfig(value)).toEqual({ ok: false, field, problem });
  });

  it.each([{ kind: 'adagrad' }, { kind: 'sgd' }, { ...CONFIG.optimizer, momentum: 0.9 }, undefined])(
    'with the optimizer %j is refused',
    (optimizer) => {
      const result = parseTrainingConfig({ ...CONFIG, optimizer });
      expect(result).toMatchObject({ ok: false, field: expect.stringMatching(/^optimizer/) });
    },
  );

  it.each([0, 1, CONFIG.streams])('may have leases of %i streams', (leaseStreams) => {
    expect(parseTrainingConfig({ ...CONFIG, leaseStreams })).toEqual({ ok: true, config: { ...CONFIG, leaseStreams } });
  });

  it.each([-1, 0.5, CONFIG.streams + 1, LIMITS.streams + 1, '4'])('with leases of %s streams is refused', (leaseStreams) => {
    expect(parseTrainingConfig({ ...CONFIG, leaseStreams })).toMatchObject({ ok: false, field: 'leaseStreams' });
  });

  it('says how many streams a lease may have', () => {
    const streams = CONFIG.streams;
    expect(parseTrainingConfig({ ...CONFIG, leaseStreams: streams + 1 })).toMatchObject({ problem: 'must be at most streams' });
  });
});
