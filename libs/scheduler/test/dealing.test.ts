import { describe, expect, it } from 'vitest';
import { dealUnits, dealQuotas, oneForEach, probeQuotas } from '../src/dealing.js';

const capacity = (workerId: string, charsPerSecond: number, held = 0) => ({
  workerId,
  charsPerSecond,
  transferMs: 0,
  held,
});

const load = (units: number, serviceMs = 0) => ({ units, unitCharacters: 1000, serviceMs });

describe('dealing quotas', () => {
  it('gives equal machines equal quotas although their measured speeds differ a little', () => {
    expect(dealQuotas([capacity('a', 1000), capacity('b', 1080)], load(32))).toEqual([16, 16]);
  });

  it('deals in proportion to speed when machines differ', () => {
    expect(dealQuotas([capacity('a', 3000), capacity('b', 1000)], load(32))).toEqual([24, 8]);
  });

  it('keeps what each worker holds while that is close to the best deal, so that states need not move', () => {
    expect(dealQuotas([capacity('a', 1000, 17), capacity('b', 1000, 15)], load(32))).toEqual([17, 15]);
  });

  it('deals again when keeping the held streams would be much slower', () => {
    expect(dealQuotas([capacity('a', 1000, 16), capacity('b', 200, 16)], load(32))).toEqual([27, 5]);
  });

  it('gives a measured worker that holds nothing its share at once', () => {
    expect(dealQuotas([capacity('a', 1000, 32), capacity('b', 1000)], load(32))).toEqual([16, 16]);
  });

  it('gives no stream to a worker that is too slow for one', () => {
    expect(dealQuotas([capacity('a', 1000, 32), capacity('b', 1)], load(32))).toEqual([32, 0]);
  });

  it('can give every worker at least one, as long as there are enough', () => {
    expect(oneForEach([31, 1, 0])).toEqual([30, 1, 1]);
    expect(oneForEach([3, 0, 0, 0, 0])).toEqual([1, 1, 1, 0, 0]);
    expect(oneForEach([1, 0])).toEqual([1, 0]);
  });

  it.each([
    [[10, 1], 32],
    [[7, 5, 3, 1, 1], 33],
    [[100, 33, 32, 31, 2, 1], 64],
  ])('is as quick as any deal can be, at speeds %j', (speeds, total) => {
    const quotas = dealQuotas(
      speeds.map((speed, i) => capacity(`w${i}`, speed)),
      load(total),
    );
    const span = (deal: readonly number[]): number => Math.max(...deal.map((count, i) => count / speeds[i]));
    // Moving one unit between any two workers does not make it faster.
    for (let i = 0; i < speeds.length; i++) {
      for (let j = 0; j < speeds.length; j++) {
        if (i === j || quotas[i] === 0) continue;
        const moved = quotas.with(i, quotas[i] - 1).with(j, quotas[j] + 1);
        expect(span(moved)).toBeGreaterThanOrEqual(span(quotas) - 1e-12);
      }
    }
  });

  it('always deals every stream, even with more workers than streams', () => {
    for (let workers = 1; workers <= 40; workers++) {
      const capacities = Array.from({ length: workers }, (_, i) => capacity(`w${i}`, 1 + ((i * 37) % 11)));
      for (const total of [1, 7, 32]) expect(dealQuotas(capacities, load(total)).reduce((a, b) => a + b, 0)).toBe(total);
    }
  });
});

describe('dealing units', () => {
  it('leaves units with the worker that holds their states, up to its quota', () => {
    const holder = (unit: number) => (unit < 3 ? 'a' : 'b');
    const dealt = dealUnits([0, 1, 2, 3], ['a', 'b'], [2, 2], holder);
    expect(Object.fromEntries(dealt)).toEqual({ a: [0, 1], b: [2, 3] });
  });
});

describe('probes', () => {
  it('are a small part of what the reported speed would give a worker', () => {
    // A quarter of its half would be 8; a tenth of all is 6.
    expect(probeQuotas([{ reportedCharsPerSecond: 1000 }], 1000, 64)).toEqual([6]);
    expect(probeQuotas([{ reportedCharsPerSecond: 100 }], 1000, 64)).toEqual([1]);
    expect(probeQuotas([{ reportedCharsPerSecond: 0 }], 1000, 64)).toEqual([1]);
  });

  it('are at most a tenth of a round, however many workers are unmeasured', () => {
    const crowd = Array.from({ length: 50 }, () => ({ reportedCharsPerSecond: 1000 }));
    const quotas = probeQuotas(crowd, 1000, 40);
    expect(quotas.reduce((a, b) => a + b, 0)).toBe(4);
    expect(probeQuotas(crowd, 1000, 1).reduce((a, b) => a + b, 0)).toBe(0);
  });
});
