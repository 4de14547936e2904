import { LIMITS } from '@troupe/config/limits';
import { CorpusError } from './errors.js';
import { createVocabulary, unknownCharacter, type Vocabulary } from './vocabulary.js';

/** Ids of characters: bytes if the vocabulary has at most 256 characters. */
export type Tokens = Uint8Array | Uint16Array;

/** Turns a text into ids piece by piece, so that it need never be in memory as a whole. */
export interface Tokenizer {
  /** The next piece of the text. It holds whole characters. @throws CorpusError `bad_vocabulary` */
  add(piece: string): void;
  /**
   * The ids [n] of all pieces, and the vocabulary, in code point order. The tokenizer is then used up.
   * @throws CorpusError `bad_vocabulary`
   */
  finish(): { readonly vocabulary: Vocabulary; readonly tokens: Tokens };
}

const BYTE_IDS = 256;

/** Ids are first given in the order of appearance, and sorted at the end. */
export function createTokenizer(): Tokenizer {
  const ids = new Map<number, number>();
  // A table is faster than the map; it covers the Basic Multilingual Plane. 0 = not seen, else the id + 1.
  const plane = new Int32Array(0x10000);
  const pieces: Tokens[] = [];

  const idOf = (code: number): number => {
    const known = code > 0xffff ? ids.get(code) : plane[code] - 1;
    if (known !== undefined && known >= 0) return known;
    const id = ids.size;
    if (id >= LIMITS.vocabulary) throw tooManyCharacters();
    ids.set(code, id);
    if (code <= 0xffff) plane[code] = id + 1;
    return id;
  };

  return {
    add(piece) {
      const codes = new Uint16Array(piece.length);
      let count = 0;
      for (let at = 0; at < piece.length;) {
        const code = piece.codePointAt(at)!;
        codes[count++] = idOf(code);
        at += code > 0xffff ? 2 : 1;
      }
      const used = codes.subarray(0, count);
      pieces.push(ids.size <= BYTE_IDS ? Uint8Array.from(used) : used.slice());
    },
    finish() {
      const sorted = [...ids.keys()].sort((a, b) => a - b);
      const vocabulary = createVocabulary(sorted.map((code) => String.fromCodePoint(code)));
      const final = new Uint16Array(sorted.length);
      for (const [id, code] of sorted.entries()) final[ids.get(code)!] = id;
      return { vocabulary, tokens: joined(pieces, final) };
    },
  };
}

/** Takes the pieces out of the list one by one, so that their memory can be reused. */
function joined(pieces: Tokens[], final: Uint16Array): Tokens {
  const length = pieces.reduce((sum, piece) => sum + piece.length, 0);
  const tokens = final.length <= BYTE_IDS ? new Uint8Array(length) : new Uint16Array(length);
  let at = 0;
  pieces.reverse();
  for (let piece = pieces.pop(); piece !== undefined; piece = pieces.pop()) {
    for (let i = 0; i < piece.length; i++) tokens[at + i] = final[piece[i]];
    at += piece.length;
  }
  return tokens;
}

/**
 * Ids of the same text in another vocabulary; `tokens` itself if both vocabularies are equal.
 * @throws CorpusError `unknown_character`
 */
export function translateTokens(tokens: Tokens, from: Vocabulary, to: Vocabulary): Tokens {
  if (from.size === to.size && from.characters.every((character, id) => character === to.characters[id])) return tokens;
  const idOf = new Map(to.characters.map((character, id) => [character, id]));
  const table = from.characters.map((character) => idOf.get(character) ?? -1);
  const translated = to.size <= BYTE_IDS ? new Uint8Array(tokens.length) : new Uint16Array(tokens.length);
  for (let i = 0; i < tokens.length; i++) {
    const id = table[tokens[i]];
    if (id < 0) throw unknownAt(tokens, i, from, to);
    translated[i] = id;
  }
  return translated;
}

function unknownAt(tokens: Tokens, at: number, from: Vocabulary, to: Vocabulary): CorpusError {
  const lineEnd = from.characters.indexOf('\n');
  const before = tokens.subarray(0, at);
  let line = 1;
  for (const id of before) if (id === lineEnd) line++;
  const column = at - before.lastIndexOf(lineEnd);
  return unknownCharacter(from.characters[tokens[at]], { position: at + 1, line, column }, to.characters);
}

function tooManyCharacters(): CorpusError {
  return new CorpusError(
    'bad_vocabulary',
    `the text has more than ${LIMITS.vocabulary} distinct characters; a vocabulary has 2 to ${LIMITS.vocabulary}`,
    'Choose a text with at least two different characters, in one language or script.',
  );
}
