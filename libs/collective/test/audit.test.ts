import { GRADIENT_CODECS } from '@troupe/protocol';
import { describe, expect, it } from 'vitest';
import {
  claimOf as claimed,
  differenceOf,
  distanceOf,
  segmentsOf,
  trackVerdict,
  type Claim,
  type Recomputed,
} from '../src/index.js';
import { encoded } from './coded.js';

const shape = (codec: (typeof GRADIENT_CODECS)[number]) => ({ codec, tensorSizes: [20_000, 40, 3_000], stateFloats: 8, seed: 5 });
const SIZE = 23_040;
const LEASE = { round: 4, streams: [2, 0] };

/** Values of a few orders of magnitude, the same in each run. */
const gradient = Float32Array.from({ length: SIZE }, (_, i) => Math.sin(i * 12.9898) * 10 ** (2 * Math.sin(i * 0.77) - 3));
const endStates = Float32Array.from({ length: 16 }, (_, i) => Math.sin(i));
const honest: Recomputed = { gradient, endStates, lossSum: 300 };

function claimOf(codec: (typeof GRADIENT_CODECS)[number], sent: Recomputed): Claim {
  const coded = encoded(shape(codec), sent.gradient, 0, LEASE);
  // As it travels: the last segment first.
  const segments = segmentsOf(shape(codec)).toReversed();
  const bytes = Buffer.concat([
    ...segments.map(({ offset, bytes: length }) => coded.subarray(offset, offset + length)),
    new Uint8Array(sent.endStates.buffer, sent.endStates.byteOffset, sent.endStates.byteLength),
  ]);
  const claim = { ...LEASE, lossSum: sent.lossSum, bytes: Uint8Array.from(bytes) };
  expect(claimed(shape(codec), LEASE, sent)).toEqual(claim);
  return claim;
}

const changed = (from: number, to: number, change: (value: number, i: number) => number): Float32Array =>
  gradient.map((value, i) => (i >= from && i < to ? change(value, i) : value));

/** Another engine: it differs by 2e-4 of each value. */
const similar: Recomputed = {
  gradient: gradient.map((value, i) => value * (1 + 2e-4 * Math.cos(i * 3.7))),
  endStates: endStates.map((value, i) => value + 1e-4 * Math.cos(i)),
  lossSum: 300.01,
};

const LIES: Readonly<Record<string, Recomputed>> = {
  'of zeros': { ...honest, gradient: new Float32Array(SIZE) },
  'times 100': { ...honest, gradient: changed(0, SIZE, (value) => value * 100) },
  'with 3 % added': { ...honest, gradient: changed(0, SIZE, (value) => value * 1.03) },
  'with the sign flipped': { ...honest, gradient: changed(0, SIZE, (value) => -value) },
  'of noise of equal norm': { ...honest, gradient: changed(0, SIZE, (_, i) => gradient[(i * 7_919) % SIZE]) },
  'without one small tensor': { ...honest, gradient: changed(20_000, 20_040, () => 0) },
  'with larger states': { ...honest, endStates: endStates.map((value) => value + 0.1) },
  'with a state of infinity': { ...honest, endStates: endStates.map((value, i) => (i === 3 ? Infinity : value)) },
  'with a lower loss': { ...honest, lossSum: 290 },
  'with a loss of NaN': { ...honest, lossSum: NaN },
};

describe.each(GRADIENT_CODECS)('an audit in %s', (codec) => {
  const difference = (sent: Recomputed, exact = false) => differenceOf(shape(codec), claimOf(codec, sent), honest, exact);

  it('agrees with the same engine to the bit, and with another one nearly', () => {
    expect(difference(honest, true)).toBeUndefined();
    expect(difference(honest)).toBeUndefined();
    expect(difference(similar)).toBeUndefined();
    expect(difference(similar, true)).toMatch(/bits/);
  });

  it.each(Object.entries(LIES))('finds a contribution %s', (_, lie) => {
    expect(difference(lie)).toMatch(/gradient|state|loss/);
    expect(difference(lie, true)).toMatch(/gradient|state|loss/);
  });
});

describe('what an audit of a track says', () => {
  it.each([
    [0.01, 0, 'sound'],
    // Engines that drift apart as the probe does.
    [0.2, 0.06, 'sound'],
    [0.2, 0.01, 'unknown'],
    [0.5, 0.3, 'unknown'],
    // A gradient of zeros, and one with its sign flipped.
    [1, 0.05, 'wrong'],
    [2, 0.05, 'wrong'],
    // In chaos nobody can tell.
    [1, 0.4, 'unknown'],
    [Infinity, 0, 'wrong'],
  ] as const)('of a claim at a distance of %s, where the probe is at %s, is that it is %s', (distance, probe, verdict) => {
    expect(trackVerdict(distance, probe)).toBe(verdict);
  });

  it.each(['fp16', 'int8-both'] as const)('rests on distances as parts of the norm, in %s', (codec) => {
    const distance = (factor: number) => {
      const sent = { ...honest, gradient: gradient.map((value) => value * factor) };
      return distanceOf(shape(codec), claimOf(codec, sent), honest);
    };
    expect(distance(1)).toBeLessThan(0.01);
    expect(distance(1.5)).toBeCloseTo(0.5, 1);
    expect(distance(-1)).toBeCloseTo(2, 1);
    expect(distance(0)).toBeCloseTo(1, 5);
    const states = { ...honest, endStates: endStates.map((value) => -value) };
    expect(distanceOf(shape(codec), claimOf(codec, states), honest)).toBeCloseTo(2, 5);
  });
});
