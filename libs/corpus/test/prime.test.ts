import { describe, expect, it } from 'vitest';
import { createVocabulary, encodePrime, knownForm } from '../src/index.js';

const composed = createVocabulary('caf\u00e9 au lait\n');
const decomposed = createVocabulary('cafe\u0301 au lait\n');

describe('a prime', () => {
  it('is read in the form of the text: without a byte order mark and with LF for CRLF', () => {
    expect(encodePrime(composed, '\ufeffcaf\u00e9\r\nau')).toMatchObject({ text: 'caf\u00e9\nau', skipped: [] });
  });

  it('is composed or decomposed as the vocabulary has it', () => {
    expect(encodePrime(composed, 'cafe\u0301').text).toBe('caf\u00e9');
    expect(encodePrime(decomposed, 'caf\u00e9').text).toBe('cafe\u0301');
    expect([...encodePrime(decomposed, 'caf\u00e9').ids]).toEqual([...decomposed.encode('cafe\u0301')]);
  });

  it('with unknown characters is refused, or has them left out and named', () => {
    expect(() => encodePrime(composed, 'a z\u00fc!')).toThrow(expect.objectContaining({ code: 'unknown_character' }));
    expect(encodePrime(composed, 'a z\u00fcz!fu', true)).toMatchObject({ text: 'a fu', skipped: ['z', '\u00fc', '!'] });
    expect(() => encodePrime(composed, 'xyz', true)).toThrow(expect.objectContaining({ code: 'unknown_character' }));
  });

  it('is a line break if none is given, or the first character of a text in one line', () => {
    expect(encodePrime(composed, '').text).toBe('\n');
    expect(encodePrime(createVocabulary('ba'), '').text).toBe('a');
  });

  it('keeps its form when neither form is better known', () => {
    expect(knownForm(createVocabulary('ab'), '\u00e9')).toBe('\u00e9');
  });
});
