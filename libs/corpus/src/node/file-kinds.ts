/** Files that are no text, by their first bytes. */

const LATIN = (text: string): number[] => [...text].map((character) => character.charCodeAt(0));

interface Kind {
  readonly at?: number;
  readonly bytes: readonly number[];
  readonly name: string;
  readonly remedy: string;
}

const EXTRACT = 'Extract it, and give the folder or a text file in it.';
const SAVE_AS_TEXT = 'Save it as plain text (UTF-8) in the program that opens it, and give that file.';
const OTHER = 'Give a plain text file.';

const KINDS: readonly Kind[] = [
  {
    bytes: LATIN('PK\x03\x04'),
    name: 'a zip archive, or a document of Word, Excel, LibreOffice or an e-book',
    remedy: `${EXTRACT} ${SAVE_AS_TEXT}`,
  },
  { bytes: LATIN('%PDF-'), name: 'a PDF document', remedy: SAVE_AS_TEXT },
  { bytes: LATIN('{\\rtf'), name: 'an RTF document', remedy: SAVE_AS_TEXT },
  { bytes: [0xd0, 0xcf, 0x11, 0xe0], name: 'an old document of Word or Excel', remedy: SAVE_AS_TEXT },
  { bytes: [0xfd, ...LATIN('7zXZ'), 0], name: 'an xz archive', remedy: EXTRACT },
  { bytes: LATIN('7z\xbc\xaf'), name: 'a 7z archive', remedy: EXTRACT },
  { bytes: LATIN('Rar!'), name: 'a RAR archive', remedy: EXTRACT },
  { bytes: LATIN('BZh'), name: 'a bzip2 archive', remedy: EXTRACT },
  { bytes: [0x28, 0xb5, 0x2f, 0xfd], name: 'a zstd archive', remedy: EXTRACT },
  { at: 257, bytes: LATIN('ustar'), name: 'a tar archive', remedy: EXTRACT },
  { bytes: [0x89, ...LATIN('PNG')], name: 'a PNG image', remedy: OTHER },
  { bytes: [0xff, 0xd8, 0xff], name: 'a JPEG image', remedy: OTHER },
  { bytes: LATIN('GIF8'), name: 'a GIF image', remedy: OTHER },
  { at: 8, bytes: LATIN('WEBP'), name: 'a WebP image', remedy: OTHER },
  { at: 8, bytes: LATIN('WAVE'), name: 'a sound', remedy: OTHER },
  { at: 4, bytes: LATIN('ftyp'), name: 'a film', remedy: OTHER },
  { bytes: LATIN('ID3'), name: 'a sound', remedy: OTHER },
  { bytes: LATIN('OggS'), name: 'a sound', remedy: OTHER },
  { bytes: LATIN('SQLite format 3\0'), name: 'an SQLite database', remedy: OTHER },
  { bytes: LATIN('\x7fELF'), name: 'a program', remedy: OTHER },
  { bytes: LATIN('PAR1'), name: 'a Parquet table', remedy: OTHER },
];

/** What kind of file begins with `head`; undefined if it may be a text. */
export function binaryKind(head: Uint8Array): { readonly name: string; readonly remedy: string } | undefined {
  return KINDS.find(({ at = 0, bytes }) => bytes.every((byte, i) => head[at + i] === byte));
}

export function isGzip(head: Uint8Array): boolean {
  return head[0] === 0x1f && head[1] === 0x8b;
}
