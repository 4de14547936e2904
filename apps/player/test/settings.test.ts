import { describe, expect, it } from 'vitest';
import { shellQuote } from '@troupe/config';
import { commandFor, readSettings, type Fields } from '../src/settings.js';

const FIELDS: Fields = { opening: 'Shall I', temperature: '0.8', 'top-k': '0', length: '500', seed: '1' };

describe('readSettings', () => {
  it('reads every field', () => {
    expect(readSettings(FIELDS)).toEqual({ settings: { opening: 'Shall I', temperature: 0.8, topK: 0, length: 500, seed: 1 } });
  });

  it.each([
    ['temperature', '', 'Temperature should be a number from 0 to 100.'],
    ['temperature', '-1', 'Temperature should be a number from 0 to 100.'],
    ['top-k', '2.5', 'Most likely only should be a whole number from 0 to 65,536.'],
    ['length', '0', 'Characters should be a whole number from 1 to 1,000,000.'],
    ['seed', '4294967296', 'Seed should be a whole number from 0 to 4,294,967,295.'],
  ] as const)('refuses %s "%s" and says what it should be', (field, text, said) => {
    expect(readSettings({ ...FIELDS, [field]: text })).toEqual({ problem: { field, text: said } });
  });
});

describe('commandFor', () => {
  const settings = { opening: "it's", temperature: 0, topK: 9, length: 40, seed: 2 };

  it('names every setting that differs from the usual', () => {
    expect(commandFor(settings, 'float16', shellQuote)).toBe(
      `troupe sample --checkpoint FILE --precision float16 --prime ${shellQuote("it's")} --temperature 0 --top-k 9 --length 40 --seed 2`,
    );
    expect(commandFor({ ...settings, opening: '', topK: 0 }, 'float32', shellQuote)).toBe(
      'troupe sample --checkpoint FILE --temperature 0 --length 40 --seed 2',
    );
  });
});
