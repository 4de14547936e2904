/** Reads the access file at the start, and again whenever it changes. */
import { setTimeout as sleep } from 'node:timers/promises';
import {
  AccessError,
  NO_ACCESS,
  parseAccess,
  readAccessText,
  stampOf,
  validityOf,
  type AccessState,
  type Exposure,
} from '@troupe/access';
import { shellQuote } from '@troupe/config';
import type { Note } from '../server/notes.js';
import { SettingsError } from '../settings.js';
import type { SignedTokens } from './signed-tokens.js';

/** Time between two looks at the file: within it, and once more if the file is broken, a change takes effect. */
const READ_EVERY_MS = 1_000;

export interface AccessWatch {
  readonly file: string;
  /** A person has named the file, and may have mistyped it. */
  readonly isNamed: boolean;
  /** The command to paste for this program: "troupe". */
  readonly program: string;
  readonly tokens: Pick<SignedTokens, 'use' | 'sweep'>;
  /** Ends the watch. */
  readonly signal: AbortSignal;
  onNote(note: Note): void;
  /** Default READ_EVERY_MS. */
  readonly everyMs?: number;
}

/**
 * Uses what is in the file, and watches it until the signal aborts.
 * @throws SettingsError if there is a file and it cannot be used: a coordinator must not start without revocations that it should know
 */
export async function openAccessFile(watch: AccessWatch): Promise<void> {
  const warn = createExposureNote(watch);
  let first: Found;
  try {
    first = await load(watch, warn);
  } catch (error) {
    if (!(error instanceof AccessError)) throw error;
    throw new SettingsError(error.message, error.remedy, error.code);
  }
  keepReading(watch, first, warn).catch((error: unknown) => {
    if (watch.signal.aborted) return;
    watch.onNote({ level: 'warn', text: `the access file is no longer watched: ${(error as Error).message}` });
  });
}

/** @throws AccessError */
async function load({ file, isNamed, program, tokens, onNote }: AccessWatch, warn: ExposureNote): Promise<Found> {
  const stamp = await stampOf(file, Date.now());
  const { text, exposure } = await readAccessText(file);
  if (text === undefined) {
    const remedy = `The first token makes it: ${program} token create --scope worker --access-file ${shellQuote(file)}`;
    if (isNamed) onNote({ level: 'info', text: `the access file ${file} does not exist yet`, remedy });
    return { text, state: NO_ACCESS, stamp };
  }
  const state = parseAccess(text, file);
  tokens.use(state);
  warn(exposure);
  return { text, state, stamp };
}

type ExposureNote = (exposure: Exposure | undefined) => void;

/** Warns when the exposure is another one than before. */
function createExposureNote({ onNote }: AccessWatch): ExposureNote {
  let before: string | undefined;
  return (exposure) => {
    const now = exposure && `${exposure.what} ${exposure.path}`;
    if (exposure && now !== before) onNote(exposureNote(exposure));
    before = now;
  };
}

function exposureNote({ what, path }: Exposure): Note {
  if (what === 'file') {
    const text = `other users of this machine may read the access file ${path} and make tokens`;
    return { level: 'warn', text, remedy: `Type: chmod 600 ${shellQuote(path)}` };
  }
  const text = `other users of this machine may put another access file into the folder ${path}`;
  return { level: 'warn', text, remedy: `Type: chmod go-w ${shellQuote(path)}` };
}

/** Periodically, for the same reasons as the certificate: see certificate-watch.ts. */
async function keepReading(watch: AccessWatch, first: Found, warn: ExposureNote): Promise<never> {
  const { tokens, signal, onNote, everyMs = READ_EVERY_MS } = watch;
  let found = first;
  let inUse = first.text;
  let [suspect, reported] = ['', ''];
  for (;;) {
    await sleep(everyMs, undefined, { signal, ref: false });
    found = await find(watch, found, inUse, warn);
    if ('error' in found) {
      const { what, error } = found;
      // An editor may be writing the file, so it is reported only if the next look finds the same.
      if (what === suspect && what !== reported && what !== inUse) {
        reported = what;
        onNote({ level: 'warn', text: `${error.message}; the tokens and revocations from before stay`, remedy: error.remedy });
      }
      suspect = what;
    } else if (found.text !== inUse) {
      [inUse, suspect, reported] = [found.text, '', ''];
      tokens.use(found.state);
      onNote({ level: 'info', text: `the access file has changed (${summaryOf(found.state, Date.now())})` });
    }
    tokens.sweep();
  }
}

/** What is in the file, or why it cannot be used. */
type Found = {
  /** Undefined: there is no file, or it could not be read. */
  readonly text: string | undefined;
  /** Of the file before it was read. Undefined: the file must be read again, even if it seems to be the same. */
  readonly stamp: string | undefined;
} & (
  | { readonly state: AccessState }
  /** `what` tells two defects apart. */
  | { readonly what: string; readonly error: Pick<AccessError, 'message' | 'remedy'> }
);

/** Reads the file only if it may have changed, and parses the text only if it has: thousands of tokens take long. */
async function find({ file }: AccessWatch, before: Found, inUse: string | undefined, warn: ExposureNote): Promise<Found> {
  const stamp = await stampOf(file, Date.now());
  if (stamp !== undefined && stamp === before.stamp) return before;
  try {
    const { text, exposure } = await readAccessText(file);
    warn(exposure);
    if (text === undefined) {
      return inUse === undefined ? { text, stamp, state: NO_ACCESS } : { text, stamp, what: 'missing', error: missing(file) };
    }
    return text === before.text ? { ...before, stamp } : parsed(text, file, stamp);
  } catch (error) {
    // It may become readable without a change.
    if (error instanceof AccessError) return { text: undefined, stamp: undefined, what: 'unread', error };
    throw error;
  }
}

function parsed(text: string, file: string, stamp: string | undefined): Found {
  try {
    return { text, stamp, state: parseAccess(text, file) };
  } catch (error) {
    if (error instanceof AccessError) return { text, stamp, what: text, error };
    throw error;
  }
}

function missing(file: string): Pick<AccessError, 'message' | 'remedy'> {
  const remedy = 'Restore it from a backup before the coordinator starts again: without it, no signed token is valid then.';
  return { message: `the access file ${file} is gone`, remedy };
}

function summaryOf({ tokens }: AccessState, nowMs: number): string {
  return `tokens: ${tokens.length}, valid: ${tokens.filter((token) => validityOf(token, nowMs) === 'valid').length}`;
}
