import { describe, expect, it } from 'vitest';
import { cadencesIn, cadencesOf, describeChanged, stepsOf, withStepsCounted } from '../src/cadences.js';

const flags = (...given: [string, string][]) => new Map(given);

describe('the cadences of a run', () => {
  it('are as many characters apart by default when rounds are local', () => {
    expect(cadencesOf(flags(), { localSteps: 1 })).toEqual({ evaluateEvery: 100, checkpointEvery: 200, sampleEvery: 200 });
    expect(cadencesOf(flags(), { localSteps: 32 })).toEqual({ evaluateEvery: 3, checkpointEvery: 6, sampleEvery: 6 });
    expect(cadencesOf(flags(), { localSteps: 1_000 }).evaluateEvery).toBe(1);
  });

  it('are those that are given', () => {
    const given = flags(['--eval-every', '50'], ['--sample-every', '0']);
    expect(cadencesOf(given, { localSteps: 32 })).toEqual({ evaluateEvery: 50, checkpointEvery: 6, sampleEvery: 0 });
  });

  it('follow a resume that changes what a round is, except those that it changes itself', () => {
    const stored = flags(['--eval-every', '64'], ['--checkpoint-every', '96'], ['--sample-every', '0']);
    const given = flags(['--eval-every', '64'], ['--checkpoint-every', '5'], ['--sample-every', '0']);
    const rounds = { before: 1, now: 32 };
    const [were, are] = [1, 32].map((steps) => cadencesIn(steps, given, stored, rounds));
    expect([...are]).toEqual([
      ['--eval-every', '2'],
      ['--checkpoint-every', '5'],
      ['--sample-every', '0'],
    ]);
    expect(describeChanged(were, are)).toEqual(['What counts rounds follows them: --eval-every 2 (it was 64).']);
    expect(describeChanged(were, were)).toEqual([]);
  });

  it('count the rounds for which they were given, in whichever rounds the run is resumed with the same flags', () => {
    const given = flags(['--eval-every', '100'], ['--checkpoint-every', '200']);
    const stored = withStepsCounted(given, given, { before: 1, now: 32 });
    for (const before of [1, 8, 32]) {
      const local = cadencesIn(32, given, stored, { before, now: 32 });
      expect(cadencesOf(local, { localSteps: 32 })).toMatchObject({ evaluateEvery: 3, checkpointEvery: 6 });
      expect([...cadencesIn(1, given, stored, { before, now: 1 })]).toEqual([...given]);
      expect(withStepsCounted(given, stored, { before, now: 32 })).toEqual(stored);
    }
    const other = flags(['--eval-every', '5'], ['--checkpoint-every', '200']);
    const rounds = { before: 32, now: 32 };
    expect(cadencesOf(cadencesIn(32, other, stored, rounds), { localSteps: 32 })).toMatchObject({ evaluateEvery: 5 });
    const then = withStepsCounted(other, stored, rounds);
    expect([stepsOf('--eval-every'), stepsOf('--checkpoint-every')].map((key) => then.get(key))).toEqual(['32', '1']);
  });
});
