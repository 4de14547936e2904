import { describe, expect, it } from 'vitest';
import { localLeaseOf, leaseWindows, requireFittingModel, stepOf, takeCheckpoint } from '../src/training.js';
import { CONFIG, smallTraining } from './fixture.js';

/** A pass over a stream has 13 windows. */
const LOCAL = { localSteps: 8, tracks: 3 };

describe('a lease of a local round', () => {
  it('holds the windows of all steps, one after the other', () => {
    const training = smallTraining({ config: LOCAL });
    const { windows } = leaseWindows(training, 1, [0, 2]);
    expect(windows).toHaveLength(8 * 2);
    expect([...windows[0]]).toEqual([...training.streams.streamWindow(0, 8)]);
    expect([...windows[3]]).toEqual([...training.streams.streamWindow(2, 9)]);
  });

  it('names the step before which its streams start over, and begins with zeros where a pass does', () => {
    const training = smallTraining({ config: LOCAL });
    training.states.count([0, 1, 2], new Float32Array(3 * training.stateFloats).fill(0.5));
    training.states.commit();
    expect([0, 1, 2, 3].map((round) => leaseWindows(training, round, [1]).local?.wrapStep)).toEqual([undefined, 5, undefined, 2]);
    const states = (round: number) =>
      localLeaseOf(training, round, [1]).steps.map(({ states: before }) => before && [...new Set(before)]);
    expect(states(0)).toEqual([[0], ...Array(7).fill(undefined)]);
    expect(states(1)).toEqual([[0.5], ...Array(4).fill(undefined), [0], undefined, undefined]);
  });

  it('rises to the learning rate of its round, the same for every lease, whatever an admin changes meanwhile', () => {
    const training = smallTraining({ config: LOCAL });
    const before = leaseWindows(training, 0, [0]);
    Object.assign(training.knobs, { learningRate: 0.125, clip: 0 });
    expect(leaseWindows(training, 0, [1])).toMatchObject({ learningRates: before.learningRates, local: { clip: CONFIG.clip } });
    expect(before.learningRates).toEqual([0.25, ...Array(7).fill(0.5)]);
    expect(leaseWindows(training, 1, [1]).learningRates.at(-1)).toBe(0.125);
    expect(leaseWindows(training, 1, [1]).local?.clip).toBe(0);
  });
});

it('the step with the mean difference has a learning rate of its own, and is not clipped', () => {
  expect(stepOf(smallTraining({ config: LOCAL }), 0)).toEqual({ learningRate: Math.fround(0.7), clip: 0 });
  expect(stepOf(smallTraining(), 0)).toMatchObject({ learningRate: 0.5, clip: 1 });
});

it('a local run resumes where its streams were', () => {
  const training = smallTraining({ config: LOCAL });
  const checkpoint = takeCheckpoint(training, 3, 'now');
  expect(checkpoint.cursors).toEqual([0, 1, 2].map((stream) => training.streams.cursor(stream, 24)));
  expect(smallTraining({ config: LOCAL, checkpoint }).round).toBe(3);
});

describe('local steps', () => {
  it('of more windows than a stream has are refused', () => {
    expect(() => smallTraining({ config: { localSteps: 13, tracks: 3 } })).not.toThrow();
    const tooShort = { name: 'CorpusError', code: 'too_short', remedy: expect.stringContaining('--local-steps 13 or less') };
    expect(() => smallTraining({ config: { localSteps: 14, tracks: 3 } })).toThrow(expect.objectContaining(tooShort));
  });

  it('whose windows no message can hold are refused', () => {
    const large = { ...CONFIG, streams: 4_096, window: 256, localSteps: 1_024 };
    expect(() => requireFittingModel({ ...large, tracks: 8 })).not.toThrow();
    const tooLarge = { name: 'ModelTooLarge', remedy: 'Use a smaller --local-steps or --window, or more --tracks.' };
    expect(() => requireFittingModel({ ...large, tracks: 1 })).toThrow(expect.objectContaining(tooLarge));
  });
});
