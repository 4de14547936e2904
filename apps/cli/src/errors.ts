/** What the command line itself finds wrong. Usage errors end with exit code 2, all others with 1. */
export class CliError extends Error {
  override readonly name = 'CliError';
  readonly code: 'usage' | 'not_built' | 'coordinator_failed' | 'no_workers' | 'killed' | 'no_checkpoint';
  readonly remedy: string;
  constructor(code: CliError['code'], message: string, remedy: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
    this.remedy = remedy;
  }
}

/** An error as a person and a program are told of it. */
export interface Complaint {
  readonly code: string;
  readonly message: string;
  readonly remedy: string;
}

/** Any thrown value or `error` event as a complaint; what has no `code` and `remedy` is a fault of Troupe itself. */
export function complaintOf(error: unknown): Complaint {
  const { code, message, remedy } = (typeof error === 'object' && error !== null ? error : { message: String(error) }) as Partial<
    Record<keyof Complaint, unknown>
  >;
  return {
    code: typeof code === 'string' ? code : 'internal',
    message: typeof message === 'string' && message !== '' ? message : 'something failed without saying what',
    remedy: typeof remedy === 'string' ? remedy : 'Set TROUPE_DEBUG=1 and run it again to see where it comes from.',
  };
}
