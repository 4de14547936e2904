import { describe, expect, it } from 'vitest';
import {
  charactersOf,
  configFromFlags,
  firstWindow,
  parseTrainingConfig,
  withOtherRounds,
  type TrainingConfig,
} from '../src/index.js';

function configOf(flags: Record<string, string> = {}): TrainingConfig {
  const parsed = parseTrainingConfig(configFromFlags((flag) => flags[flag], 65));
  if (!parsed.ok) throw new Error(parsed.problem);
  return parsed.config;
}

const EXACT = configOf({ '--ema': '0.998' });

describe('a run of other rounds', () => {
  const local = withOtherRounds(EXACT, 500, { localSteps: 32 });

  it('goes on with the window that comes next, and ends after as many', () => {
    expect(firstWindow(local, 500)).toBe(500);
    expect(firstWindow(local, 502)).toBe(564);
    expect(local).toMatchObject({ localSteps: 32, tracks: 8, rounds: 532 });
    expect(firstWindow(local, local.rounds)).toBeGreaterThanOrEqual(1_500);
    expect(firstWindow(local, local.rounds - 1)).toBeLessThan(1_500);
    expect(parseTrainingConfig(local)).toEqual({ ok: true, config: local });
  });

  it('averages over as many characters', () => {
    expect(local.ema).toBe(0.937945);
    expect(withOtherRounds(local, 510, { localSteps: 1 }).ema).toBeCloseTo(0.998, 6);
  });

  it('has a schedule that counts windows, whatever it began with', () => {
    expect(local.schedule).toMatchObject({ warmupRounds: 20, decayRounds: 1_500 });
    const began = configOf({ '--local-steps': '10', '--rounds': '100', '--warmup': '3' });
    const back = withOtherRounds(began, 40, { localSteps: 1 });
    expect(back).toMatchObject({ tracks: 0, rounds: 640, schedule: { warmupRounds: 30, decayRounds: 1_000 } });
    expect(withOtherRounds(back, 100, { localSteps: 10 })).toMatchObject({ rounds: 154, schedule: back.schedule });
    const steps = withOtherRounds(configOf({ '--schedule': 'step', '--lr-step': '7' }), 3, { localSteps: 2 });
    expect(steps.schedule).toMatchObject({ everyRounds: 7 });
  });

  it('counts the characters of both kinds', () => {
    expect([250, 500, 501].map((rounds) => charactersOf(local, rounds))).toEqual([250, 500, 532].map((n) => n * 32 * 64));
  });

  it('may name its tracks, and keeps those that it has', () => {
    expect(withOtherRounds(EXACT, 500, { localSteps: 8, tracks: 4 }).tracks).toBe(4);
    expect(withOtherRounds({ ...local, tracks: 2 }, 510, { localSteps: 8 }).tracks).toBe(2);
  });

  it('has leases of fixed size if it is reproducible', () => {
    const fixed = { ...EXACT, leaseStreams: 5 };
    const tracks = withOtherRounds(fixed, 500, { localSteps: 8 });
    expect([local.leaseStreams, tracks.leaseStreams]).toEqual([0, 4]);
    expect(withOtherRounds(tracks, 510, { localSteps: 1, leaseStreams: 5 }).leaseStreams).toBe(5);
  });
});
