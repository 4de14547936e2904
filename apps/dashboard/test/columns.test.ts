import { describe, expect, it } from 'vitest';
import { append, between, firstIndex, lastRound, NO_POINTS, thin } from '../src/state/columns.js';
import { points } from './points.js';

describe('append', () => {
  it('adds later rounds and skips those that are known', () => {
    const joined = append(points(1, 5), points(4, 7));
    expect(joined.round).toEqual([1, 2, 3, 4, 5, 6, 7]);
    expect(joined.trainLoss).toEqual([1, 2, 3, 4, 5, 6, 7]);
    expect(lastRound(joined)).toBe(7);
  });

  it('returns the same object when nothing is new', () => {
    const known = points(1, 5);
    expect(append(known, points(2, 4))).toBe(known);
    expect(append(known, NO_POINTS)).toBe(known);
  });

  it('keeps a bounded number of points over 100,000 rounds, with the first and the last', () => {
    let all = NO_POINTS;
    for (let from = 1; from < 100_000; from += 1_000) all = append(all, points(from, from + 999));
    expect(all.round.length).toBeLessThanOrEqual(6_000);
    expect(all.round[0]).toBe(1);
    expect(lastRound(all)).toBe(100_000);
    expect([...all.round]).toEqual([...all.round].sort((a, b) => a - b));
  });
});

describe('thin', () => {
  it('keeps spikes of loss, norm and time', () => {
    const flat = (at: number, spike: number) => (round: number) => (round === at ? spike : 1);
    const thinned = thin(
      points(1, 10_000, { trainLoss: flat(1234, 9), gradientNorm: flat(5678, 99), roundMs: flat(9876, 5_000) }),
      400,
    );
    expect(thinned.round.length).toBeLessThanOrEqual(400);
    expect(thinned.round).toEqual(expect.arrayContaining([1234, 5678, 9876]));
    expect(Math.max(...thinned.gradientNorm)).toBe(99);
  });

  it('thins dense stretches and leaves sparse ones as they are', () => {
    const sparse = thin(points(1, 50_000), 200);
    const joined = append(sparse, points(50_001, 55_900));
    const thinned = thin(joined, 1_000);
    const old = between(thinned, 1, 50_000).round.length;
    expect(old).toBe(sparse.round.length);
  });

  it('keeps the lowest loss', () => {
    const dip = points(1, 10_000, { trainLoss: (round) => (round === 4321 ? 0.1 : 1) });
    expect(Math.min(...thin(dip, 400).trainLoss)).toBe(0.1);
  });

  it('keeps points from every stretch of the run, in order and each once', () => {
    const { round } = thin(points(1, 10_000, { trainLoss: Math.sin, gradientNorm: Math.cos, roundMs: Math.tan }), 400);
    expect(round).toEqual([...new Set(round)].sort((a, b) => a - b));
    const gaps = round.slice(1).map((next, i) => next - round[i]);
    expect(Math.max(...gaps)).toBeLessThanOrEqual(200);
  });

  it('keeps the columns of a round together', () => {
    const thinned = thin(points(1, 10_000), 400);
    expect(thinned.workers).toEqual(thinned.round);
    expect(thinned.trainLoss).toEqual(thinned.round);
  });

  it('leaves few points as they are', () => {
    const few = points(1, 10);
    expect(thin(few, 10)).toBe(few);
  });
});

describe('between', () => {
  it('includes both ends', () => {
    expect(between(points(1, 10), 3, 5).round).toEqual([3, 4, 5]);
    expect(between(points(1, 10), 11, 20).round).toEqual([]);
  });

  it('cuts every column', () => {
    expect(between(points(1, 10), 3, 5).charsPerSecond).toEqual([3, 4, 5]);
  });

  it('returns the same object when it cuts nothing', () => {
    const all = points(5, 10);
    expect(between(all, 0, 10)).toBe(all);
  });
});

it('lastRound is 0 before the first round', () => {
  expect(lastRound(NO_POINTS)).toBe(0);
  expect(lastRound(points(3, 8))).toBe(8);
});

it('firstIndex finds the first entry that is large enough', () => {
  expect([0, 1, 2, 5, 9, 10].map((value) => firstIndex([1, 5, 9], value))).toEqual([0, 0, 1, 1, 2, 3]);
});
