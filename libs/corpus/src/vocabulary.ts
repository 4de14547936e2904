import { LIMITS } from '@troupe/config/limits';
import { CorpusError } from './errors.js';

/** Characters (Unicode code points) and their ids 0..V-1. */
export interface Vocabulary {
  /** Characters by id. */
  readonly characters: readonly string[];
  /** V, the number of distinct characters. */
  readonly size: number;
  /** Ids [n] of the n code points of `text`. @throws CorpusError `unknown_character` */
  encode(text: string): Uint16Array;
  /** The text of ids. @throws RangeError for an id outside 0..V-1 */
  decode(ids: ArrayLike<number>): string;
}

/**
 * From a text: its distinct code points, in code point order. From a list, as in a checkpoint:
 * those characters, in that order; each must be one code point, and no two may be equal.
 * @throws CorpusError `bad_vocabulary`
 */
export function createVocabulary(source: string | readonly string[]): Vocabulary {
  const codes = typeof source === 'string' ? distinctCodes(source) : listedCodes(source);
  if (codes.length < 2 || codes.length > LIMITS.vocabulary) {
    throw new CorpusError(
      'bad_vocabulary',
      `the text has ${codes.length} distinct characters; a vocabulary has 2 to ${LIMITS.vocabulary}`,
      'Choose a text with at least two different characters, in one language or script.',
    );
  }
  const characters = Object.freeze(codes.map((code) => String.fromCodePoint(code)));
  const idOf = idTable(codes);
  return {
    characters,
    size: characters.length,
    encode: (text) => encode(text, idOf, characters),
    decode: (ids) => decode(ids, characters),
  };
}

function distinctCodes(text: string): number[] {
  const codes = new Set<number>();
  for (let at = 0; at < text.length;) {
    const code = text.codePointAt(at)!;
    codes.add(code);
    at += code > 0xffff ? 2 : 1;
  }
  return [...codes].sort((a, b) => a - b);
}

function listedCodes(characters: readonly string[]): number[] {
  const codes = characters.map((character) => {
    if (typeof character === 'string' && [...character].length === 1) return character.codePointAt(0)!;
    throw new CorpusError(
      'bad_vocabulary',
      `${JSON.stringify(character)} in the list of characters is not one character`,
      'List every character once, each as its own string.',
    );
  });
  if (new Set(codes).size !== codes.length) {
    throw new CorpusError('bad_vocabulary', 'the list of characters contains one twice', 'List every character once.');
  }
  return codes;
}

type IdTable = (code: number) => number;

/**
 * Ids of the Basic Multilingual Plane, which covers most text, in an array; the rest in a map. -1:
 * unknown.
 */
function idTable(codes: readonly number[]): IdTable {
  const plane = new Int32Array(0x10000).fill(-1);
  const rest = new Map<number, number>();
  for (const [id, code] of codes.entries()) {
    if (code > 0xffff) rest.set(code, id);
    else plane[code] = id;
  }
  return (code) => (code > 0xffff ? (rest.get(code) ?? -1) : plane[code]);
}

function encode(text: string, idOf: IdTable, characters: readonly string[]): Uint16Array {
  const ids = new Uint16Array(text.length);
  let count = 0;
  for (let at = 0; at < text.length;) {
    const code = text.codePointAt(at)!;
    const id = idOf(code);
    if (id < 0) throw unknownIn(text, at, count, characters);
    ids[count++] = id;
    at += code > 0xffff ? 2 : 1;
  }
  return count === ids.length ? ids : ids.slice(0, count);
}

function decode(ids: ArrayLike<number>, characters: readonly string[]): string {
  let text = '';
  for (let i = 0; i < ids.length; i++) {
    const character = characters[ids[i]];
    if (character === undefined)
      throw new RangeError(`id ${ids[i]} at position ${i} is not in the vocabulary, whose ids are 0 to ${characters.length - 1}`);
    text += character;
  }
  return text;
}

/** `at` counts UTF-16 code units, `count` the characters before it. */
function unknownIn(text: string, at: number, count: number, characters: readonly string[]): CorpusError {
  const before = text.slice(0, at).split('\n');
  const column = [...before[before.length - 1]].length + 1;
  const character = String.fromCodePoint(text.codePointAt(at)!);
  return unknownCharacter(character, { position: count + 1, line: before.length, column }, characters);
}

/** Where a character is; all three count from 1, in characters. */
export interface TextPosition {
  readonly position: number;
  readonly line: number;
  readonly column: number;
}

export function unknownCharacter(
  character: string,
  { position, line, column }: TextPosition,
  characters: readonly string[],
): CorpusError {
  const hex = character.codePointAt(0)!.toString(16).toUpperCase().padStart(4, '0');
  const where = `character ${position} (line ${line}, column ${column})`;
  return new CorpusError(
    'unknown_character',
    `${JSON.stringify(character)} (U+${hex}) at ${where} is not in the vocabulary of ${characters.length} characters`,
    `Use only characters that the model was trained on: ${JSON.stringify(characters.slice(0, 200).join(''))}${characters.length > 200 ? ' and more' : ''}.`,
  );
}
