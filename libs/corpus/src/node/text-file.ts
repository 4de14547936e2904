/** Reads text files piece by piece: gzip or not, in UTF-8 or another encoding. */
import { createHash, type Hash } from 'node:crypto';
import { open, type FileHandle } from 'node:fs/promises';
import { pipeline } from 'node:stream/promises';
import { createGunzip } from 'node:zlib';
import { LIMITS } from '@troupe/config/limits';
import { CorpusError } from '../errors.js';
import { createNormalizer } from '../normalize.js';
import {
  byteOrderMark,
  decoderOf,
  firstLine,
  guessEncodings,
  guessUtf16,
  isMostlyUtf8,
  utf8Decoder,
  type Guess,
  type InvalidByte,
  type PieceDecoder,
} from './encodings.js';
import { binaryKind, isGzip } from './file-kinds.js';

export interface ReadOptions {
  /** As encodingNamed returns it. A byte order mark in the file counts more. Default: UTF-8. */
  readonly encoding?: string | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Takes the bytes of the file as it is on disk. */
  readonly hash: Hash;
  /** Bytes that the text may have before it is decoded. */
  readonly maxBytes: number;
  readonly onPiece: (piece: string) => void;
}

const PIECE_BYTES = 256 * 1024;
const SAMPLE_BYTES = 64 * 1024;

const CUT = 'The file is damaged or cut: get it again, or delete the broken character at its end in an editor.';
const DAMAGED =
  'The file is damaged there, or holds texts in two encodings: mend that place in an editor, or get the file again.';

/**
 * Hands the text over in pieces of whole characters, with LF for CRLF and without a byte order mark.
 * @returns the number of bytes of the text, decompressed
 * @throws CorpusError `binary`, `not_utf8`, `wrong_encoding`, `too_large`, `aborted`, `cannot_read`
 */
export async function readTextFile(path: string, options: ReadOptions): Promise<number> {
  const decoding = createDecoding(path, options);
  const file = await open(path);
  try {
    const chunks = chunksOf(file, options);
    const isZipped = await isGzipFile(file);
    if (!isZipped && (await file.stat()).size > options.maxBytes) throw tooLarge(path);
    if (isZipped) await pipeline(chunks, createGunzip(), (unzipped: AsyncIterable<Uint8Array>) => decodeAll(unzipped, decoding));
    else await decodeAll(chunks, decoding);
    return decoding.bytes();
  } catch (cause) {
    throw readingError(path, cause, options.signal);
  } finally {
    await file.close();
  }
}

async function isGzipFile(file: FileHandle): Promise<boolean> {
  const head = new Uint8Array(2);
  await file.read(head, 0, 2, 0);
  return isGzip(head);
}

async function* chunksOf(file: FileHandle, { hash, signal }: ReadOptions): AsyncGenerator<Uint8Array, void, undefined> {
  for (let position = 0; ;) {
    signal?.throwIfAborted();
    const { bytesRead, buffer } = await file.read(new Uint8Array(PIECE_BYTES), 0, PIECE_BYTES, position);
    if (bytesRead === 0) return;
    position += bytesRead;
    hash.update(buffer.subarray(0, bytesRead));
    yield buffer.subarray(0, bytesRead);
  }
}

async function decodeAll(chunks: AsyncIterable<Uint8Array>, decoding: Decoding): Promise<void> {
  for await (const chunk of chunks) decoding.push(chunk);
  decoding.end();
}

function readingError(path: string, cause: unknown, signal: AbortSignal | undefined): unknown {
  if (cause instanceof CorpusError) return cause;
  if (signal?.aborted)
    return new CorpusError('aborted', `reading ${path} was stopped`, 'Run the command again to retry.', { cause });
  const { code = '', message } = cause as NodeJS.ErrnoException;
  if (!code.startsWith('Z_')) return cause;
  return new CorpusError(
    'cannot_read',
    `${path} is a damaged gzip file: ${message}`,
    'Get the file again, or check it with gzip -t.',
    {
      cause,
    },
  );
}

/** The text of a file whose bytes are in memory. @throws as readTextFile */
export function textOfBytes(bytes: Uint8Array, path: string): string {
  let text = '';
  const hash = createHash('sha256');
  const decoding = createDecoding(path, { hash, maxBytes: LIMITS.corpusBytes, onPiece: (piece) => (text += piece) });
  decoding.push(bytes);
  decoding.end();
  return text;
}

/** The state of reading one file. */
interface Decoding {
  push(chunk: Uint8Array): void;
  end(): void;
  /** How many it has taken. */
  bytes(): number;
}

function createDecoding(path: string, { encoding, maxBytes, onPiece }: ReadOptions): Decoding {
  const normalizer = createNormalizer();
  let decoder: PieceDecoder | undefined;
  let wide = false;
  let bytes = 0;
  const emit = (piece: string): void => {
    if (wide && piece.includes('\0')) throw notText(path, 'it has NUL characters');
    const normal = normalizer.add(piece);
    if (normal !== '') onPiece(normal);
  };
  const start = (chunk: Uint8Array): Uint8Array => {
    const mark = byteOrderMark(chunk);
    const used = mark?.encoding ?? checkedHead(chunk, path, encoding) ?? encoding ?? 'utf-8';
    wide = /^utf-(16|32)/.test(used);
    decoder =
      used === 'utf-8' ? utf8Decoder((invalid) => throwNotUtf8(path, invalid)) : namedDecoder(used, path, mark !== undefined);
    return chunk.subarray(mark?.length ?? 0);
  };
  return {
    push(chunk) {
      if (chunk.length === 0) return;
      if (bytes + chunk.length > maxBytes) throw tooLarge(path);
      const content = decoder === undefined ? start(chunk) : chunk;
      const nul = wide ? -1 : chunk.indexOf(0);
      if (nul >= 0) throw notText(path, `byte ${bytes + nul} is NUL`);
      bytes += chunk.length;
      emit(decoder!.decode(content));
    },
    end() {
      if (decoder !== undefined) emit(decoder.finish());
      const rest = normalizer.finish();
      if (rest !== '') onPiece(rest);
    },
    bytes: () => bytes,
  };
}

/** @throws CorpusError if the first bytes are no text, or UTF-16 of which nothing says so */
function checkedHead(head: Uint8Array, path: string, encoding: string | undefined): undefined {
  const kind = binaryKind(head);
  if (kind !== undefined) throw new CorpusError('binary', `${path} is ${kind.name}, not a text file`, kind.remedy);
  if (encoding !== undefined) return;
  const sample = head.subarray(0, SAMPLE_BYTES);
  const utf16 = guessUtf16(sample);
  if (utf16 === undefined) return;
  const guess = { encoding: utf16, line: firstLine(sample, utf16) };
  throw new CorpusError('not_utf8', `${path} is not UTF-8: every second byte is zero`, adviceFor([guess]));
}

function namedDecoder(encoding: string, path: string, marked: boolean): PieceDecoder {
  const decoder = decoderOf(encoding);
  const checked = (decode: () => string, message: string, remedy: string): string => {
    try {
      return decode();
    } catch (cause) {
      throw new CorpusError('wrong_encoding', message, remedy, { cause });
    }
  };
  const wrong = marked
    ? 'The file is damaged or cut: get it again, or save it as UTF-8 in the program that opens it.'
    : 'Leave --encoding out: Troupe then says which encodings the text may have.';
  return {
    decode: (bytes) => checked(() => decoder.decode(bytes), `${path} has bytes that are no ${encoding}`, wrong),
    // All before was right, so the encoding is.
    finish: () => checked(() => decoder.finish(), `${path} ends within a character of ${encoding}`, CUT),
  };
}

function throwNotUtf8(path: string, { around, at, offset, afterUtf8, isLast }: InvalidByte): never {
  const hex = around[at].toString(16).padStart(2, '0');
  const message = `${path} is not UTF-8: byte ${offset} (0x${hex}) is invalid`;
  if (afterUtf8 || isMostlyUtf8(around)) {
    if (isLast) throw new CorpusError('not_utf8', `${message}: the file ends within a character`, CUT);
    throw new CorpusError('not_utf8', `${message}, though most of the file is UTF-8`, DAMAGED);
  }
  const lineStart = around.subarray(0, at).lastIndexOf(10) + 1;
  const start = Math.max(lineStart, at - SAMPLE_BYTES / 2);
  const sample = around.subarray(start, start + SAMPLE_BYTES);
  throw new CorpusError('not_utf8', message, adviceFor(guessEncodings(sample, at - start)));
}

function adviceFor([best, ...others]: readonly Guess[]): string {
  if (best === undefined) return 'Name its encoding with --encoding NAME, or save the text as UTF-8 in an editor.';
  const quoted = ({ encoding, line }: Guess) => `as ${encoding}: ${JSON.stringify(line)}`;
  const more = others.length === 0 ? '' : ` It could also read ${others.map(quoted).join(', or ')}.`;
  return `A line of it would read ${quoted(best)}. If that is right, add --encoding ${best.encoding}.${more}`;
}

function notText(path: string, why: string): CorpusError {
  return new CorpusError('binary', `${path} is not a text file: ${why}`, 'Give a plain text file.');
}

function tooLarge(path: string): CorpusError {
  return new CorpusError(
    'too_large',
    `${path} makes the text longer than ${LIMITS.corpusBytes} bytes`,
    'Split it at line breaks into smaller files, and give the path of one of them.',
  );
}
