import { describe, expect, it } from 'vitest';
import { createTrace, sparkline } from '../src/terminal/sparkline.js';

describe('a sparkline', () => {
  it('goes from the lowest value to the highest', () => {
    expect(sparkline([0, 1, 2, 3, 4, 5, 6, 7], 80)).toBe('▁▂▃▄▅▆▇█');
    expect(sparkline([4, 4, 4], 80)).toBe('▁▁▁');
  });

  it('averages neighbours when there are more values than columns', () => {
    expect(sparkline([0, 0, 10, 10, 5, 5], 3)).toBe('▁█▅');
    expect(sparkline(Array.from({ length: 999 }, Math.random), 40)).toHaveLength(40);
  });

  it('is empty without a curve', () => {
    expect(sparkline([], 40)).toBe('');
    expect(sparkline([1], 40)).toBe('');
  });
});

describe('a trace', () => {
  it('keeps the first and the last part of a long curve in bounded memory', () => {
    const trace = createTrace();
    for (let i = 0; i < 100_000; i++) trace.add(i);
    expect(trace.values.length).toBeLessThanOrEqual(1_024);
    expect(trace.values[0]).toBeLessThan(200);
    expect(trace.values.at(-1)).toBeGreaterThan(99_700);
    expect(trace.values).toEqual([...trace.values].sort((a, b) => a - b));
  });

  it('ignores what is no number', () => {
    const trace = createTrace();
    for (const value of [1, NaN, 2, Infinity]) trace.add(value);
    expect(trace.values).toEqual([1, 2]);
  });
});
