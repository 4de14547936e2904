import { expect, it } from 'vitest';
import { parsePeriod } from '../src/duration.js';

it.each([
  ['1m', 60_000],
  ['90m', 5_400_000],
  ['12h', 43_200_000],
  ['7d', 604_800_000],
  ['4w', 2_419_200_000],
  ['3650d', 315_360_000_000],
])('%s is a period', (text, ms) => {
  expect(parsePeriod(text)).toBe(ms);
});

it.each(['', '7', 'd', '0d', '-1d', '1.5h', '7 d', '7D', '3651d', '9999999d', '1e3d', 'never'])('%j is none', (text) => {
  expect(parsePeriod(text)).toBeUndefined();
});
