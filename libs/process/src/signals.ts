/** Requests to stop. */
import { isatty } from 'node:tty';

export type StopSignal = 'SIGINT' | 'SIGTERM' | 'SIGHUP';

/** What this module uses of the process. */
export interface ProcessSignals {
  readonly platform: string;
  on(event: StopSignal | 'disconnect', listener: () => void): unknown;
}

/** Whether a file descriptor of this process is a terminal. */
export type IsTerminal = (fd: number) => boolean;

/**
 * Whether a hang-up ends this process: only if it uses a terminal. nohup starts a program with
 * SIGHUP ignored, but Node resets ignored signals at its start, so nothing inherited is left to see.
 * What nohup leaves visible is that it redirects every terminal; BSD's keeps standard input.
 */
export function endsOnHangup(platform: string, isTerminal: IsTerminal = isatty): boolean {
  return (platform === 'linux' ? [0, 1, 2] : [1, 2]).some(isTerminal);
}

/** The signals that ask this process to stop. If SIGHUP is not among them, it is ignored from now on. */
export function stopSignals(process: ProcessSignals, isTerminal: IsTerminal = isatty): readonly StopSignal[] {
  if (endsOnHangup(process.platform, isTerminal)) return ['SIGINT', 'SIGTERM', 'SIGHUP'];
  // Without a listener the signal would end the process.
  if (process.platform !== 'win32') process.on('SIGHUP', () => undefined);
  return ['SIGINT', 'SIGTERM'];
}

/**
 * Aborts when an app is asked to stop, or when the process that started it ends: the channel between
 * them then closes.
 */
export function stopRequest(process: ProcessSignals, isTerminal: IsTerminal = isatty): AbortController {
  const stop = new AbortController();
  for (const signal of stopSignals(process, isTerminal)) process.on(signal, () => stop.abort(new Error(signal)));
  process.on('disconnect', () => stop.abort(new Error('the process that started this one ended')));
  return stop;
}
