/** What is kept on the device; where storage is turned off, or full, in the page, until it is closed. */
import { addCredit, NO_CREDIT, parseCredit, type Credit } from '../decisions/credit.js';
import { parseTerms, type Terms } from '../decisions/terms.js';

const KEYS = { terms: 'troupe.terms', credit: 'troupe.credit', language: 'troupe.language' } as const;

/** What is used of a browser's localStorage; asking for it throws where it is turned off. */
interface Area {
  getItem(key: string): string | null;
  setItem(key: string, value: string): void;
}
const area = (): Area => (globalThis as unknown as { readonly localStorage: Area }).localStorage;

/** What storage did not take. */
const unstored = new Map<string, string>();

function read(key: string): string | null {
  const held = unstored.get(key);
  if (held !== undefined) return held;
  try {
    return area().getItem(key);
  } catch {
    return null;
  }
}

function write(key: string, value: string): void {
  try {
    area().setItem(key, value);
    unstored.delete(key);
  } catch {
    unstored.set(key, value);
  }
}

export const store = {
  terms: (): Terms => parseTerms(read(KEYS.terms)),
  keepTerms: (terms: Terms): void => write(KEYS.terms, JSON.stringify(terms)),
  language: (): string | null => read(KEYS.language),
  keepLanguage: (language: string): void => write(KEYS.language, language),
  credit: (): Credit => parseCredit(read(KEYS.credit)),
  /** Read again before it is written: other tabs earn too. */
  earn(characters: number, rounds: number): Credit {
    const credit = addCredit(parseCredit(read(KEYS.credit)), characters, rounds);
    write(KEYS.credit, JSON.stringify(credit));
    return credit;
  },
  forgetCredit(): Credit {
    write(KEYS.credit, JSON.stringify(NO_CREDIT));
    return NO_CREDIT;
  },
};
