import { CorpusError } from './errors.js';
import { normalizeText } from './normalize.js';
import type { Vocabulary } from './vocabulary.js';

export interface Prime {
  /** Ids of `text` [n], at least one. */
  readonly ids: Uint16Array;
  /** The text as the model reads it. */
  readonly text: string;
  /** The characters that were left out, each once. */
  readonly skipped: readonly string[];
}

/**
 * The opening that a model continues, in the form of the text that it was trained on: without a byte
 * order mark, with LF for CRLF, and with accents composed or decomposed as the vocabulary has them.
 * An empty prime becomes a line break, where verse begins, or the first character.
 * @param skipUnknown leave out characters that the vocabulary lacks
 * @throws CorpusError `unknown_character`
 */
export function encodePrime(vocabulary: Vocabulary, prime: string, skipUnknown = false): Prime {
  const { characters } = vocabulary;
  if (prime === '') prime = characters.includes('\n') ? '\n' : characters[0];
  const known = new Set(characters);
  const form = knownForm(vocabulary, normalizeText(prime));
  const text = skipUnknown ? [...form].filter((character) => known.has(character)).join('') : form;
  if (text === '') {
    throw new CorpusError(
      'unknown_character',
      'the model knows no character of the prime',
      `Begin with characters that the model was trained on: ${JSON.stringify(characters.slice(0, 200).join(''))}.`,
    );
  }
  return { ids: vocabulary.encode(text), text, skipped: skipUnknown ? unknownIn(form, known) : [] };
}

/**
 * The text itself, or the same with its accents composed (NFC) or decomposed (NFD): the first form
 * without unknown characters, or else the one with the fewest different ones.
 */
export function knownForm(vocabulary: Vocabulary, text: string): string {
  const known = new Set(vocabulary.characters);
  let best = text;
  let fewest = unknownIn(text, known).length;
  for (const form of ['NFC', 'NFD']) {
    if (fewest === 0) return best;
    const other = text.normalize(form);
    const unknown = unknownIn(other, known).length;
    if (unknown < fewest) [best, fewest] = [other, unknown];
  }
  return best;
}

/** The different characters of a text that are not `known`. */
function unknownIn(text: string, known: ReadonlySet<string>): string[] {
  const unknown = new Set<string>();
  for (const character of text) if (!known.has(character)) unknown.add(character);
  return [...unknown];
}
