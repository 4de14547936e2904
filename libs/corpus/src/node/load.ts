import { createHash, type Hash } from 'node:crypto';
import { stat } from 'node:fs/promises';
import { basename, resolve } from 'node:path';
import { LIMITS } from '@troupe/config/limits';
import { CorpusError } from '../errors.js';
import { createTokenizer, type Tokens } from '../tokens.js';
import type { Vocabulary } from '../vocabulary.js';
import { CATALOGUE, type CorpusEntry } from './catalogue.js';
import { encodingNamed } from './encodings.js';
import { filesIn, type TextFile } from './folder.js';
import { empty } from './gutenberg.js';
import { findNamed, textOfNamed, wrongDigest, type NamedOptions } from './named.js';
import { readTextFile } from './text-file.js';

export interface Corpus {
  /** For people: the name in the catalogue, or the last part of the path. */
  readonly name: string;
  /** The distinct characters of the text, in code point order. */
  readonly vocabulary: Vocabulary;
  /** The text as ids of that vocabulary [n]. */
  readonly tokens: Tokens;
  /** SHA-256 of the UTF-8 bytes of the text, hex: the identity of the training text. */
  readonly sha256: string;
  readonly source: {
    /** `folder` = found in corpusDir, `file` = a path was given, `list` = several names or paths. */
    readonly kind: 'embedded' | 'folder' | 'cache' | 'download' | 'file' | 'list';
    readonly path: string;
    /**
     * SHA-256 of the files' bytes, one after another; differs from that of the text if a byte order
     * mark, CRLF or a header was removed, or the encoding is another.
     */
    readonly sha256: string;
  };
  /** What to give loadCorpus in any folder: names, and absolute paths, as it takes them. */
  readonly location: string;
  /** Number of files that the text consists of. */
  readonly files: number;
  /** Files in a folder that were left out, and why. */
  readonly skipped: readonly { readonly path: string; readonly why: string }[];
}

export interface LoadOptions extends NamedOptions {
  /**
   * SHA-256 of the file, 64 hex digits; accepts a download whose digest the catalogue does not
   * pin.
   */
  readonly sha256?: string | undefined;
  /** The encoding of files that do not name theirs in a byte order mark. Default: UTF-8. */
  readonly encoding?: string | undefined;
  readonly catalogue?: readonly CorpusEntry[] | undefined;
}

/** A corpus in the making. */
interface Draft {
  readonly add: (piece: string) => void;
  /** The next file begins. */
  readonly separate: () => void;
  readonly fileHash: Hash;
  /** Bytes read so far. */
  bytes: number;
  files: number;
  readonly skipped: { path: string; why: string }[];
  readonly finish: (path: string) => Pick<Corpus, 'vocabulary' | 'tokens' | 'sha256'>;
}

/** One of the texts that make up a corpus. */
type Part = { readonly name: string; readonly entry: CorpusEntry } | { readonly name: string; readonly path: string };

/**
 * The text of a named corpus, a file, all text files in a folder, or several of these, separated by
 * commas (a comma in one of several is written twice). A name in the catalogue takes precedence over a file of that name (write `./sonnets` for
 * the file). Named corpora come from `corpusDir`, else the cache, else the network, and are used
 * only if their SHA-256 is right. Files may be compressed with gzip. In every text a byte order mark
 * is dropped and CRLF becomes LF; a file that does not end with a line break gets one if another
 * file follows.
 * @throws CorpusError
 */
export async function loadCorpus(nameOrPath: string, options: LoadOptions = {}): Promise<Corpus> {
  const wanted = checkedDigest(options.sha256);
  const encoding = options.encoding === undefined ? undefined : encodingNamed(options.encoding);
  const parts = await partsOf(nameOrPath, options.catalogue ?? CATALOGUE);
  const draft = createDraft();
  const sources: Omit<Corpus['source'], 'sha256'>[] = [];
  for (const part of parts) {
    if ('entry' in part) sources.push(await addNamed(draft, part.entry, wanted, options));
    else sources.push(await addPath(draft, part.path, encoding, options.signal));
  }
  const sha256 = draft.fileHash.digest('hex');
  const [first, ...others] = sources;
  const source = { ...(others.length === 0 ? first : { kind: 'list' as const, path: nameOrPath }), sha256 };
  if (wanted !== undefined && sha256 !== wanted) throw wrongDigest(source, wanted, 'Check --corpus and --sha256.');
  const { files, skipped } = draft;
  const places = parts.map((part) => ('entry' in part ? part.name : resolve(part.path)));
  const location = places.length === 1 ? places[0] : listOf(places);
  return { name: nameOf(parts), location, ...draft.finish(nameOrPath), source, files, skipped };
}

function checkedDigest(sha256: string | undefined): string | undefined {
  const wanted = sha256?.toLowerCase();
  if (wanted === undefined || /^[0-9a-f]{64}$/.test(wanted)) return wanted;
  throw new CorpusError('bad_digest', `"${sha256}" is not a SHA-256`, 'Give 64 hex digits, as sha256sum prints them.');
}

/** Names and paths separated by commas; a comma in one of them is written twice. */
function listOf(names: readonly string[]): string {
  return names.map((name) => name.replaceAll(',', ',,')).join(',');
}

/** The names of such a list. */
function namesIn(list: string): string[] {
  return (list.match(/(?:,,|[^,])+/g) ?? []).map((name) => name.replaceAll(',,', ','));
}

/** A path may contain commas: it is taken as a list only if there is no such file. */
async function partsOf(nameOrPath: string, catalogue: readonly CorpusEntry[]): Promise<Part[]> {
  const single = await partOf(nameOrPath, catalogue);
  if (single !== undefined) return [single];
  const names = namesIn(nameOrPath);
  if (names.length < 2) throw notFound(nameOrPath, catalogue);
  const parts: Part[] = [];
  for (const name of names) {
    const part = await partOf(name, catalogue);
    if (part === undefined) throw notFound(name, catalogue);
    parts.push(part);
  }
  return parts;
}

async function partOf(nameOrPath: string, catalogue: readonly CorpusEntry[]): Promise<Part | undefined> {
  const entry = catalogue.find(({ name }) => name === nameOrPath);
  if (entry !== undefined) return { name: entry.name, entry };
  try {
    await stat(nameOrPath);
    return { name: basename(resolve(nameOrPath)).replace(/(?<=.)\.gz$/i, ''), path: nameOrPath };
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR' || code === 'ENAMETOOLONG') return undefined;
    throw cannotRead(nameOrPath, cause);
  }
}

const NAMES_SHOWN = 3;

function nameOf(parts: readonly Part[]): string {
  const names = parts.slice(0, NAMES_SHOWN).map(({ name }) => name);
  const others = parts.length - names.length;
  return names.join('+') + (others === 0 ? '' : ` and ${others} more`);
}

function createDraft(): Draft {
  const tokenizer = createTokenizer();
  const textHash = createHash('sha256');
  let isBlank = true;
  let last = '\n';
  const add = (piece: string): void => {
    if (isBlank && piece.trim() !== '') isBlank = false;
    textHash.update(piece);
    tokenizer.add(piece);
    last = piece.at(-1)!;
  };
  return {
    add,
    separate: () => {
      if (last !== '\n') add('\n');
    },
    fileHash: createHash('sha256'),
    bytes: 0,
    files: 0,
    skipped: [],
    finish: (path) => {
      if (isBlank) throw empty(path);
      return { ...tokenizer.finish(), sha256: textHash.digest('hex') };
    },
  };
}

async function addNamed(
  draft: Draft,
  entry: CorpusEntry,
  wanted: string | undefined,
  options: LoadOptions,
): Promise<Omit<Corpus['source'], 'sha256'>> {
  const { kind, path, bytes } = await findNamed(entry, wanted, options);
  draft.separate();
  const text = textOfNamed(entry, bytes, path);
  if (text !== '') draft.add(text);
  draft.fileHash.update(bytes);
  draft.files++;
  return { kind, path };
}

async function addPath(
  draft: Draft,
  path: string,
  encoding: string | undefined,
  signal: AbortSignal | undefined,
): Promise<Omit<Corpus['source'], 'sha256'>> {
  try {
    const found = await filesIn(path);
    for (const file of found) await addFile(draft, file, encoding, signal);
    if (draft.files === 0) throw empty(path);
  } catch (cause) {
    throw cause instanceof CorpusError ? cause : cannotRead(path, cause);
  }
  return { kind: 'file', path };
}

/** A file that is no text is left out of a folder; alone it is an error. */
async function addFile(
  draft: Draft,
  file: TextFile,
  encoding: string | undefined,
  signal: AbortSignal | undefined,
): Promise<void> {
  let begun = false;
  const onPiece = (piece: string): void => {
    if (!begun) draft.separate();
    begun = true;
    draft.add(piece);
  };
  const maxBytes = LIMITS.corpusBytes - draft.bytes;
  try {
    draft.bytes += await readTextFile(file.path, { encoding, signal, hash: draft.fileHash, maxBytes, onPiece });
    draft.files++;
  } catch (error) {
    if (!(file.inFolder && !begun && error instanceof CorpusError && error.code === 'binary')) throw error;
    draft.skipped.push({ path: file.path, why: error.message });
  }
}

function cannotRead(path: string, cause: unknown): CorpusError {
  const { message } = cause as Error;
  return new CorpusError('cannot_read', `cannot read ${path}: ${message}`, 'Check the permissions of the file and its folder.', {
    cause,
  });
}

function notFound(path: string, catalogue: readonly CorpusEntry[]): CorpusError {
  const names = catalogue.map(({ name }) => name).join(', ');
  return new CorpusError(
    'not_found',
    `there is no file or folder ${path} and no corpus of that name`,
    `Give the path of a text file or of a folder of such files, or one of these names: ${names}.`,
  );
}
