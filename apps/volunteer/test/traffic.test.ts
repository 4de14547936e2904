import { describe, expect, it } from 'vitest';
import { capMbOf, usualCapMb, type Device } from '../src/decisions/device.js';
import { observeRound, roundMsOf, type RoundWatch } from '../src/decisions/rounds.js';
import { USUAL_EXCHANGE } from '../src/decisions/run-facts.js';
import { assumedRoundMs, estimateTraffic, needsConsent, type AssumedSpeed, type TrafficFacts } from '../src/decisions/traffic.js';

const EXCHANGE = { ...USUAL_EXCHANGE, streams: 32, window: 64, stateFloats: 1_024 };
const RUN: TrafficFacts = {
  ...{ parameters: 1_000_000, exchange: EXCHANGE, workers: 4 },
  ...{ pace: { roundMs: 3_600, basis: 'run' }, rateMbit: 0 },
};
const near = (expected: number) => expect.closeTo(expected, 1 - Math.floor(Math.log10(expected)));

describe('the traffic of a round', () => {
  it('is a gradient with end states up, an update with characters down, and a snapshot on joining', () => {
    expect(estimateTraffic(RUN)).toEqual({
      sentBytes: near(2e6 + 8 * 1_024 * 4),
      receivedBytes: near(2e6 + 8 * 65 * 2),
      joinBytes: 12_000_000,
      hour: { bytes: near(4.05e9), basis: 'run' },
    });
  });

  it('begins with what the optimizer keeps', () => {
    const joined = (optimizerSlots: number) => estimateTraffic({ ...RUN, exchange: { ...EXCHANGE, optimizerSlots } }).joinBytes;
    expect([joined(1), joined(2)]).toEqual([8_000_000, 12_000_000]);
  });

  it('of int8 is half of it up, and the same down', () => {
    const { sentBytes, receivedBytes } = estimateTraffic({ ...RUN, exchange: { ...EXCHANGE, upBytes: 1 } });
    expect(sentBytes / receivedBytes).toBeCloseTo(0.52, 1);
  });

  it('holds the windows of all local steps, each with its last target, and their learning rates', () => {
    // Of windows that short, a target more is half of them.
    const short = { ...EXCHANGE, window: 1, leases: 4 };
    const exact = estimateTraffic({ ...RUN, exchange: short });
    const local = estimateTraffic({ ...RUN, exchange: { ...short, localSteps: 101 } });
    expect(local.receivedBytes - exact.receivedBytes).toEqual(near(8 * 100 * 2 * 2 + 101 * 4));
    expect(local.sentBytes).toBe(exact.sentBytes);
  });

  it('has a contribution of each track that this worker computes, and at least one', () => {
    const sent = (leases: number, workers: number) =>
      estimateTraffic({ ...RUN, workers, exchange: { ...EXCHANGE, streams: 0, leases } }).sentBytes;
    expect(sent(8, 2) / sent(8, 8)).toBeCloseTo(4, 5);
    expect(sent(8, 16)).toBe(sent(8, 8));
  });
});

describe('the traffic of an hour', () => {
  const hour = (change: Partial<TrafficFacts>) => estimateTraffic({ ...RUN, ...change }).hour?.bytes;

  it('follows from the rounds', () => {
    expect(hour({ pace: { roundMs: 36_000, basis: 'run' } })! * 10).toBeCloseTo(hour({})!, -2);
    expect(hour({ pace: undefined })).toBeUndefined();
  });

  it('is no more than a rate limit lets pass', () => {
    // 0.5 Mbit/s are 225 MB an hour in one direction, and the other has about as much.
    expect(hour({ rateMbit: 0.5 })).toEqual(near(0.447e9));
    expect(hour({ rateMbit: 50 })).toBe(hour({}));
  });

  it.each([
    [3_600, true],
    [36_000, false],
    [undefined, false],
  ])('with rounds of %j ms needs the consent of the volunteer: %j', (roundMs, expected) => {
    const pace = roundMs === undefined ? undefined : ({ roundMs, basis: 'run' } as const);
    expect(needsConsent(estimateTraffic({ ...RUN, pace }))).toBe(expected);
    expect(needsConsent(undefined)).toBe(false);
  });
});

describe('the time that is assumed for a round', () => {
  const speed = { isHandheld: false, share: 1, charsPerSecond: undefined };
  const assumed = (change: Partial<AssumedSpeed>, workers = 1) =>
    assumedRoundMs({ roundCharacters: 2_048 }, 1_000_000, workers, { ...speed, ...change });

  it('is longer for a phone, and for a smaller share', () => {
    expect(assumed({ isHandheld: true })).toBeGreaterThan(assumed({})!);
    expect(assumed({ share: 0.5 })).toBeCloseTo(2 * assumed({})!);
  });

  it('is shared by all workers', () => expect(assumed({}, 4)).toBeCloseTo(assumed({})! / 4));

  it('comes from the measured speed, where there is one', () => {
    expect(assumed({ charsPerSecond: 1_024 })).toBe(2_000);
  });

  it('is unknown while the run does not say how large a round is', () => {
    expect(assumedRoundMs({ roundCharacters: undefined }, 1_000, 1, speed)).toBeUndefined();
  });
});

describe('the time that rounds take', () => {
  const watch = (answers: readonly (readonly [round: number | undefined, atMs: number, phase?: 'paused'])[]) =>
    roundMsOf(answers.reduce<RoundWatch>((seen, [round, atMs, phase]) => observeRound(seen, { round, phase }, atMs), []));

  it.each([
    [
      'over the answers so far',
      [
        [10, 0],
        [30, 4_000],
        [50, 10_000],
      ],
      250,
    ],
    [
      'over the last minute',
      [
        [0, 0],
        [10, 50_000],
        [70, 110_000],
      ],
      1_000,
    ],
    [
      'not of a moment',
      [
        [10, 0],
        [30, 1_000],
      ],
      undefined,
    ],
    [
      'not of a run that stands still',
      [
        [10, 0],
        [10, 8_000],
      ],
      undefined,
    ],
    [
      'not over a pause',
      [
        [10, 0],
        [11, 8_000, 'paused'],
        [12, 12_000],
      ],
      undefined,
    ],
    [
      'not over a return to a checkpoint',
      [
        [100, 0],
        [60, 8_000],
        [64, 12_000],
      ],
      1_000,
    ],
    [
      'not where the run says no round',
      [
        [10, 0],
        [undefined, 4_000],
        [20, 8_000],
      ],
      undefined,
    ],
  ] as const)('is known %s', (_, answers, expected) => expect(watch(answers)).toBe(expected));
});

describe('the usual limit of a session', () => {
  const laptop: Device = { mobile: false, coarsePointer: false, saveData: false, link: 'wifi' };
  it.each<[string, Partial<Device>, number]>([
    ['a laptop', {}, 2_000],
    ['a browser that says nothing', { mobile: undefined, link: undefined }, 2_000],
    ['a phone', { mobile: true }, 250],
    ['a device with a touch screen alone', { mobile: undefined, coarsePointer: true }, 250],
    ['a laptop behind a phone', { link: 'cellular' }, 250],
    ['a browser that saves data', { saveData: true }, 250],
  ])('of %s', (_, change, mb) => expect(usualCapMb({ ...laptop, ...change })).toBe(mb));

  it('yields to the choice of the volunteer', () => {
    expect([undefined, 0, 5_000].map((limitMb) => capMbOf({ limitMb }, laptop))).toEqual([2_000, 0, 5_000]);
  });
});
