import { createHash, randomUUID } from 'node:crypto';
import { mkdir, open, readdir, rm, stat, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { LIMITS } from '@troupe/config/limits';
import { CorpusError } from '../errors.js';

export interface DownloadOptions {
  readonly fetch: typeof globalThis.fetch;
  /** Bytes so far, and in total if the server or the catalogue says. */
  readonly onProgress?: ((bytes: number, total: number | undefined) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
  /** The download fails after this many milliseconds without a byte. */
  readonly stallMs: number;
}

export interface Download {
  /** The finished temporary file, fsynced; the caller renames or removes it. */
  readonly path: string;
  readonly sha256: string;
}

/** A temporary file untouched for this long belongs to a process that was killed. */
const LEFTOVER_MS = 60 * 60 * 1000;

/** No two downloads, in this process or another, share a temporary file. */
export function temporaryPath(folder: string, name: string): string {
  return join(folder, `.${name}.${randomUUID()}.part`);
}

/**
 * Streams `url` into a temporary file `.NAME.UUID.part` in `folder`, which is created if missing.
 * @throws CorpusError `unreachable`, `too_large`, `aborted`, `cannot_write`; the temporary file is
 * then removed
 */
export async function download(
  source: { readonly name: string; readonly url: string; readonly bytes?: number },
  folder: string,
  options: DownloadOptions,
): Promise<Download> {
  const path = temporaryPath(folder, source.name);
  let file: FileHandle;
  try {
    await mkdir(folder, { recursive: true });
    await removeLeftovers(folder);
    file = await open(path, 'w');
  } catch (cause) {
    throw cannotCache(folder, cause);
  }
  try {
    const sha256 = await receive(source, file, options);
    await file.sync();
    return { path, sha256 };
  } catch (cause) {
    await rm(path, { force: true });
    throw cause instanceof CorpusError ? cause : cannotCache(folder, cause);
  } finally {
    await file.close();
  }
}

async function receive(
  source: { readonly url: string; readonly bytes?: number },
  file: FileHandle,
  options: DownloadOptions,
): Promise<string> {
  const stall = new AbortController();
  const timer = setTimeout(() => stall.abort(new Error(`no byte for ${options.stallMs} ms`)), options.stallMs);
  const signal = options.signal ? AbortSignal.any([options.signal, stall.signal]) : stall.signal;
  const unreachable = (cause: unknown) => unreachableOrAborted(source.url, cause, options.signal);
  try {
    // Progress needs the length of the file, not of a compressed answer.
    const response = await options
      .fetch(source.url, { signal, headers: { 'accept-encoding': 'identity' } })
      .catch((cause: unknown) => Promise.reject(unreachable(cause)));
    if (!response.ok || response.body === null) {
      await response.body?.cancel();
      throw unreachable(new Error(`the server answered HTTP ${response.status}`));
    }
    const hash = createHash('sha256');
    const total = source.bytes ?? announcedLength(response);
    const limit = source.bytes ?? LIMITS.downloadBytes;
    let bytes = 0;
    for await (const chunk of chunksOf(response.body, unreachable)) {
      timer.refresh();
      bytes += chunk.length;
      if (bytes > limit) throw tooLarge(source.url, limit);
      hash.update(chunk);
      await file.writeFile(chunk);
      options.onProgress?.(bytes, total);
    }
    return hash.digest('hex');
  } finally {
    clearTimeout(timer);
  }
}

/**
 * Distinguishes a broken connection (an error of the iteration) from a full disk (an error of the
 * loop's body).
 */
async function* chunksOf(
  body: ReadableStream<Uint8Array>,
  wrap: (cause: unknown) => CorpusError,
): AsyncGenerator<Uint8Array, void, undefined> {
  const reader = body.getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read().catch((cause: unknown) => Promise.reject(wrap(cause)));
      if (done) return;
      yield value;
    }
  } finally {
    // Does nothing if the stream has ended or failed; stops the transfer if the loop was left
    // early.
    await reader.cancel().catch(() => undefined);
  }
}

function announcedLength(response: Response): number | undefined {
  const length = Number(response.headers.get('content-length') ?? NaN);
  return response.headers.has('content-encoding') || !Number.isSafeInteger(length) ? undefined : length;
}

function unreachableOrAborted(url: string, cause: unknown, signal: AbortSignal | undefined): CorpusError {
  if (signal?.aborted)
    return new CorpusError('aborted', `the download of ${url} was stopped`, 'Run the command again to retry.', { cause });
  return new CorpusError(
    'unreachable',
    `cannot download ${url}: ${reasonOf(cause)}`,
    'Check the network. Or download the file another way, put it in a folder and set TROUPE_CORPUS_DIR to that folder. ' +
      'The built-in corpus needs no network: --corpus sonnets',
    { cause },
  );
}

/** fetch() says only "fetch failed"; its cause holds the reason. */
function reasonOf(cause: unknown): string {
  if (!(cause instanceof Error)) return String(cause);
  return cause.cause instanceof Error && cause.cause.message !== '' ? cause.cause.message : cause.message;
}

function tooLarge(url: string, limit: number): CorpusError {
  return new CorpusError(
    'too_large',
    `${url} sends more than ${limit} bytes`,
    'The publisher has changed the file. Download it by hand and inspect it.',
  );
}

export function cannotCache(folder: string, cause: unknown): CorpusError {
  return new CorpusError(
    'cannot_write',
    `cannot store the corpus in ${folder}: ${cause instanceof Error ? cause.message : String(cause)}`,
    'Free some space or grant write permission there, or set XDG_CACHE_HOME to a writable folder.',
    { cause },
  );
}

async function removeLeftovers(folder: string): Promise<void> {
  for (const name of await readdir(folder)) {
    if (!/^\..*\.part$/.test(name)) continue;
    const path = join(folder, name);
    // The file may have gone since: another process has finished its download.
    const found = await stat(path).catch(() => undefined);
    if (found !== undefined && Date.now() - found.mtimeMs > LEFTOVER_MS) await rm(path, { force: true });
  }
}
