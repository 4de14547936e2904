import { withOtherRounds } from '@troupe/config';
import { learningRateAt } from '@troupe/optim';
import { describe, expect, it } from 'vitest';
import { batchOf, leaseWindows, stepOf, takeCheckpoint, type Training } from '../src/training.js';
import { CONFIG, smallTraining } from './fixture.js';

const ROUND = 5;
/** A pass over a stream has 13 windows. */
const EXACT = {
  ...CONFIG,
  ...{ rounds: 40, ema: 0.9, schedule: { kind: 'cosine', warmupRounds: 7, finalFraction: 0.1, decayRounds: 0 } as const },
  optimizer: { kind: 'adam', beta1: 0.9, beta2: 0.99, epsilon: 1e-8, weightDecay: 0 } as const,
};

function moved(config: typeof EXACT = EXACT): Training {
  const training = smallTraining({ config });
  const { replica, states, stateFloats, layout } = training;
  for (let round = 0; round < ROUND; round++) replica.step(new Float32Array(layout.size).fill(0.25), 0.5);
  states.count([0, 1, 2], new Float32Array(3 * stateFloats).fill(0.75));
  states.commit();
  return training;
}

const before = moved();
const checkpoint = takeCheckpoint(before, ROUND, 'now');
const config = withOtherRounds(EXACT, ROUND, { localSteps: 4, tracks: 3 });
const scalarsOf = ({ replica }: Training) =>
  Object.fromEntries(replica.exportState().scalars.map(({ name, value }) => [name, value]));

describe('a run that becomes local when it resumes', () => {
  const local = smallTraining({ config, checkpoint });

  it('has the parameters, their average, and the states of the streams that it had', () => {
    expect(local.replica.parameters).toEqual(before.replica.parameters);
    expect(local.replica.average).toEqual(before.replica.average);
    expect(local.replica.average).not.toEqual(local.replica.parameters);
    expect(local.states.current).toEqual(before.states.current);
  });

  it('reads the window that comes next, and all after it', () => {
    const windows = (training: Training, round: number) => leaseWindows(training, round, [1]).windows.map((ids) => [...ids]);
    expect(windows(local, ROUND)).toEqual([5, 6, 7, 8].map((round) => windows(before, round)[0]));
    expect(windows(local, ROUND + 1)[0]).toEqual(windows(before, 9)[0]);
    // The pass ends with window 12, which is in this round.
    expect(leaseWindows(local, ROUND + 2, [1]).local?.wrapStep).toBeUndefined();
    expect(leaseWindows(local, ROUND + 1, [1]).local?.wrapStep).toBeUndefined();
    expect(new Set(batchOf(local, ROUND + 2, [1]).states)).toEqual(new Set([0]));
  });

  it('has the learning rate of the window with which a round begins', () => {
    const rates = [0, 1, 8].map((round) => leaseWindows(local, ROUND + round, [0]).learningRates.at(-1));
    const planned = [5, 9, 37].map((window) => Math.fround(learningRateAt(EXACT.schedule, EXACT.learningRate, window, 40)));
    expect(rates).toEqual(planned);
    expect(new Set(planned).size).toBe(3);
  });

  it('has a new outer optimizer, whose steps are counted on for the average', () => {
    const { slots } = local.replica.exportState();
    expect(slots.map(({ name, values }) => [name, values.every((value) => value === 0)])).toEqual([['momentum', true]]);
    expect(scalarsOf(local)).toEqual({ steps: ROUND });
  });

  it('goes on with that optimizer when it resumes again', () => {
    local.replica.step(new Float32Array(local.layout.size).fill(0.5), 0.7);
    const later = takeCheckpoint(local, ROUND + 1, 'now');
    const resumed = smallTraining({ config, checkpoint: later });
    expect(resumed.replica.exportState()).toEqual(local.replica.exportState());
    expect(later.cursors).toEqual([0, 1, 2].map((stream) => local.streams.cursor(stream, 9)));
  });

  it('becomes exact again, with new moments', () => {
    const back = smallTraining({
      config: withOtherRounds(config, ROUND + 1, { localSteps: 1 }),
      checkpoint: takeCheckpoint(local, ROUND + 1, 'now'),
    });
    expect(leaseWindows(back, ROUND + 2, [0]).windows).toEqual(leaseWindows(before, 10, [0]).windows);
    expect(stepOf(back, ROUND + 1).learningRate).toBe(stepOf(before, 9).learningRate);
    expect(scalarsOf(back)).toEqual({ steps: ROUND + 1, beta1_power: 1, beta2_power: 1 });
  });

  it('is refused with a config whose rounds begin elsewhere', () => {
    const wrong = { ...config, changedWindow: 6 };
    expect(() => smallTraining({ config: wrong, checkpoint })).toThrow(/other positions/);
  });
});
