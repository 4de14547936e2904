import type { Outcome, Problem } from './facts.js';

/** @throws the reason of `signal`, and what is no error with a remedy: a bug */
export async function attempt<T>(signal: AbortSignal, task: () => Promise<T>): Promise<Outcome<T>> {
  try {
    return { ok: true, value: await task() };
  } catch (error) {
    signal.throwIfAborted();
    return { ok: false, problem: problemOf(error) };
  }
}

function problemOf(error: unknown): Problem {
  const { message, remedy } = error as Partial<Problem>;
  if (message === undefined || remedy === undefined) throw error;
  // OpenSSL ends its errors with a line feed.
  return { message: message.replaceAll(/\s+/g, ' ').trim(), remedy };
}
