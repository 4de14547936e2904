/** What is stored on the device. Where storage is turned off or full, the page holds it until it is closed. */
import { addCredit, NO_CREDIT, parseCredit, type Credit } from '../decisions/credit.js';
import { parseRunCredit, type RunCredit } from '../decisions/finish.js';
import { parseSettings, type Settings } from '../decisions/settings.js';

// The key of the settings is older than their name; another one would lose what is stored.
const KEYS = {
  settings: 'troupe.terms',
  credit: 'troupe.credit',
  runCredit: 'troupe.run-credit',
  language: 'troupe.language',
} as const;

/** The part of a browser's localStorage that is used. Reading the property throws where storage is turned off. */
interface Area {
  getItem(key: string): string | null;
  setItem(key: string, value: string): void;
}
const area = (): Area => (globalThis as unknown as { readonly localStorage: Area }).localStorage;

/** Values that storage did not accept. */
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
  settings: (): Settings => parseSettings(read(KEYS.settings)),
  saveSettings: (settings: Settings): void => write(KEYS.settings, JSON.stringify(settings)),
  language: (): string | null => read(KEYS.language),
  saveLanguage: (language: string): void => write(KEYS.language, language),
  credit: (): Credit => parseCredit(read(KEYS.credit)),
  /** Reads the credit again before it adds to it: other tabs add to it too. */
  addCredit(characters: number, rounds: number): Credit {
    const credit = addCredit(parseCredit(read(KEYS.credit)), characters, rounds);
    write(KEYS.credit, JSON.stringify(credit));
    return credit;
  },
  runCredit: (runId: string): RunCredit => parseRunCredit(read(KEYS.runCredit), runId),
  addRunCredit(runId: string, more: number): RunCredit {
    const credit = parseRunCredit(read(KEYS.runCredit), runId);
    const sum = { runId, characters: credit.characters + more };
    write(KEYS.runCredit, JSON.stringify(sum));
    return sum;
  },
  resetCredit(): Credit {
    write(KEYS.credit, JSON.stringify(NO_CREDIT));
    return NO_CREDIT;
  },
};
