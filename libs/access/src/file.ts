/** The access file: signing keys and tokens as JSON, readable by its owner alone. */
import { randomUUID } from 'node:crypto';
import type { Stats } from 'node:fs';
import { mkdir, open, readFile, readlink, realpath, rename, rm, stat, type FileHandle } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { shellQuote } from '@troupe/config/shell';
import * as v from 'valibot';
import { AccessError, KEY_STATES, MAX_KEYS, MAX_TOKENS, NO_ACCESS, type AccessState } from './access.js';
import { idSchema, maxLinksSchema, scopeSchema, SECRET_BYTES } from './token.js';

const VERSION = 1;
/** Above what MAX_TOKENS tokens take, each with the longest label, all of it escaped. */
export const MAX_FILE_BYTES = 8 * 1024 ** 2;
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
  /** How other users than its owner can get at the keys. Undefined: they cannot. */
  readonly exposure?: Exposure | undefined;
}

/** `file`: others may read or change the file · `folder`: they may put another file in its place. */
export interface Exposure {
  readonly what: 'file' | 'folder';
  readonly path: string;
}

/** @throws AccessError `bad_access_file` if it cannot be read */
export async function readAccessText(file: string): Promise<AccessFile> {
  try {
    const { size, mode } = await stat(file);
    if (size > MAX_FILE_BYTES) throw broken(file, `it has more than ${MAX_FILE_BYTES} bytes`);
    return { text: await readFile(file, 'utf8'), exposure: await exposureOf(file, mode) };
  } catch (cause) {
    if (cause instanceof AccessError) throw cause;
    const { code, message } = cause as NodeJS.ErrnoException;
    if (code === 'ENOENT') return { text: undefined };
    throw new AccessError(
      'bad_access_file',
      `the access file ${file} cannot be read: ${message}`,
      'Run the command as the user that owns the file, or give another one: --access-file FILE.',
      { cause },
    );
  }
}

const STICKY = 0o1000;

/** Only the file and the folders of it and of the file that it links to are looked at, not the folders above. */
async function exposureOf(file: string, mode: number): Promise<Exposure | undefined> {
  // Windows has no such modes.
  if (process.platform === 'win32') return undefined;
  if ((mode & 0o077) !== 0) return { what: 'file', path: file };
  for (const folder of new Set([path.dirname(file), path.dirname(await realpath(file))])) {
    const { mode: folderMode } = await stat(folder);
    // In a folder such as /tmp, only its owner may replace a file.
    if ((folderMode & 0o022) !== 0 && (folderMode & STICKY) === 0) return { what: 'folder', path: folder };
  }
  return undefined;
}

/** How long a file system may give two changes the same time. */
const SAME_TIME_MS = 2_000;

/**
 * A text that differs whenever the file has changed, without reading it.
 * @param now Unix time, ms
 * @returns undefined if that cannot be told: the file has only just changed, or cannot be found
 */
export async function stampOf(file: string, now: number): Promise<string | undefined> {
  const found = await stat(file, { bigint: true }).catch(() => undefined);
  if (!found || now - Number(found.ctimeMs) < SAME_TIME_MS) return undefined;
  // The inode's own time also changes with the mode and the owner.
  return [found.dev, found.ino, found.size, found.mtimeNs, found.ctimeNs].join();
}

/** The state in the file; an empty one if there is no file. @throws AccessError `bad_access_file` */
export async function readAccess(file: string): Promise<AccessState> {
  const { text } = await readAccessText(file);
  return text === undefined ? NO_ACCESS : parseAccess(text, file);
}

/**
 * Changes the file. Two changes at the same time follow each other. A crash leaves the old file or the new one. The owner and the group
 * stay, so a coordinator that could read the old file can read the new one. A new file belongs to the caller.
 * @param change may throw: the file then stays as it is
 * @throws AccessError `bad_access_file`, `cannot_write`, `too_many_tokens`; and what `change` throws
 */
export async function changeAccess<T extends { readonly state: AccessState }>(
  file: string,
  change: (before: AccessState) => T,
): Promise<T> {
  const target = await targetOf(file);
  const release = await lock(target);
  try {
    const changed = change(await readAccess(target));
    const text = printAccess(changed.state);
    if (Buffer.byteLength(text) > MAX_FILE_BYTES) throw tooLarge(file);
    await writeWhole(target, text);
    return changed;
  } finally {
    await release();
  }
}

function tooLarge(file: string): AccessError {
  return new AccessError(
    'too_many_tokens',
    `the access file ${file} would have more than ${MAX_FILE_BYTES} bytes`,
    'Use shorter labels, or another access file: --access-file FILE.',
  );
}

/** As many as Linux follows. */
const MAX_SYMLINKS = 40;

/**
 * The file to replace: a link stays a link, and the file that it names is replaced, or made.
 * @throws AccessError `cannot_write`
 */
async function targetOf(file: string): Promise<string> {
  let target = path.resolve(file);
  try {
    for (let links = 0; links <= MAX_SYMLINKS; links++) {
      const named = await readlink(target).catch(noLink);
      if (named === undefined) return path.join(await realFolder(target), path.basename(target));
      target = path.resolve(await realpath(path.dirname(target)), named);
    }
  } catch (cause) {
    throw cannotWrite(file, cause as Error);
  }
  throw cannotWrite(file, new Error('its links lead to each other'));
}

/** So that two paths to one file have one lock. */
async function realFolder(file: string): Promise<string> {
  const folder = path.dirname(file);
  return realpath(folder).catch(() => folder);
}

/** @returns undefined if the error says that there is no link: a file, or nothing. @throws the error otherwise */
function noLink(error: NodeJS.ErrnoException): undefined {
  // A file as a folder is reported when the file is written.
  if (['EINVAL', 'ENOENT', 'ENOTDIR', 'UNKNOWN'].includes(error.code ?? '')) return undefined;
  throw error;
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
    const old = await stat(file).catch(() => undefined);
    const handle = await open(temporary, 'wx', 0o600);
    try {
      if (old) await keepReaders(handle, old);
      await handle.writeFile(text);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(temporary, file);
  } catch (cause) {
    await rm(temporary, { force: true }).catch(() => undefined);
    throw cause instanceof NotOwner ? foreign(file, cause) : cannotWrite(file, cause as Error);
  }
}

/** The caller may not give a file to the owner of the old one. */
class NotOwner extends Error {
  override readonly name = 'NotOwner';
  /** Of the old file. */
  readonly uid: number;
  constructor(uid: number, options: ErrorOptions) {
    super('only its owner can replace it', options);
    this.uid = uid;
  }
}

/** With the owner and group of the old file. The group may read the new file if it could read the old one; everybody else may not. */
async function keepReaders(handle: FileHandle, old: Stats): Promise<void> {
  // Windows has no such owners.
  if (process.platform === 'win32') return;
  const { uid, gid } = await handle.stat();
  try {
    if (uid !== old.uid || gid !== old.gid) await handle.chown(old.uid, old.gid);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== 'EPERM') throw cause;
    throw new NotOwner(old.uid, { cause });
  }
  await handle.chmod(0o600 | (old.mode & 0o040));
}

function foreign(file: string, cause: NotOwner): AccessError {
  return new AccessError(
    'cannot_write',
    `the access file ${file} belongs to another user, who could not read it any more if you changed it`,
    `Run the same command as its owner: write sudo -u '#${cause.uid}' before it.`,
    { cause },
  );
}

function cannotWrite(file: string, cause: Error): AccessError {
  return new AccessError(
    'cannot_write',
    `the access file ${file} cannot be written: ${cause.message}`,
    'Check the folder, its permissions and the disk, or give another file: --access-file FILE.',
    { cause },
  );
}
