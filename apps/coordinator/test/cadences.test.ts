import { describe, expect, it } from 'vitest';
import { cadencesOf, describeChanged, withOtherCadences } from '../src/cadences.js';

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
    const local = withOtherCadences(given, stored, 32);
    expect([...local]).toEqual([
      ['--eval-every', '2'],
      ['--checkpoint-every', '5'],
      ['--sample-every', '0'],
    ]);
    expect(describeChanged(given, local)).toEqual(['What counts rounds follows them: --eval-every 2 (it was 64).']);
    expect(describeChanged(given, given)).toEqual([]);
    expect(withOtherCadences(local, local, 1 / 32).get('--eval-every')).toBe('64');
  });
});
