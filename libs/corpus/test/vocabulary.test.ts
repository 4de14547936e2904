import { describe, expect, it } from 'vitest';
import { CorpusError, createVocabulary } from '../src/index.js';

function errorOf(act: () => unknown): CorpusError {
  try {
    act();
  } catch (error) {
    if (error instanceof CorpusError) return error;
    throw error;
  }
  throw new Error('nothing was thrown');
}

describe('createVocabulary', () => {
  it('sorts distinct characters by code point, not by UTF-16 unit', () => {
    expect(createVocabulary('b😀a\uffeeb\n').characters).toEqual(['\n', 'a', 'b', '\uffee', '😀']);
  });

  it('decodes the text it encoded, astral characters included', () => {
    const text = 'To be — or 😀 not\n';
    const vocabulary = createVocabulary(text);
    const ids = vocabulary.encode(text);
    expect(ids).toBeInstanceOf(Uint16Array);
    expect(ids).toHaveLength([...text].length);
    expect(vocabulary.decode(ids)).toBe(text);
  });

  it('keeps the order of a list, so that the ids of a checkpoint stay valid', () => {
    expect([...createVocabulary(['z', 'a']).encode('az')]).toEqual([1, 0]);
  });

  it.each([
    ['one distinct character', 'aaaa'],
    ['an empty text', ''],
    ['a duplicate', ['a', 'b', 'a']],
    ['an entry of two characters', ['a', 'bc']],
    ['an empty entry', ['a', '']],
  ])('rejects %s', (_, source) => {
    expect(errorOf(() => createVocabulary(source)).code).toBe('bad_vocabulary');
  });

  it('names an unknown character, its code, its position and the known characters', () => {
    const error = errorOf(() => createVocabulary('abc\n').encode('ab\nc😀'));
    expect(error.code).toBe('unknown_character');
    expect(error.message).toContain('"😀" (U+1F600) at character 5 (line 2, column 2)');
    expect(error.remedy).toContain('abc');
    expect(errorOf(() => createVocabulary('ab').encode('aé')).message).toContain('"é" (U+00E9) at character 2');
  });

  it('does not decode an id it does not have', () => {
    expect(() => createVocabulary('ab').decode([0, 2])).toThrow(RangeError);
  });
});
