import { describe, expect, it } from 'vitest';
import { createNormalizer, createTokenizer, createVocabulary, normalizeText, translateTokens } from '../src/index.js';

function tokenized(...pieces: string[]) {
  const tokenizer = createTokenizer();
  for (const piece of pieces) tokenizer.add(piece);
  return tokenizer.finish();
}

describe('a text that is tokenized in pieces', () => {
  it.each([
    ['a few characters', 'hello\nworld'],
    ['characters outside the Basic Multilingual Plane', '😀a🎭\uffee😀'],
    ['more than 256 characters', Array.from({ length: 700 }, (_, i) => String.fromCodePoint(0x4e00 + 31 * (i % 500))).join('')],
  ])('has the ids and vocabulary of the whole text, with %s', (_, text) => {
    const characters = [...text];
    const pieces = Array.from({ length: Math.ceil(characters.length / 3) }, (_, i) =>
      characters.slice(3 * i, 3 * i + 3).join(''),
    );
    const { vocabulary, tokens } = tokenized(...pieces);
    const whole = createVocabulary(text);
    expect(vocabulary.characters).toEqual(whole.characters);
    expect([...tokens]).toEqual([...whole.encode(text)]);
    expect(tokens.BYTES_PER_ELEMENT).toBe(vocabulary.size <= 256 ? 1 : 2);
  });

  it('is refused with one character only', () => {
    expect(() => tokenized('aaa')).toThrow(expect.objectContaining({ code: 'bad_vocabulary' }));
  });
});

describe('ids translated into another vocabulary', () => {
  const { vocabulary, tokens } = tokenized('ab\nca\nb');

  it('are the same array when the vocabularies are equal', () => {
    expect(translateTokens(tokens, vocabulary, createVocabulary('abc\n'))).toBe(tokens);
  });

  it('stand for the same characters', () => {
    const other = createVocabulary('zcba\nA');
    expect(other.decode(translateTokens(tokens, vocabulary, other))).toBe('ab\nca\nb');
  });

  it('report the first character that is missing, and where it is', () => {
    expect(() => translateTokens(tokens, vocabulary, createVocabulary('ab\n'))).toThrow(
      expect.objectContaining({
        code: 'unknown_character',
        message: expect.stringContaining('"c" (U+0063) at character 4 (line 2, column 1)'),
      }),
    );
  });
});

describe('the normal form of a text', () => {
  it('has no byte order mark and LF for CRLF', () => {
    expect(normalizeText('\ufeffone\r\ntwo\rthree\n')).toBe('one\ntwo\rthree\n');
  });

  it('is the same when the text arrives in pieces', () => {
    const text = 'one\r\ntwo\r\r\n\rthree\r';
    for (let cut = 0; cut <= text.length; cut++) {
      const normalizer = createNormalizer();
      const pieces = [normalizer.add(text.slice(0, cut)), normalizer.add(text.slice(cut)), normalizer.finish()];
      expect(pieces.join('')).toBe(normalizeText(text));
    }
  });
});
