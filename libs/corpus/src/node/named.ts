/** Finds the named corpora: built in, in a folder of the user, in the cache, or on the network. */
import { createHash } from 'node:crypto';
import { readFile, readdir, rename, rm, stat, writeFile } from 'node:fs/promises';
import { homedir, tmpdir } from 'node:os';
import { basename, dirname, isAbsolute, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { LIMITS } from '@troupe/config/limits';
import { shellQuote } from '@troupe/config/shell';
import { CorpusError } from '../errors.js';
import type { CorpusEntry } from './catalogue.js';
import { cannotCache, download, temporaryPath, type Download } from './download.js';
import { stripGutenberg } from './gutenberg.js';
import { textOfBytes } from './text-file.js';

export interface NamedOptions {
  /** Searched before the cache and the network; TROUPE_CORPUS_DIR. */
  readonly corpusDir?: string | undefined;
  /** Default: defaultCacheDir(). */
  readonly cacheDir?: string | undefined;
  /** Called as bytes of a download arrive; `total` if known. */
  readonly onProgress?: ((bytes: number, total: number | undefined) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Milliseconds without a byte after which a download fails. Default 30,000. */
  readonly stallMs?: number | undefined;
  readonly fetch?: typeof globalThis.fetch | undefined;
}

/** The file of a named corpus. */
export interface Found {
  readonly kind: 'embedded' | 'folder' | 'cache' | 'download';
  readonly path: string;
  readonly bytes: Uint8Array;
  readonly sha256: string;
}

const EMBEDDED = fileURLToPath(new URL('../../data/sonnets.txt', import.meta.url));

/** $XDG_CACHE_HOME/troupe/corpora, else ~/.cache/troupe/corpora. */
export function defaultCacheDir(environment: Readonly<Record<string, string | undefined>> = process.env): string {
  const base = environment.XDG_CACHE_HOME;
  return join(base !== undefined && isAbsolute(base) ? base : join(homeFolder(), '.cache'), 'troupe', 'corpora');
}

/** A user without an account entry has no home folder, and HOME may be empty. */
function homeFolder(): string {
  try {
    return homedir() || tmpdir();
  } catch {
    return tmpdir();
  }
}

/** @throws CorpusError if the file cannot be read as that corpus */
export function textOfNamed(entry: CorpusEntry, bytes: Uint8Array, path: string): string {
  const text = textOfBytes(bytes, path);
  return entry.gutenberg ? stripGutenberg(text, path) : text;
}

/**
 * @param wanted SHA-256 of the file; accepts a download whose digest the catalogue does not pin
 * @throws CorpusError
 */
export async function findNamed(entry: CorpusEntry, wanted: string | undefined, options: NamedOptions): Promise<Found> {
  const { url } = entry;
  if (url === undefined) {
    const found = await readFound('embedded', EMBEDDED, () => missingFile(EMBEDDED));
    if (wanted !== undefined && found.sha256 !== wanted)
      throw wrongDigest(found, wanted, `Leave --sha256 out for ${entry.name}.`);
    return found;
  }
  const expected = wanted ?? entry.sha256;
  if (options.corpusDir) {
    const found = await findInFolder(entry, expected, options.corpusDir);
    if (found !== undefined) return found;
  }
  return findInCache({ ...entry, url }, expected, options);
}

/** The user chooses what lies in the folder, so an unpinned file needs no accepted digest there. */
async function findInFolder(entry: CorpusEntry, expected: string | undefined, folder: string): Promise<Found | undefined> {
  const present = new Set(
    await readdir(folder).catch((cause: unknown) => {
      const remedy = 'Correct TROUPE_CORPUS_DIR, or unset it to use the cache and the network.';
      throw new CorpusError('not_found', `TROUPE_CORPUS_DIR names ${folder}, which cannot be listed`, remedy, { cause });
    }),
  );
  let other: Found | undefined;
  for (const fileName of [`${entry.name}.txt`, ...entry.fileNames]) {
    if (!present.has(fileName)) continue;
    const path = join(folder, fileName);
    const found = await readFound('folder', path, () => missingFile(path));
    if (expected === undefined || found.sha256 === expected) return found;
    other ??= found;
  }
  if (other === undefined) return undefined;
  throw wrongDigest(
    other,
    expected!,
    `Replace it with the file from ${entry.url}, or remove it from the folder. To train on it as it is, give its path: --corpus ${shellQuote(other.path)}`,
  );
}

async function findInCache(
  entry: CorpusEntry & { readonly url: string },
  given: string | undefined,
  options: NamedOptions,
): Promise<Found> {
  const folder = options.cacheDir ?? defaultCacheDir();
  const path = join(folder, `${entry.name}.txt`);
  const cached = await readIfThere('cache', path);
  const accepted = await acceptedDigest(path);
  const expected = given ?? accepted;
  if (cached !== undefined && cached.sha256 === expected) {
    // Written only if it changes: the cache may be a shared one that this user cannot write to.
    if (entry.sha256 === undefined && accepted !== expected) await accept(path, expected);
    return cached;
  }
  if (cached !== undefined && expected === undefined) throw unpinned(entry, cached);

  const part = await download(entry, folder, {
    fetch: options.fetch ?? globalThis.fetch,
    onProgress: options.onProgress,
    signal: options.signal,
    stallMs: options.stallMs ?? 30_000,
  });
  return adopt(entry, part, path, expected);
}

/**
 * A finished download becomes the cached file if its digest is right and it can be read as this
 * corpus.
 */
async function adopt(
  entry: CorpusEntry & { readonly url: string },
  part: Download,
  path: string,
  expected: string | undefined,
): Promise<Found> {
  try {
    if (expected !== undefined && part.sha256 !== expected) throw changed(entry, part, expected);
    const { bytes } = await readFound('download', part.path, () => missingFile(part.path));
    textOfNamed(entry, bytes, entry.url);
    await rename(part.path, path).catch((cause: unknown) => Promise.reject(cannotCache(path, cause)));
    const found: Found = { kind: 'download', path, bytes, sha256: part.sha256 };
    if (expected === undefined) throw unpinned(entry, found);
    if (entry.sha256 === undefined) await accept(path, expected);
    return found;
  } finally {
    await rm(part.path, { force: true });
  }
}

function changed(entry: CorpusEntry & { readonly url: string }, part: Download, expected: string): CorpusError {
  const remedy =
    entry.sha256 === undefined
      ? `To accept the file as published now: troupe corpus fetch ${entry.name} --sha256 ${part.sha256}`
      : 'The publisher or something on the network changed it. Download it by hand, inspect it, and give its path: --corpus PATH';
  return wrongDigest({ path: entry.url, sha256: part.sha256 }, expected, remedy);
}

/** The digest that the user accepted for an unpinned file, stored beside it, written whole or not at all. */
async function acceptedDigest(path: string): Promise<string | undefined> {
  const found = await readIfThere('cache', `${path}.sha256`);
  return found === undefined ? undefined : Buffer.from(found.bytes).toString('utf8').trim();
}

async function accept(path: string, sha256: string): Promise<void> {
  const temporary = temporaryPath(dirname(path), basename(path));
  try {
    await writeFile(temporary, `${sha256}\n`);
    await rename(temporary, `${path}.sha256`);
  } catch (cause) {
    await rm(temporary, { force: true });
    throw cannotCache(path, cause);
  }
}

async function readIfThere(kind: Found['kind'], path: string): Promise<Found | undefined> {
  try {
    return await readFound(kind, path, () => missingFile(path));
  } catch (error) {
    if (error instanceof CorpusError && error.code === 'not_found') return undefined;
    throw error;
  }
}

async function readFound(kind: Found['kind'], path: string, missing: () => CorpusError): Promise<Found> {
  try {
    const file = await stat(path);
    if (!file.isFile()) throw new CorpusError('not_a_file', `${path} is not a file`, 'Give the path of one text file.');
    if (file.size > LIMITS.downloadBytes) {
      const remedy = 'This is not the file of that corpus: remove it, or give its path to train on it.';
      throw new CorpusError('too_large', `${path} has ${file.size} bytes, more than ${LIMITS.downloadBytes}`, remedy);
    }
    const bytes = await readFile(path);
    return { kind, path, bytes, sha256: createHash('sha256').update(bytes).digest('hex') };
  } catch (cause) {
    if (cause instanceof CorpusError) throw cause;
    const { code, message } = cause as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') throw missing();
    throw new CorpusError('cannot_read', `cannot read ${path}: ${message}`, 'Check the permissions of the file and its folder.', {
      cause,
    });
  }
}

function missingFile(path: string): CorpusError {
  return new CorpusError('not_found', `there is no file ${path}`, 'Reinstall Troupe: the file is part of it.');
}

export function wrongDigest(
  found: { readonly path: string; readonly sha256: string },
  expected: string,
  remedy: string,
): CorpusError {
  return new CorpusError('wrong_digest', `${found.path} has SHA-256 ${found.sha256}; expected ${expected}`, remedy);
}

function unpinned(entry: CorpusEntry, found: Found): CorpusError {
  return new CorpusError(
    'unpinned',
    `${entry.name} has no fixed SHA-256, because its publisher revises it; the downloaded file has ${found.sha256}`,
    `Inspect ${found.path}. To accept it from now on: troupe corpus fetch ${entry.name} --sha256 ${found.sha256}`,
  );
}
