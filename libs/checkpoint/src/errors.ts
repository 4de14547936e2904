export type CheckpointErrorCode =
  | 'not_found'
  /** A file in another format, or a safetensors file that Troupe did not write. */
  | 'not_a_checkpoint'
  /** The end of the file is missing. */
  | 'truncated'
  /** The bytes contradict each other or their SHA-256. */
  | 'corrupt'
  /** A newer version of Troupe wrote the file. */
  | 'unsupported_version'
  /** The shapes, lengths or types of the parts do not fit together. */
  | 'mismatch'
  /** A number in it is not finite, or beyond what the model can reach: no run can continue from there. */
  | 'unusable'
  /** The file holds a model and nothing else, so no run can continue from it. */
  | 'weights_only'
  /** Another process writes to the folder. */
  | 'in_use'
  | 'cannot_read'
  | 'cannot_write';

/** A checkpoint that cannot be written, read or understood. */
export class CheckpointError extends Error {
  override readonly name = 'CheckpointError';
  readonly code: CheckpointErrorCode;
  /** What the user can do about it. */
  readonly remedy: string;
  constructor(code: CheckpointErrorCode, message: string, remedy: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
    this.remedy = remedy;
  }
}

export const TAKE_ANOTHER = 'Use another checkpoint of the run (the previous one, or best.safetensors), or copy the file again.';

/** The error for parts of a checkpoint that do not fit together. */
export function mismatch(what: string, cause?: unknown): CheckpointError {
  return new CheckpointError(
    'mismatch',
    `the parts of the checkpoint do not fit together: ${what}`,
    TAKE_ANOTHER,
    cause === undefined ? {} : { cause },
  );
}
