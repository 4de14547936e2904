export type ExportErrorCode =
  /** A weight is too large for float16, or not a number. */
  | 'out_of_range'
  /** The exported file is not whole. */
  | 'damaged'
  /** The parts of the page do not fit together: it was not built with this release. */
  | 'bad_player'
  /** The page is not there: the build has not made it. */
  | 'not_built';

/** A model that cannot be exported, or an exported model that cannot be read. */
export class ExportError extends Error {
  override readonly name = 'ExportError';
  readonly code: ExportErrorCode;
  readonly remedy: string;
  constructor(code: ExportErrorCode, message: string, remedy: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
    this.remedy = remedy;
  }
}
