/** Errors of a coordinator that was stopped before its run started. */

const isAbort = (error: Error): boolean => error.name === 'AbortError';

/** Whether an error only says that someone asked to stop before the run started: nothing is lost or wrong. */
export function isEarlyStop(error: Error, signal: AbortSignal, hasStarted: boolean): boolean {
  return signal.aborted && !hasStarted && (error === signal.reason || isAbort(error));
}

/** The reason of a wait that ended early, instead of Node's error about the wait. */
export function causeOf(error: Error): Error {
  return isAbort(error) && error.cause instanceof Error && !isAbort(error.cause) ? error.cause : error;
}
