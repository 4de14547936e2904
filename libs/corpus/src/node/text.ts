import { isUtf8 } from 'node:buffer';
import { shellQuote } from '@troupe/config/shell';
import { CorpusError } from '../errors.js';

/**
 * Text of a UTF-8 file: a byte order mark is dropped and CRLF becomes LF, so that one text edited
 * on two systems is one corpus.
 * @throws CorpusError `empty`, `binary`, `not_utf8`
 */
export function textFromBytes(bytes: Uint8Array, path: string): string {
  if (bytes.length === 0) throw empty(path);
  if ((bytes[0] === 0xff && bytes[1] === 0xfe) || (bytes[0] === 0xfe && bytes[1] === 0xff)) {
    throw new CorpusError(
      'not_utf8',
      `${path} is UTF-16, not UTF-8`,
      `Convert it: iconv -f UTF-16 -t UTF-8 ${shellQuote(path)} > ${shellQuote(`${path}.utf-8.txt`)}`,
    );
  }
  const nul = bytes.indexOf(0);
  if (nul >= 0) {
    throw new CorpusError('binary', `${path} is not a text file: byte ${nul} is NUL`, 'Give a plain text file (UTF-8).');
  }
  if (!isUtf8(bytes)) {
    const at = firstInvalidByte(bytes);
    const hex = bytes[at].toString(16).padStart(2, '0');
    throw new CorpusError(
      'not_utf8',
      `${path} is not UTF-8: byte ${at} (0x${hex}) is invalid`,
      `Convert it, for example: iconv -f WINDOWS-1252 -t UTF-8 ${shellQuote(path)} > ${shellQuote(`${path}.utf-8.txt`)}`,
    );
  }
  const text = new TextDecoder().decode(bytes).replaceAll('\r\n', '\n');
  if (text.trim() === '') throw empty(path);
  return text;
}

function empty(path: string): CorpusError {
  return new CorpusError('empty', `${path} contains no text`, 'Give a text file of about 100,000 characters or more.');
}

/**
 * Offset of the first byte of the first ill-formed sequence (Unicode 15, table 3-7); bytes.length
 * if there is none.
 */
export function firstInvalidByte(bytes: Uint8Array): number {
  for (let at = 0; at < bytes.length;) {
    const length = sequenceLength(bytes, at);
    if (length === 0) return at;
    at += length;
  }
  return bytes.length;
}

/** Bytes of the well-formed sequence at `at`, or 0 if it is ill-formed. */
function sequenceLength(bytes: Uint8Array, at: number): number {
  const lead = bytes[at];
  if (lead < 0x80) return 1;
  const length = lead >= 0xc2 && lead <= 0xdf ? 2 : (lead & 0xf0) === 0xe0 ? 3 : lead >= 0xf0 && lead <= 0xf4 ? 4 : 0;
  if (length === 0 || at + length > bytes.length) return 0;
  // The second byte's range excludes overlong forms, surrogates and code points above U+10FFFF.
  const low = lead === 0xe0 ? 0xa0 : lead === 0xf0 ? 0x90 : 0x80;
  const high = lead === 0xed ? 0x9f : lead === 0xf4 ? 0x8f : 0xbf;
  if (bytes[at + 1] < low || bytes[at + 1] > high) return 0;
  for (let i = 2; i < length; i++) if ((bytes[at + i] & 0xc0) !== 0x80) return 0;
  return length;
}

/**
 * The text between Project Gutenberg's "*** START OF" and "*** END OF" lines, without blank lines
 * around it.
 * @throws CorpusError `unexpected_content` if a line is missing: the log-in page of a network, or
 * half a file
 */
export function stripGutenberg(text: string, path: string): string {
  const start = /^\*\*\* ?START OF .*$/m.exec(text);
  const end = /^\*\*\* ?END OF .*$/m.exec(text);
  if (start === null || end === null || end.index < start.index) {
    throw new CorpusError(
      'unexpected_content',
      `${path} lacks Project Gutenberg's "*** START OF" and "*** END OF" lines`,
      'Delete it and fetch it again. To use an edition of your own, give the path of the file instead of the name of the corpus.',
    );
  }
  const body = text.slice(start.index + start[0].length, end.index).trim();
  if (body === '') throw empty(path);
  return `${body}\n`;
}
