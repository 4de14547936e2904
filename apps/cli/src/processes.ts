import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync } from 'node:fs';
import { constants } from 'node:os';
import { createInterface } from 'node:readline';
import { installationAt } from '@troupe/config/installation';
import { CliError } from './errors.js';
import type { Shell } from './shell.js';

/** Lines of standard error to keep in case the process fails. */
const TAIL_LINES = 12;
const MINUTE_MS = 60_000;
const LONGEST_DELAY_MS = 10_000;
const RESTARTS_A_MINUTE = 5;

export interface Exit {
  /** The exit code; 128 + signal number if a signal ended the process, as in a shell. */
  readonly code: number;
  /** "exit code 1", "signal SIGKILL". */
  readonly how: string;
}

export interface AppOptions {
  readonly args: readonly string[];
  readonly env: Shell['env'];
  /**
   * `inherit`: shares this terminal. `lines`: standard output goes to `onLine`. `none`: standard
   * output is dropped.
   */
  readonly output: 'inherit' | 'lines' | 'none';
  readonly onLine?: (line: string) => void;
  /** Called for each line of standard error (not with `inherit`). */
  readonly onErrorLine?: (line: string) => void;
}

/** An app that runs as a child process. */
export interface AppProcess {
  /** Resolves when the process has ended and its output is read. Never rejects. */
  readonly exited: Promise<Exit>;
  /** Asks the app to save and end. */
  stop(): void;
  kill(): void;
  /** The last lines of the app's standard error. */
  errorTail(): readonly string[];
}

/**
 * Every round moves megabytes through short-lived buffers. V8 counts them against the heap. With
 * its small default heap it would collect several times a round, on cores that the workers need;
 * with a larger one it hardly ever does.
 */
const HEAP_FLAGS = ['--initial-heap-size=256'];

/**
 * Starts an app in its own process group, so that Ctrl-C in the terminal reaches only this process,
 * which decides what it means. The IPC channel is the app's lifeline: if this process dies, the
 * channel closes and the app ends itself.
 * @throws CliError `not_built`.
 */
export function startApp(script: string, options: AppOptions): AppProcess {
  if (!existsSync(script)) throw new CliError('not_built', `${script} is missing.`, installationAt(import.meta.url).restore);
  const { output } = options;
  const stdio =
    output === 'inherit'
      ? (['ignore', 'inherit', 'inherit', 'ipc'] as const)
      : (['ignore', output === 'lines' ? 'pipe' : 'ignore', 'pipe', 'ipc'] as const);
  const child = spawn(process.execPath, [...HEAP_FLAGS, script, ...options.args], {
    stdio: [...stdio],
    env: { ...options.env },
    detached: process.platform !== 'win32',
    windowsHide: true,
  });
  const tail: string[] = [];
  if (child.stdout !== null) createInterface({ input: child.stdout }).on('line', (line) => options.onLine?.(line));
  if (child.stderr !== null) {
    createInterface({ input: child.stderr }).on('line', (line) => {
      tail.push(line);
      if (tail.length > TAIL_LINES) tail.shift();
      options.onErrorLine?.(line);
    });
  }
  return { exited: exitOf(child), stop: () => child.kill('SIGTERM'), kill: () => child.kill('SIGKILL'), errorTail: () => tail };
}

function exitOf(child: ChildProcess): Promise<Exit> {
  return new Promise((resolve) => {
    child.on('error', (error) => resolve({ code: 1, how: error.message }));
    child.once('close', (code, signal) => {
      if (signal !== null) resolve({ code: 128 + constants.signals[signal], how: `signal ${signal}` });
      else resolve({ code: code ?? 1, how: `exit code ${code ?? 1}` });
    });
  });
}

/** How an app ends that the system ended for want of memory: killed, or aborted by Node itself. */
export function mayLackMemory({ code }: Exit): boolean {
  return code === 128 + constants.signals.SIGKILL || code === 128 + constants.signals.SIGABRT;
}

/** Times that a worker may be ended for want of memory: each time other work of the machine is in danger. */
const MEMORY_FAILURES = 3;

/**
 * Delays for restarting something that failed: they double, with jitter, and allow five restarts a
 * minute.
 */
export class RestartLimit {
  readonly #firstDelayMs: number;
  readonly #random: () => number;
  #failures: number[] = [];
  #memoryFailures = 0;

  constructor(firstDelayMs: number, random: () => number) {
    this.#firstDelayMs = firstDelayMs;
    this.#random = random;
  }

  /**
   * Milliseconds to wait after a failure at `nowMs`; undefined = too many failures, give up. Failures
   * for want of memory are counted over the whole run.
   */
  delayAfter(nowMs: number, lacksMemory = false): number | undefined {
    if (lacksMemory && ++this.#memoryFailures >= MEMORY_FAILURES) return undefined;
    this.#failures = [...this.#failures.filter((at) => nowMs - at < MINUTE_MS), nowMs];
    if (this.#failures.length > RESTARTS_A_MINUTE) return undefined;
    const delay = Math.min(this.#firstDelayMs * 2 ** (this.#failures.length - 1), LONGEST_DELAY_MS);
    return delay * (0.5 + this.#random() / 2);
  }
}

/**
 * npm passes on a Ctrl-C that the terminal has also sent to this process. A signal this soon after
 * another is the same request.
 */
const SAME_REQUEST_MS = 300;

/**
 * Calls `first` on the first request to stop and `again` on later ones, until the returned function
 * is called.
 */
export function onStopRequest(
  shell: Pick<Shell, 'signals' | 'stopSignals' | 'now'>,
  first: () => void,
  again: () => void,
): () => void {
  let firstAt: number | undefined;
  const listener = () => {
    const now = shell.now();
    if (firstAt === undefined) {
      firstAt = now;
      first();
    } else if (now - firstAt > SAME_REQUEST_MS) {
      again();
    }
  };
  for (const signal of shell.stopSignals) shell.signals.on(signal, listener);
  return () => {
    for (const signal of shell.stopSignals) shell.signals.off(signal, listener);
  };
}
