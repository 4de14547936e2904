export type CorpusErrorCode =
  /** A character that the vocabulary does not have. */
  | 'unknown_character'
  /**
   * Fewer than two distinct characters, more than 65,536, duplicates, or an entry that is not one
   * character.
   */
  | 'bad_vocabulary'
  /** Too little text for one window of every stream, or for a validation part. */
  | 'too_short'
  /** The training fraction is not between 0 and 1. */
  | 'bad_fraction'
  | 'empty'
  | 'not_found'
  /** A folder, a device or a pipe where a file is wanted. */
  | 'not_a_file'
  | 'not_utf8'
  /** Bytes that the given encoding does not have. */
  | 'wrong_encoding'
  /** No encoding has that name. */
  | 'bad_encoding'
  /** No text: an archive, an image, NUL bytes. */
  | 'binary'
  | 'too_large'
  | 'cannot_read'
  | 'cannot_write'
  /** A SHA-256 to compare with that is not 64 hex digits. */
  | 'bad_digest'
  /** The bytes are not those that were asked for. */
  | 'wrong_digest'
  /** A download with no known SHA-256, not yet accepted by a person. */
  | 'unpinned'
  /** The bytes are not the book that was asked for. */
  | 'unexpected_content'
  | 'unreachable'
  | 'aborted';

/** A corpus that cannot be loaded or used. */
export class CorpusError extends Error {
  override readonly name = 'CorpusError';
  readonly code: CorpusErrorCode;
  /** What the user can do about it. */
  readonly remedy: string;
  constructor(code: CorpusErrorCode, message: string, remedy: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
    this.remedy = remedy;
  }
}
