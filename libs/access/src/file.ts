/** The access file: signing keys and tokens as JSON, readable by its owner alone. */
import { randomUUID } from 'node:crypto';
import { mkdir, open, readFile, realpath, rename, rm, stat } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { shellQuote } from '@troupe/config/shell';
import * as v from 'valibot';
import { AccessError, KEY_STATES, MAX_KEYS, MAX_TOKENS, NO_ACCESS, type AccessState } from './access.js';
import { idSchema, maxLinksSchema, scopeSchema, SECRET_BYTES } from './token.js';

const VERSION = 1;
const MAX_FILE_BYTES = 4 * 1024 ** 2;
export const MAX_LABEL_LENGTH = 64;

const timeMs = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
const keyId = v.pipe(v.string(), v.regex(/^[0-9a-f]{8}$/));
const secret = v.pipe(
  v.string(),
  v.regex(/^[\w-]+$/),
  v.transform((text) => new Uint8Array(Buffer.from(text, 'base64url'))),
  v.check((bytes) => bytes.length === SECRET_BYTES, `not ${SECRET_BYTES} bytes in base64url`),
);

const FileSchema = v.strictObject({
  version: v.literal(VERSION),
  keys: v.pipe(
    v.array(v.strictObject({ id: keyId, secret, createdAtMs: timeMs, state: v.picklist(KEY_STATES) })),
    v.maxLength(MAX_KEYS),
    v.check((keys) => keys.filter(({ state }) => state === 'signing').length <= 1, 'more than one key signs'),
  ),
  tokens: v.pipe(
    v.array(
      v.strictObject({
        id: idSchema,
        keyId,
        scope: scopeSchema,
        label: v.pipe(v.string(), v.maxLength(MAX_LABEL_LENGTH)),
        createdAtMs: timeMs,
        expiresAtMs: timeMs,
        maxLinks: maxLinksSchema,
        revokedAtMs: v.optional(timeMs),
      }),
    ),
    v.maxLength(MAX_TOKENS),
  ),
});

/** @param file for the error @throws AccessError `bad_access_file`, which repeats nothing of the content */
export function parseAccess(text: string, file: string): AccessState {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw broken(file, 'it is not JSON');
  }
  const version = (value as { readonly version?: unknown } | null)?.version;
  if (typeof version === 'number' && version > VERSION) {
    throw new AccessError(
      'bad_access_file',
      `the access file ${file} is of version ${version}, and this release reads version ${VERSION}`,
      'Use the release of Troupe that wrote it, or another file: --access-file FILE.',
    );
  }
  const result = v.safeParse(FileSchema, value);
  if (!result.success) throw broken(file, `${v.getDotPath(result.issues[0]) ?? 'the whole'} is not as expected`);
  const { keys, tokens } = result.output;
  return { keys, tokens };
}

function broken(file: string, why: string): AccessError {
  return new AccessError(
    'bad_access_file',
    `the access file ${file} cannot be used: ${why}`,
    `Restore it from a backup. Or remove it, which ends all of its tokens, and make new ones: rm -- ${shellQuote(file)}`,
  );
}

export function printAccess({ keys, tokens }: AccessState): string {
  const printed = keys.map((key) => ({ ...key, secret: Buffer.from(key.secret).toString('base64url') }));
  return `${JSON.stringify({ version: VERSION, keys: printed, tokens }, null, 2)}\n`;
}

export interface AccessFile {
  /** Undefined: there is no file. */
  readonly text: string | undefined;
  /** Others than its owner may read or change it. */
  readonly isExposed: boolean;
}

/** @throws AccessError `bad_access_file` if it cannot be read */
export async function readAccessText(file: string): Promise<AccessFile> {
  try {
    const { size, mode } = await stat(file);
    if (size > MAX_FILE_BYTES) throw broken(file, `it has more than ${MAX_FILE_BYTES} bytes`);
    // Windows has no such modes.
    const isExposed = process.platform !== 'win32' && (mode & 0o077) !== 0;
    return { text: await readFile(file, 'utf8'), isExposed };
  } catch (cause) {
    if (cause instanceof AccessError) throw cause;
    const { code, message } = cause as NodeJS.ErrnoException;
    if (code === 'ENOENT') return { text: undefined, isExposed: false };
    throw new AccessError(
      'bad_access_file',
      `the access file ${file} cannot be read: ${message}`,
      'Run the command as the user that owns the file, or give another one: --access-file FILE.',
      { cause },
    );
  }
}

/** The state in the file; an empty one if there is no file. @throws AccessError `bad_access_file` */
export async function readAccess(file: string): Promise<AccessState> {
  const { text } = await readAccessText(file);
  return text === undefined ? NO_ACCESS : parseAccess(text, file);
}

/**
 * Changes the file. Two changes at the same time follow each other. A crash leaves the old file or the new one.
 * @param change may throw: the file then stays as it is
 * @throws AccessError `bad_access_file`, `cannot_write`; and what `change` throws
 */
export async function changeAccess<T extends { readonly state: AccessState }>(
  file: string,
  change: (before: AccessState) => T,
): Promise<T> {
  // A link stays a link, and the file that it names is replaced.
  const target = await realpath(file).catch(() => path.resolve(file));
  const release = await lock(target);
  try {
    const changed = change(await readAccess(target));
    await writeWhole(target, printAccess(changed.state));
    return changed;
  } finally {
    await release();
  }
}

const LOCK_WAIT_MS = 50;
const LOCK_ATTEMPTS = 100;

/**
 * A lock that a killed command left is not taken over: of two commands that took it over, one would lose its change, and a token that is
 * not in the list could never be revoked.
 * @returns a function that releases the lock
 * @throws AccessError `cannot_write`
 */
async function lock(file: string): Promise<() => Promise<void>> {
  const name = `${file}.lock`;
  try {
    await mkdir(path.dirname(file), { recursive: true });
    for (let attempt = 0; attempt < LOCK_ATTEMPTS; attempt++) {
      if (await createLock(name)) return () => rm(name, { force: true });
      await sleep(LOCK_WAIT_MS);
    }
  } catch (cause) {
    throw cannotWrite(file, cause as Error);
  }
  throw new AccessError(
    'cannot_write',
    `another command is changing the access file ${file}`,
    `Try again. If no other command runs: rm -- ${shellQuote(name)}`,
  );
}

async function createLock(name: string): Promise<boolean> {
  try {
    await (await open(name, 'wx', 0o600)).close();
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
}

async function writeWhole(file: string, text: string): Promise<void> {
  const temporary = `${file}.${randomUUID()}.tmp`;
  try {
    const handle = await open(temporary, 'wx', 0o600);
    try {
      await handle.writeFile(text);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(temporary, file);
  } catch (cause) {
    await rm(temporary, { force: true }).catch(() => undefined);
    throw cannotWrite(file, cause as Error);
  }
}

function cannotWrite(file: string, cause: Error): AccessError {
  return new AccessError(
    'cannot_write',
    `the access file ${file} cannot be written: ${cause.message}`,
    'Check the folder, its permissions and the disk, or give another file: --access-file FILE.',
    { cause },
  );
}
