/** The named corpora. */

export interface CorpusEntry {
  readonly name: string;
  readonly title: string;
  readonly licence: string;
  /** Download address. Absent: the corpus ships with Troupe. */
  readonly url?: string;
  /** Size of the file in bytes, if it is known beforehand. */
  readonly bytes?: number;
  /**
   * SHA-256 of the file. Absent: the publisher revises the file now and then, and the user accepts
   * its digest once.
   */
  readonly sha256?: string;
  /** Other names that the file may have in a corpus folder, besides `<name>.txt`. */
  readonly fileNames: readonly string[];
  /** The text is only what lies between Project Gutenberg's START and END lines. */
  readonly gutenberg?: true;
}

export const CATALOGUE: readonly CorpusEntry[] = [
  {
    name: 'sonnets',
    title: 'The 154 Sonnets of Shakespeare, modern spelling',
    licence: 'public domain',
    fileNames: [],
  },
  {
    name: 'tiny-shakespeare',
    title: 'Tiny Shakespeare: 40,000 lines from the plays (A. Karpathy, char-rnn)',
    licence: 'public domain',
    url: 'https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt',
    bytes: 1_115_394,
    sha256: '86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed',
    fileNames: ['tinyshakespeare.txt', 'input.txt'],
  },
  {
    name: 'complete-works',
    title: 'The Complete Works of William Shakespeare (Project Gutenberg 100)',
    licence: 'public domain in the USA; see gutenberg.org for other countries',
    url: 'https://www.gutenberg.org/cache/epub/100/pg100.txt',
    fileNames: ['pg100.txt', '100-0.txt'],
    gutenberg: true,
  },
];
