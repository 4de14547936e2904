/** The encodings of text files: byte order marks, decoders that work piece by piece, and guesses. */
import { isUtf8 } from 'node:buffer';
import { analyse } from 'chardet';
import { CorpusError } from '../errors.js';

/** Decodes a file piece by piece. The bytes of a character may be cut between pieces. */
export interface PieceDecoder {
  /** @throws RangeError | TypeError for bytes that the encoding does not have */
  decode(bytes: Uint8Array): string;
  /** What was held back, at the end of the file. @throws TypeError if the last character is cut */
  finish(): string;
}

const MARKS: readonly (readonly [encoding: string, bytes: readonly number[]])[] = [
  ['utf-8', [0xef, 0xbb, 0xbf]],
  // Before UTF-16LE, whose mark is the start of this one.
  ['utf-32le', [0xff, 0xfe, 0, 0]],
  ['utf-32be', [0, 0, 0xfe, 0xff]],
  ['utf-16le', [0xff, 0xfe]],
  ['utf-16be', [0xfe, 0xff]],
];

/** The encoding that a byte order mark names, and the length of the mark in bytes. */
export function byteOrderMark(head: Uint8Array): { readonly encoding: string; readonly length: number } | undefined {
  const found = MARKS.find(([, mark]) => mark.every((byte, i) => head[i] === byte));
  return found && { encoding: found[0], length: found[1].length };
}

const WIDE = ['utf-32le', 'utf-32be'];

/**
 * The name of an encoding as programs agree on it: `latin1` is windows-1252, as in browsers.
 * @throws CorpusError `bad_encoding`
 */
export function encodingNamed(name: string): string {
  const lower = name.trim().toLowerCase();
  if (WIDE.includes(lower)) return lower;
  try {
    return new TextDecoder(lower).encoding;
  } catch (cause) {
    throw new CorpusError(
      'bad_encoding',
      `there is no encoding ${JSON.stringify(name)}`,
      'Use one of utf-8, utf-16le, utf-16be, utf-32le, utf-32be, gb18030, big5, shift_jis, euc-jp, euc-kr, windows-1250 to windows-1258, ' +
        'iso-8859-2 to iso-8859-16, koi8-r, koi8-u or macintosh.',
      { cause },
    );
  }
}

/** @param encoding as encodingNamed returns it */
export function decoderOf(encoding: string): PieceDecoder {
  if (WIDE.includes(encoding)) return wideDecoder(encoding === 'utf-32le');
  const decoder = new TextDecoder(encoding, { fatal: true, ignoreBOM: true });
  return { decode: (bytes) => decoder.decode(bytes, { stream: true }), finish: () => decoder.decode() };
}

/** Node's TextDecoder does not know UTF-32. */
function wideDecoder(littleEndian: boolean): PieceDecoder {
  let held = new Uint8Array(0);
  return {
    decode(bytes) {
      const all = new Uint8Array(held.length + bytes.length);
      all.set(held);
      all.set(bytes, held.length);
      const whole = all.length - (all.length % 4);
      const view = new DataView(all.buffer);
      let text = '';
      for (let at = 0; at < whole; at += 4) {
        const code = view.getUint32(at, littleEndian);
        if (code >= 0xd800 && code <= 0xdfff) throw new RangeError('a surrogate');
        text += String.fromCodePoint(code);
      }
      held = all.slice(whole);
      return text;
    },
    finish() {
      if (held.length > 0) throw new TypeError('the last character is cut');
      return '';
    },
  };
}

/** What a text could be, and how its line would then read. */
export interface Guess {
  readonly encoding: string;
  readonly line: string;
}

const GUESSES = 3;

/**
 * The likeliest encodings of bytes that are not UTF-8, best first.
 * @param sample begins at a character, best at the start of a line; the bytes at `at` are to be shown
 */
export function guessEncodings(sample: Uint8Array, at: number): Guess[] {
  const guesses = new Map<string, Guess>();
  for (const { name, confidence } of analyse(sample)) {
    const encoding = confidence > 0 ? supported(name) : undefined;
    // Those of Unicode are recognised without a guess.
    if (encoding === undefined || encoding.startsWith('utf-') || guesses.has(encoding)) continue;
    const line = lineAt(sample, at, encoding);
    if (line) guesses.set(encoding, { encoding, line });
  }
  return [...guesses.values()].slice(0, GUESSES);
}

function supported(name: string): string | undefined {
  try {
    return encodingNamed(name);
  } catch {
    // The detector knows encodings that no decoder here does.
    return undefined;
  }
}

const SHOWN = 60;
// Control characters other than tab and line ends, private use, and what stands for a broken character.
const NO_TEXT = /(?![\t\n\f\r])[\p{Cc}\p{Co}\ufffd]/u;

/** The line of the text in which byte `at` is; undefined if the bytes are no text in that encoding. */
function lineAt(sample: Uint8Array, at: number, encoding: string): string | undefined {
  try {
    const decoder = decoderOf(encoding);
    const before = decoder.decode(sample.subarray(0, at));
    const after = decoder.decode(sample.subarray(at));
    if (NO_TEXT.test(before + after)) return undefined;
    const start = [...before.slice(before.lastIndexOf('\n') + 1)].slice(-SHOWN / 2).join('');
    return [...(start + after.split(/\r?\n/, 1)[0])].slice(0, SHOWN).join('').trim();
  } catch {
    // The bytes are not of that encoding.
    return undefined;
  }
}

/** Whether bytes that are not UTF-8 are a damaged UTF-8 text: most of its longer sequences are whole. */
export function isMostlyUtf8(bytes: Uint8Array): boolean {
  let [whole, broken] = [0, 0];
  for (let at = 0; at < bytes.length;) {
    const length = sequenceLength(bytes, at);
    if (length > 1) whole++;
    if (length === 0 && at + 4 <= bytes.length) broken++;
    at += Math.max(1, length);
  }
  return whole > 4 * broken;
}

/** UTF-16 without a byte order mark: half of the bytes of a Latin text are zero. */
export function guessUtf16(head: Uint8Array): string | undefined {
  const zeros = [0, 0];
  for (let i = 0; i < head.length; i++) if (head[i] === 0) zeros[i % 2]++;
  const [even, odd] = zeros.map((count) => count / (head.length / 2));
  const encoding = odd > 0.4 && even < 0.05 ? 'utf-16le' : even > 0.4 && odd < 0.05 ? 'utf-16be' : undefined;
  return encoding !== undefined && lineAt(head, 0, encoding) !== undefined ? encoding : undefined;
}

/** The first line of a text, to show how it reads in `encoding`. */
export function firstLine(head: Uint8Array, encoding: string): string {
  return lineAt(head, 0, encoding) ?? '';
}

/** A byte that is not UTF-8. */
export interface InvalidByte {
  /** The bytes around it, with those before it even if they came with an earlier piece. */
  readonly around: Uint8Array;
  /** Its place in `around`. */
  readonly at: number;
  /** Its place in the file. */
  readonly offset: number;
  /** Whether earlier pieces have valid characters of several bytes, which other encodings hardly have. */
  readonly afterUtf8: boolean;
  /** Whether the file ends within the character. */
  readonly isLast: boolean;
}

/** Bytes of earlier pieces to keep, from which an encoding can be guessed. */
const CONTEXT_BYTES = 32 * 1024;

/**
 * Decodes UTF-8 and says which byte is wrong.
 * @param onInvalid must throw
 */
export function utf8Decoder(onInvalid: (invalid: InvalidByte) => never): PieceDecoder {
  const decoder = new TextDecoder('utf-8', { ignoreBOM: true });
  let held = new Uint8Array(0);
  let context = new Uint8Array(0);
  let offset = 0;
  let afterUtf8 = false;
  const take = (bytes: Uint8Array, end: number, isLast: boolean): string => {
    const whole = bytes.subarray(0, end);
    if (!isUtf8(whole)) {
      const at = firstInvalidByte(whole);
      const around = Buffer.concat([context, bytes]);
      onInvalid({ around, at: context.length + at, offset: offset + at, afterUtf8, isLast });
    }
    offset += end;
    const text = decoder.decode(whole);
    afterUtf8 ||= text.length < end;
    context = Buffer.concat([context, whole.subarray(-CONTEXT_BYTES)]).subarray(-CONTEXT_BYTES);
    return text;
  };
  return {
    decode(bytes) {
      const all = held.length === 0 ? bytes : Buffer.concat([held, bytes]);
      const end = all.length - cutLength(all);
      const text = take(all, end, false);
      held = all.slice(end);
      return text;
    },
    finish: () => take(held, held.length, true),
  };
}

/** Bytes at the end that may be the start of a character whose rest follows. */
function cutLength(bytes: Uint8Array): number {
  for (let back = 1; back <= Math.min(3, bytes.length); back++) {
    const byte = bytes[bytes.length - back];
    if ((byte & 0xc0) === 0x80) continue;
    const needed = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : byte >= 0xc0 ? 2 : 1;
    return needed > back ? back : 0;
  }
  return 0;
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
