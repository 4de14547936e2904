import { describe, expect, it } from 'vitest';
import { dealQuotas, dealStreams } from '../src/dealing.js';

const hand = (workerId: string, charsPerSecond: number, held = 0, untried = false) => ({
  workerId,
  charsPerSecond,
  held,
  untried,
});

describe('dealing quotas', () => {
  it('gives equal machines equal shares although their measured speeds differ a little', () => {
    expect(dealQuotas([hand('a', 1000), hand('b', 1080)], 32)).toEqual([16, 16]);
  });

  it('deals in proportion to speed when machines differ', () => {
    expect(dealQuotas([hand('a', 3000), hand('b', 1000)], 32)).toEqual([24, 8]);
  });

  it('keeps what each holds while that is near the best, so that states need not move', () => {
    expect(dealQuotas([hand('a', 1000, 17), hand('b', 1000, 15)], 32)).toEqual([17, 15]);
  });

  it('deals anew when the held streams have become a bad deal', () => {
    expect(dealQuotas([hand('a', 1000, 16), hand('b', 200, 16)], 32)).toEqual([27, 5]);
  });

  it('lets a newcomer have its share at once', () => {
    expect(dealQuotas([hand('a', 1000, 32), hand('b', 1000)], 32)).toEqual([16, 16]);
  });

  it('gives an untried worker one stream at least, however slow it says it is, and a tried one none', () => {
    expect(dealQuotas([hand('a', 1000, 32), hand('b', 1, 0, true)], 32)).toEqual([31, 1]);
    expect(dealQuotas([hand('a', 1000, 32), hand('b', 1)], 32)).toEqual([32, 0]);
    expect(dealQuotas([hand('a', 1000), hand('b', 1, 0, true)], 1)).toEqual([1, 0]);
    const crowd = Array.from({ length: 5 }, (_, i) => hand(`w${i}`, i === 0 ? 1000 : 1, 0, true));
    expect(dealQuotas(crowd, 3)).toEqual([1, 1, 1, 0, 0]);
  });

  it('always deals every stream, with more workers than streams too', () => {
    for (let workers = 1; workers <= 40; workers++) {
      const hands = Array.from({ length: workers }, (_, i) => hand(`w${i}`, 1 + ((i * 37) % 11)));
      for (const total of [1, 7, 32]) expect(dealQuotas(hands, total).reduce((a, b) => a + b, 0)).toBe(total);
    }
  });
});

describe('dealing streams', () => {
  it('leaves streams with the worker that holds their state, up to its quota', () => {
    const holder = (stream: number) => (stream < 3 ? 'a' : 'b');
    const dealt = dealStreams([0, 1, 2, 3], ['a', 'b'], [2, 2], holder);
    expect(Object.fromEntries(dealt)).toEqual({ a: [0, 1], b: [2, 3] });
  });
});
