import { EXIT, systemProblem } from '@troupe/process';

/**
 * An error of the command line itself. The exit code is 2 for usage errors and 1 for all others.
 */
export class CliError extends Error {
  override readonly name = 'CliError';
  readonly code:
    | 'usage'
    | 'not_built'
    | 'coordinator_failed'
    | 'no_workers'
    | 'killed'
    | 'no_checkpoint'
    | 'no_history'
    | 'no_corpus'
    | 'output_failed'
    | 'no_memory'
    | 'no_slurm'
    | 'no_coordinator';
  readonly remedy: string;
  constructor(code: CliError['code'], message: string, remedy: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
    this.remedy = remedy;
  }
}

/** The user has ended the command at a question. Not an error: nothing is to be told. */
export class Interrupted extends Error {
  override readonly name = 'Interrupted';
  readonly exitCode = EXIT.interrupted;
}

/** An error as users and programs see it. */
export interface Complaint {
  readonly code: string;
  readonly message: string;
  readonly remedy: string;
}

/**
 * Any thrown value or `error` event as a complaint. A value without `code` and `remedy` is a bug in
 * Troupe.
 */
export function complaintOf(error: unknown): Complaint {
  const system = systemProblem(error);
  if (system !== undefined && !('remedy' in (error as Error))) return { code: (error as NodeJS.ErrnoException).code!, ...system };
  const { code, message, remedy } = (typeof error === 'object' && error !== null ? error : { message: String(error) }) as Partial<
    Record<keyof Complaint, unknown>
  >;
  return {
    code: typeof code === 'string' ? code : 'internal',
    message: typeof message === 'string' && message !== '' ? message : 'something failed without a message',
    remedy: typeof remedy === 'string' ? remedy : 'Run it again with TROUPE_DEBUG=1 to see the stack trace.',
  };
}
