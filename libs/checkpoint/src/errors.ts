export type CheckpointErrorCode =
  | 'not_found'
  /** Some other file: another format, or a safetensors file that Troupe did not write. */
  | 'not_a_checkpoint'
  /** Bytes are missing at the end. */
  | 'truncated'
  /** The bytes contradict themselves or their SHA-256. */
  | 'corrupt'
  /** Written by a newer Troupe. */
  | 'unsupported_version'
  /** The parts do not fit each other: shapes, lengths, types. */
  | 'mismatch'
  | 'cannot_read'
  | 'cannot_write';

/** A checkpoint that cannot be written, read or understood. */
export class CheckpointError extends Error {
  override readonly name = 'CheckpointError';
  readonly code: CheckpointErrorCode;
  /** What the person can do about it. */
  readonly remedy: string;
  constructor(code: CheckpointErrorCode, message: string, remedy: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
    this.remedy = remedy;
  }
}

export const TAKE_ANOTHER = 'Use another checkpoint of the run (the one before, or best.safetensors), or copy the file again.';

/** Parts of a checkpoint that do not fit each other. */
export function mismatch(what: string, cause?: unknown): CheckpointError {
  return new CheckpointError(
    'mismatch',
    `the parts of the checkpoint do not fit: ${what}`,
    TAKE_ANOTHER,
    cause === undefined ? {} : { cause },
  );
}
