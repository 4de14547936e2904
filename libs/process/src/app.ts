/** The shell of an app: requests to stop come in, output goes out, and neither holds up the other. */
import { LiveOutput, outputProblem, type OutputStream } from './output.js';
import { stopRequest, type ProcessSignals } from './signals.js';

/** What an app needs of its process. */
export interface AppProcess extends ProcessSignals {
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly stdout: OutputStream;
  readonly stderr: OutputStream;
  readonly connected: boolean;
  exitCode?: number | string | null | undefined;
  disconnect?(): void;
}

export interface AppShell {
  readonly args: readonly string[];
  readonly env: AppProcess['env'];
  /** Write whole lines, without the last line break. */
  readonly out: (line: string) => void;
  readonly err: (line: string) => void;
  /** Aborts when the app is asked to stop, and when the reader of its output is gone. */
  readonly signal: AbortSignal;
}

/**
 * Runs an app to its end and sets the exit code of the process: that of the app, or 1 if it is 0
 * and output is missing.
 * @param missing with --json: the line that stands for lost lines
 * @returns false if the app was asked to stop and somebody has paused its output: the process would
 * not end by itself
 */
export async function runApp(
  process: AppProcess,
  missing: (lines: number) => string,
  app: (shell: AppShell) => Promise<number>,
): Promise<boolean> {
  const args = process.argv.slice(2);
  const stop = stopRequest(process);
  const output = new LiveOutput(process.stdout, args.includes('--json') ? { missing } : {});
  const errors = new LiveOutput(process.stderr);
  output.gone.addEventListener('abort', () => stop.abort(output.gone.reason), { once: true });
  const shell: AppShell = {
    args,
    env: process.env,
    out: (line) => output.write(`${line}\n`),
    err: (line) => errors.write(`${line}\n`),
    signal: stop.signal,
  };
  try {
    process.exitCode = await app(shell);
  } finally {
    if (process.connected) process.disconnect?.();
  }
  const isComplete = await output.flush(stop.signal);
  if (output.failure !== undefined) {
    const { message, remedy } = outputProblem(output.failure);
    shell.err(`${message}\n${remedy}`);
    process.exitCode ||= 1;
  }
  return (await errors.flush(stop.signal)) && isComplete;
}
