import { asModel } from '@troupe/checkpoint';
import { describe, expect, it } from 'vitest';
import {
  configNow,
  createTraining,
  requireFittingModel,
  isAboveLimit,
  createVectorCopies,
  takeCheckpoint,
  validationHistoryOf,
  validationHistoryUpTo,
  withValidationHistory,
  type Training,
} from '../src/training.js';
import { CONFIG, smallTraining } from './fixture.js';

const EVALUATIONS = [
  { round: 2, validationLoss: 1.5 },
  { round: 4, validationLoss: 1.25 },
  { round: 6, validationLoss: 1.75 },
];

/** A run in which every part has changed since the start. */
function moved(options: Parameters<typeof smallTraining>[0] = {}) {
  const training = smallTraining(options);
  const { replica, states, stateFloats, history, layout } = training;
  for (let i = 0; i < 2; i++) replica.step(new Float32Array(layout.size).fill(0.25), 0.5);
  states.count([0, 2], new Float32Array(2 * stateFloats).fill(0.75));
  states.commit();
  history.evaluations.push(...EVALUATIONS);
  history.best = EVALUATIONS[1];
  return training;
}

describe('a checkpoint', () => {
  it('is a copy: further training does not change it', () => {
    const training = moved();
    const checkpoint = takeCheckpoint(training, 6, 'now');
    const taken = structuredClone(checkpoint);
    training.replica.step(new Float32Array(training.layout.size).fill(1), 1);
    training.states.current.fill(9);
    training.history.evaluations.push({ round: 8, validationLoss: 1 });
    expect(checkpoint).toEqual(taken);
    expect(checkpoint.parametersDigest).not.toBe(training.replica.digest());
  });

  it('shares its vectors with another one of the same round', () => {
    const training = moved();
    const vectors = createVectorCopies(training);
    const [first, second] = [
      takeCheckpoint(training, 6, 'now', 0, vectors(6)),
      takeCheckpoint(training, 6, 'later', 0, vectors(6)),
    ];
    expect([second.parameters === first.parameters, second.optimizer === first.optimizer]).toEqual([true, true]);
    training.replica.step(new Float32Array(training.layout.size).fill(1), 1);
    const third = takeCheckpoint(training, 7, 'now', 0, vectors(7));
    expect(third.parameters).toEqual(training.replica.parameters);
    expect(third.parameters).not.toEqual(first.parameters);
    expect(third.optimizer).toEqual(training.replica.exportState());
  });

  it('contains everything that a resumed run needs', () => {
    const training = moved();
    const checkpoint = takeCheckpoint(training, 6, 'now');
    const resumed = smallTraining({ checkpoint });
    expect(resumed.round).toBe(6);
    expect(takeCheckpoint(resumed, 6, 'now')).toEqual(checkpoint);
    for (const { replica, layout } of [training, resumed]) replica.step(new Float32Array(layout.size).fill(0.5), 0.1);
    expect(resumed.replica.digest()).toBe(training.replica.digest());
  });

  it('contains the average of the parameters, from which a resumed run goes on exactly', () => {
    const averaging = { config: { ema: 0.9 } };
    const training = smallTraining(averaging);
    const step = ({ replica }: Training, round: number) =>
      replica.step(new Float32Array(replica.parameters.length).fill(0.1 + round), 0.5);
    for (let round = 0; round < 3; round++) step(training, round);
    const checkpoint = takeCheckpoint(training, 3, 'today');
    expect(checkpoint.twin).toEqual(training.replica.average);
    expect(checkpoint.twin).not.toEqual(checkpoint.parameters);
    for (const saved of [checkpoint, asModel(checkpoint, 'average')]) {
      const resumed = smallTraining({ ...averaging, checkpoint: saved });
      expect(resumed.replica.parameters).toEqual(checkpoint.parameters);
      step(resumed, 3);
      const whole = smallTraining(averaging);
      for (let round = 0; round < 4; round++) step(whole, round);
      expect(resumed.replica.average).toEqual(whole.replica.average);
      expect(resumed.replica.snapshot()).toEqual(whole.replica.snapshot());
    }
  });

  it('contains the rounds above the limit of the loss, and nothing of them when there are none', () => {
    const training = moved({ config: { leaseStreams: 1 } });
    const checkpoint = takeCheckpoint(training, 6, 'now', 7);
    expect(smallTraining({ config: { leaseStreams: 1 }, checkpoint }).roundsAboveLimit).toBe(7);
    const validated = withValidationHistory(checkpoint, training.history);
    expect(validated.history).toEqual({ ...training.history, roundsAboveLimit: 7 });
    expect(takeCheckpoint(training, 6, 'now', 0).history).not.toHaveProperty('roundsAboveLimit');
    // A run that is not reproducible may continue with another learning rate.
    const usual = takeCheckpoint(moved(), 6, 'now', 7);
    expect(isAboveLimit(usual)).toBe(true);
    expect(smallTraining({ checkpoint: usual }).roundsAboveLimit).toBe(0);
  });

  it('contains the position of each stream', () => {
    const training = smallTraining();
    const { cursors } = takeCheckpoint(training, 5, 'now');
    expect(cursors).toEqual([0, 1, 2].map((stream) => training.streams.cursor(stream, 5)));
    expect(new Set(cursors).size).toBe(3);
  });

  it('contains the current knobs', () => {
    const training = smallTraining();
    Object.assign(training.knobs, { learningRate: 0.125, clip: 0 });
    const { config } = takeCheckpoint(training, 1, 'now');
    expect(config).toEqual({ ...CONFIG, learningRate: 0.125, clip: 0 });
    expect(configNow(training)).toEqual(config);
    expect(training.config).toEqual(CONFIG);
  });

  it('contains the time, except in a reproducible run', () => {
    expect(takeCheckpoint(smallTraining(), 1, 'now').savedAt).toBe('now');
    expect(takeCheckpoint(smallTraining({ config: { leaseStreams: 1 } }), 1, 'now')).not.toHaveProperty('savedAt');
  });
});

describe('a new run', () => {
  it('has parameters that depend on its seed only', () => {
    const digest = (seed: number): string => smallTraining({ config: { seed } }).replica.digest();
    expect(digest(1)).toBe(digest(1));
    expect(digest(1)).not.toBe(digest(2));
  });

  it('starts with hidden states of zeros and without validations', () => {
    const { round, states, history } = smallTraining();
    expect([round, [...new Set(states.current)], history]).toEqual([0, [0], { evaluations: [], best: undefined }]);
  });

  it('keeps its validation interval if it is reproducible', () => {
    expect(smallTraining({ config: { leaseStreams: 1 }, evaluateEvery: 3 }).history.evaluateEvery).toBe(3);
  });
});

describe('the history of validations', () => {
  it('up to a round contains the validations until then and the best of them', () => {
    const history = { evaluateEvery: 2, evaluations: EVALUATIONS, best: EVALUATIONS[1] };
    expect(validationHistoryUpTo({ ...smallTraining(), history }, 3)).toEqual({
      evaluateEvery: 2,
      evaluations: EVALUATIONS.slice(0, 1),
      best: EVALUATIONS[0],
    });
    expect(validationHistoryUpTo({ ...smallTraining(), history }, 6)).toEqual(history);
    expect(validationHistoryUpTo({ ...smallTraining(), history }, 1)).toEqual({
      evaluateEvery: 2,
      evaluations: [],
      best: undefined,
    });
  });

  it('is empty for a checkpoint without one', () => {
    expect(validationHistoryOf(undefined)).toEqual({ evaluations: [], best: undefined });
    for (const history of [undefined, {}, { evaluations: 'many', evaluateEvery: 'often' }]) {
      expect(validationHistoryOf({ ...takeCheckpoint(smallTraining(), 0, ''), history })).toEqual({
        evaluations: [],
        best: undefined,
      });
    }
  });

  it('is a copy of the one in the checkpoint', () => {
    const checkpoint = takeCheckpoint(moved(), 6, '');
    const training = createTraining({ ...smallTraining(), checkpoint, evaluateEvery: 2 });
    training.history.evaluations.push({ round: 8, validationLoss: 1 });
    expect(validationHistoryOf(checkpoint).evaluations).toEqual(EVALUATIONS);
  });
});

describe('a model', () => {
  const ofHidden = (hidden: number, more: Partial<typeof CONFIG> = {}) => ({
    ...CONFIG,
    model: { ...CONFIG.model, hidden, layers: 2 },
    ...more,
  });
  const adam = { kind: 'adam', beta1: 0.9, beta2: 0.99, epsilon: 1e-8, weightDecay: 0 } as const;

  it('that no snapshot can hold is refused, with the largest that fits', () => {
    const tooLarge = { name: 'ModelTooLarge', message: expect.stringContaining('at most 89.5 million') };
    const large = ofHidden(4_000, { optimizer: adam });
    expect(() => requireFittingModel(large)).toThrow(expect.objectContaining(tooLarge));
    expect(() => smallTraining({ config: large })).toThrow(expect.objectContaining(tooLarge));
    expect(() => requireFittingModel(ofHidden(3_000, { optimizer: adam }))).not.toThrow();
    expect(() => requireFittingModel(large)).not.toThrow(expect.objectContaining({ remedy: expect.stringContaining('sgd') }));
    // SGD keeps one vector beside the parameters, Adam two.
    expect(() => requireFittingModel(ofHidden(3_300))).not.toThrow();
    const withSgd = { remedy: expect.stringContaining('--optimizer sgd, for which this model fits') };
    expect(() => requireFittingModel(ofHidden(3_300, { optimizer: adam }))).toThrow(expect.objectContaining(withSgd));
  });

  it('whose hidden states and gradient no message can hold is refused', () => {
    expect(() => requireFittingModel(ofHidden(2_500, { streams: 32_768 }))).not.toThrow();
    expect(() => requireFittingModel(ofHidden(3_500, { streams: 32_768 }))).toThrow('32768 streams');
  });
});

describe('a checkpoint that does not continue the run', () => {
  const checkpoint = () => takeCheckpoint(smallTraining(), 3, 'today');
  const resumed = (changes: object) => () => smallTraining({ checkpoint: { ...checkpoint(), ...changes } });

  it.each([
    ['parameters other than those that were saved', { parametersDigest: '0'.repeat(16) }, 'not those that were saved'],
    ['other positions in the text', { cursors: [0, 1, 2] }, 'other positions'],
    ['another division of the text', { corpus: { ...checkpoint().corpus, trainFraction: 0.5 } }, 'trains on 0.5 of the text'],
  ])('is refused: %s', (_, changes, message) => {
    expect(resumed({})).not.toThrow();
    expect(resumed(changes)).toThrow(
      expect.objectContaining({ name: 'CheckpointError', code: 'mismatch', message: expect.stringContaining(message) }),
    );
  });
});
