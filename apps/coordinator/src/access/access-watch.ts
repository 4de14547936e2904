/** Reads the access file at the start, and again whenever it changes. */
import { setTimeout as sleep } from 'node:timers/promises';
import { AccessError, NO_ACCESS, parseAccess, readAccessText, validityOf, type AccessState } from '@troupe/access';
import { shellQuote } from '@troupe/config';
import type { Note } from '../server/notes.js';
import { SettingsError } from '../settings.js';
import type { SignedTokens } from './signed-tokens.js';

/** Time between two reads of the file: within it, and once more if the file is broken, a change takes effect. */
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
  let text: string | undefined;
  try {
    text = await load(watch);
  } catch (error) {
    if (!(error instanceof AccessError)) throw error;
    throw new SettingsError(error.message, error.remedy, error.code);
  }
  keepReading(watch, text).catch((error: unknown) => {
    if (watch.signal.aborted) return;
    watch.onNote({ level: 'warn', text: `the access file is no longer watched: ${(error as Error).message}` });
  });
}

/** @returns the text, if there is a file @throws AccessError */
async function load({ file, isNamed, program, tokens, onNote }: AccessWatch): Promise<string | undefined> {
  const { text, isExposed } = await readAccessText(file);
  if (text === undefined) {
    const remedy = `The first token makes it: ${program} token create --scope worker --access-file ${shellQuote(file)}`;
    if (isNamed) onNote({ level: 'info', text: `the access file ${file} does not exist yet`, remedy });
    return undefined;
  }
  tokens.use(parseAccess(text, file));
  if (isExposed) {
    const remedy = `Type: chmod 600 ${shellQuote(file)}`;
    onNote({ level: 'warn', text: `other users of this machine may read the access file ${file} and make tokens`, remedy });
  }
  return text;
}

/** Periodically, for the same reasons as the certificate: see certificate-watch.ts. */
async function keepReading(watch: AccessWatch, first: string | undefined): Promise<never> {
  const { file, tokens, signal, onNote, everyMs = READ_EVERY_MS } = watch;
  let inUse = first;
  let [suspect, reported] = ['', ''];
  for (;;) {
    await sleep(everyMs, undefined, { signal, ref: false });
    const found = await find(file, inUse);
    if ('error' in found) {
      // An editor may be writing the file, so it is reported only if the next read finds the same.
      if (found.what === suspect && found.what !== reported && found.what !== inUse) {
        reported = found.what;
        onNote({
          level: 'warn',
          text: `${found.error.message}; the tokens and revocations from before stay`,
          remedy: found.error.remedy,
        });
      }
      suspect = found.what;
    } else if (found.text !== inUse) {
      [inUse, suspect, reported] = [found.text, '', ''];
      tokens.use(found.state);
      onNote({ level: 'info', text: `the access file has changed (${summaryOf(found.state, Date.now())})` });
    }
    tokens.sweep();
  }
}

type Found =
  | { readonly text: string | undefined; readonly state: AccessState }
  /** `what` tells two defects apart. */
  | { readonly what: string; readonly error: Pick<AccessError, 'message' | 'remedy'> };

async function find(file: string, inUse: string | undefined): Promise<Found> {
  let what = 'unread';
  try {
    const { text } = await readAccessText(file);
    if (text === undefined) return inUse === undefined ? { text, state: NO_ACCESS } : { what: 'missing', error: missing(file) };
    what = text;
    return { text, state: parseAccess(text, file) };
  } catch (error) {
    if (error instanceof AccessError) return { what, error };
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
