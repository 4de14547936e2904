/** Errors of a coordinator that was stopped before its run started. */

/** Node's errors have the name, those of our libraries the code. */
const isAbort = (error: Error & { readonly code?: string }): boolean => error.name === 'AbortError' || error.code === 'aborted';

/** Whether an error only says that someone asked to stop before the run started: nothing is lost or wrong. */
export function isEarlyStop(error: Error, signal: AbortSignal, hasStarted: boolean): boolean {
  return signal.aborted && !hasStarted && (error === signal.reason || isAbort(error));
}

/** The reason of a wait that ended early, instead of the error about the wait. */
export function causeOf(error: Error): Error {
  return isAbort(error) && error.cause instanceof Error && !isAbort(error.cause) ? error.cause : error;
}
