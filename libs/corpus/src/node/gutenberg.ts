import { CorpusError } from '../errors.js';

export function empty(path: string): CorpusError {
  return new CorpusError('empty', `${path} contains no text`, 'Give a text file of about 100,000 characters or more.');
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
