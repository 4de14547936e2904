import { describe, expect, it } from 'vitest';
import { adviseLocalRounds, type RoundShape } from '../src/advice.js';
import type { Capacity } from '../src/dealing.js';
import { createRunState, step, type Decision, type RunEffect } from '../src/index.js';
import { SETTINGS } from './settings.js';

/** Sixteen streams of 64 characters take 440 ms. */
const CHARS_PER_SECOND = 2_327;
const SHAPE: RoundShape = { streams: 320, window: 64, serviceMs: 0, codec: 'fp16', windowsPerPass: 1_000 };

const workers = (count: number, transferMs: number, charsPerSecond = CHARS_PER_SECOND): Capacity[] =>
  Array.from({ length: count }, (_, i) => ({ workerId: `w${i}`, charsPerSecond, transferMs, held: 0 }));

describe('the advice for an exact run', () => {
  it('is as many steps as keep workers busy on thin links, with a track for each', () => {
    const advice = adviseLocalRounds(workers(20, 3_300), SHAPE)!;
    expect(advice).toMatchObject({ localSteps: 32, tracks: 20 });
    expect(advice.utilisation).toBeCloseTo(440 / (440 + 3_300), 2);
    expect(advice.localUtilisation).toBeCloseTo((32 * 440) / (32 * 440 + 1_650), 2);
  });

  it.each([
    ['workers are busy', workers(20, 200)],
    ['a lease waits for something else than a link', workers(20, 40, 1e6)],
    ['there are more workers than streams', workers(321, 3_300)],
  ])('is nothing where %s', (_, capacities) => expect(adviseLocalRounds(capacities, SHAPE)).toBeUndefined());

  it('is nothing where even the most steps leave workers idle', () => {
    expect(adviseLocalRounds(workers(20, 3_300), { ...SHAPE, windowsPerPass: 7 })).toBeUndefined();
    // Others have a small part of its speed, and it is too fast for the tracks there are.
    const one = [...workers(1, 1_000, 1e6), ...workers(3, 1_000, 10)];
    expect(adviseLocalRounds(one, { ...SHAPE, streams: 4 })).toBeUndefined();
  });

  it('takes more tracks where workers differ', () => {
    const mixed = [...workers(2, 3_300), ...workers(2, 3_300, 3 * CHARS_PER_SECOND)];
    const advice = adviseLocalRounds(mixed, { ...SHAPE, streams: 64 })!;
    expect(advice.tracks).toBeGreaterThan(4);
    expect(64 % advice.tracks).toBe(0);
  });

  it('needs more steps in a run that sends fewer bytes already', () => {
    const steps = (codec: RoundShape['codec']) => adviseLocalRounds(workers(20, 3_300), { ...SHAPE, codec })!.localSteps;
    expect([steps('fp32'), steps('fp16'), steps('int8')]).toEqual([16, 32, 64]);
  });
});

describe('a run', () => {
  /** The decisions of so many rounds of two workers, whose leases take `transferMs` besides computing. */
  function played(rounds: number, transferMs: number, settings: Partial<typeof SETTINGS> = {}): [number, Decision][] {
    const state = createRunState(
      { ...SETTINGS, streams: 32, window: 64, rounds: 200, windowsPerPass: 1_000, codec: 'fp16', ...settings },
      0,
    );
    let nowMs = 0;
    const told: [number, Decision][] = [];
    const feed = (input: Parameters<typeof step>[1]): readonly RunEffect[] => {
      const effects = step(state, input, nowMs);
      for (const effect of effects) if (effect.type === 'decision') told.push([state.round, effect.decision]);
      return effects;
    };
    for (const workerId of ['a', 'b'])
      feed({ type: 'workerReady', trusted: true, workerId, name: workerId, charsPerSecond: 10_000 });
    let open = feed({ type: 'start' });
    while (state.round < rounds) {
      const leases = open.filter((effect) => effect.type === 'lease');
      const computeMs = Math.max(...leases.map(({ streams }) => streams.length * 6.4));
      nowMs += transferMs + computeMs;
      for (const lease of leases) feed({ ...lease, type: 'counted', lossSum: 0, computeMs, serviceMs: 0 });
      open = feed({ type: 'updated', round: state.round, trainLoss: 2 });
    }
    return told.filter(([, { kind }]) => kind === 'thinLinks');
  }

  it('tells once that its links are thin, and not at the first rounds', () => {
    const told = played(60, 1_000);
    expect(told).toEqual([[expect.any(Number), expect.objectContaining({ kind: 'thinLinks', workers: 2, tracks: 2 })]]);
    expect(told[0][0]).toBeGreaterThanOrEqual(20);
  });

  it.each([
    ['its workers are busy', 50, {}],
    ['its rounds are local', 1_000, { leaseStreams: 16 }],
  ])('tells nothing when %s', (_, transferMs, settings) => expect(played(60, transferMs, settings)).toEqual([]));
});
