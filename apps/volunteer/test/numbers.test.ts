import { describe, expect, it } from 'vitest';
import { createNumbers } from '../src/page/numbers.js';

describe('bytes', () => {
  const plain = (value: number, language = 'en'): string => createNumbers(language).bytes(value).replaceAll('\u00a0', ' ');
  it.each([
    [0, '0 B'],
    [84, '84 B'],
    [999.4, '999 B'],
    [999.6, '1 kB'],
    [1_234, '1.23 kB'],
    [999_700, '1 MB'],
    [85_900_000, '85.9 MB'],
    [999_900_000, '1 GB'],
    [2.5e9, '2.5 GB'],
  ])('%d are %s', (value, text) => expect(plain(value)).toBe(text));
  it.each([
    [2_043_181, '2 MB'],
    [29_400_000_000, '29 GB'],
    [994_000, '990 kB'],
    [996_000, '1 MB'],
    [84.4, '84 B'],
  ])('%d are about %s', (value, text) => expect(createNumbers('en').about(value).replaceAll('\u00a0', ' ')).toBe(text));
  it('are written the same way in Chinese', () => expect(plain(84, 'zh')).toBe('84 B'));
});
