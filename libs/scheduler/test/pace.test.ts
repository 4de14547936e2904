import { expect, it } from 'vitest';
import { allowanceMs, firstPace, measuredPace, startingPace } from '../src/pace.js';

it('a machine that was suspended for an hour is not believed to be slow for long', () => {
  const usual = { characters: 1_000, tookMs: 1_000, computeMs: 800 };
  const before = firstPace(usual, 5_000);
  const after = measuredPace(before, { ...usual, tookMs: 3_600_000 });
  expect(allowanceMs(after, 1_000)).toBeGreaterThan(allowanceMs(before, 1_000));
  expect(allowanceMs(after, 1_000)).toBeLessThan(60_000);
  let pace = after;
  for (let i = 0; i < 10; i++) pace = measuredPace(pace, usual);
  expect(allowanceMs(pace, 1_000)).toBeLessThan(2 * allowanceMs(before, 1_000));
});

it('nor is one whose first lease took an hour', () => {
  const first = measuredPace(startingPace(1_250), { characters: 1_000, tookMs: 3_600_000, computeMs: 800 });
  expect(first.measured).toBe(true);
  expect(first.transferMs).toBeLessThan(100_000);
});
