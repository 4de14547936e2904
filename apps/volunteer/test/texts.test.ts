import { describe, expect, it } from 'vitest';
import { chooseLanguage, LANGUAGES, TEXTS } from '../src/texts.js';

/** All texts with their paths; functions are called with placeholder words. */
function flatten(value: unknown, place = ''): [string, string][] {
  if (typeof value === 'string') return [[place, value]];
  if (typeof value === 'function') return [[place, String((value as (...words: string[]) => unknown)('甲', '乙', '丙'))]];
  return Object.entries(value as object).flatMap(([key, inner]) => flatten(inner, `${place}.${key}`));
}

describe('the texts', () => {
  it('exist in every language, and none is empty', () => {
    const places = flatten(TEXTS.en).map(([place]) => place);
    for (const language of Object.keys(LANGUAGES) as (keyof typeof TEXTS)[]) {
      const texts = flatten(TEXTS[language]);
      expect(texts.map(([place]) => place)).toEqual(places);
      expect(texts.filter(([, text]) => text.trim() === '')).toEqual([]);
    }
  });

  it('contain their parameters in every language', () => {
    for (const texts of Object.values(TEXTS)) {
      expect(texts.roundOf('3', '9', undefined)).toMatch(/3.*9/);
      expect(texts.creditOf('Ada', '12', '7')).toMatch(/Ada.*12.*7/);
    }
  });
});

describe('the language', () => {
  it.each([
    ['zh', ['en-US'], 'zh'],
    [null, ['zh-CN', 'en'], 'zh'],
    [null, ['zh-Hant-TW'], 'zh'],
    [null, ['de-DE', 'en-GB', 'zh'], 'en'],
    [null, ['fr'], 'en'],
    ['klingon', [], 'en'],
  ] as const)('chosen %j, browser %j: %s', (chosen, preferred, expected) =>
    expect(chooseLanguage(chosen, preferred)).toBe(expected),
  );
});
