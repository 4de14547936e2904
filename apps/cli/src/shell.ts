import { randomBytes } from 'node:crypto';
import { realpathSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline/promises';
import { Writable } from 'node:stream';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { shellQuote } from '@troupe/config';
import { installationAt } from '@troupe/config/installation';
import {
  isReaderGone,
  LiveOutput as LiveText,
  machineMemory,
  stopSignals,
  type MachineMemory,
  type StopSignal,
} from '@troupe/process';
import type { Discovery } from '@troupe/transport/discovery';
import { Interrupted } from './errors.js';

/** An output for text: process.stdout, process.stderr, or a test's substitute. */
export interface Output {
  write(text: string): unknown;
  readonly isTTY?: boolean | undefined;
  /** Width in characters; absent without a terminal. */
  readonly columns?: number | undefined;
  /** Height in lines; absent without a terminal. */
  readonly rows?: number | undefined;
}

/** An output that never blocks, for commands that must answer while somebody has paused the terminal. */
export interface LiveOutput extends Output {
  /** Text waits because nobody reads. */
  readonly isStalled: boolean;
  /** Resolves when all text is written. */
  flush(): Promise<unknown>;
}

/** The source of stop requests: the process. */
export interface SignalSource {
  on(signal: StopSignal, listener: () => void): unknown;
  off(signal: StopSignal, listener: () => void): unknown;
}

/** The compiled entry points of the apps that the command line starts. */
export interface AppPaths {
  readonly coordinator: string;
  readonly worker: string;
  readonly allreduce: string;
  readonly viewer: string;
}

/** Everything that a command uses of its environment. */
export interface Shell {
  readonly stdout: Output;
  readonly stderr: Output;
  readonly env: Readonly<Record<string, string | undefined>>;
  /**
   * The outputs as live ones, for the rest of the command.
   * @param missing a line that stands for `lines` lines that are lost
   */
  readonly live: (missing?: (lines: number) => string) => { readonly stdout: LiveOutput; readonly stderr: LiveOutput };
  /** Why standard output could not be written although its reader is there: a full disk. */
  readonly outputFailure: () => Error | undefined;
  readonly signals: SignalSource;
  /** The signals that ask to stop. */
  readonly stopSignals: readonly StopSignal[];
  /** Aborts when the reader of standard output is gone (`troupe sample | head`). */
  readonly unread: AbortSignal;
  readonly apps: AppPaths;
  readonly memory: () => MachineMemory;
  /** Processor cores that this process may use. */
  readonly cores: number;
  /** Asks a question on the terminal, without showing the answer. Absent without a terminal. @throws Interrupted */
  readonly ask?: (question: string) => Promise<string>;
  /** The same, and shows the answer. */
  readonly prompt?: (question: string) => Promise<string>;
  /** Looks for coordinators on the local network. */
  readonly discover: (forMs: number) => Promise<Discovery>;
  /** The command to paste for this program: "npm run troupe --", "troupe", "node apps/cli/bin/troupe.mjs". */
  readonly program: string;
  /** A new join token. */
  readonly newToken: () => string;
  /** Milliseconds, monotonic. */
  readonly now: () => number;
  /** [0, 1). */
  readonly random: () => number;
  /**
   * First delay in ms before a failed worker is restarted. It doubles with each failure in the last
   * minute.
   */
  readonly restartDelayMs: number;
}

export function processShell(): Shell {
  const { unread, outputFailure } = watch(process.stdout);
  return {
    stdout: process.stdout,
    stderr: process.stderr,
    live: (missing) => ({
      stdout: new LiveText(process.stdout, missing === undefined ? {} : { missing }),
      stderr: new LiveText(process.stderr),
    }),
    outputFailure,
    env: process.env,
    signals: process,
    stopSignals: stopSignals(process),
    unread,
    ...(process.stdin.isTTY === true && process.stderr.isTTY === true
      ? {
          ask: (question: string) => askHidden(question, process.stdin, process.stderr),
          prompt: (question: string) => askAloud(question, process.stdin, process.stderr),
        }
      : {}),
    // Few commands need it, so others need not load it.
    discover: async (forMs) => (await import('@troupe/transport/discovery')).discover({ forMs }),
    apps: appPaths(),
    memory: machineMemory,
    cores: availableParallelism(),
    program: programName(process.argv[1] ?? '.', process.env),
    newToken: () => randomBytes(18).toString('base64url'),
    now: () => performance.now(),
    random: Math.random,
    restartDelayMs: 500,
  };
}

/** Whether TROUPE_DEBUG is set: show stack traces and the output of child processes. */
export function isDebugging(env: Shell['env']): boolean {
  return (env.TROUPE_DEBUG ?? '') !== '';
}

/** apps/NAME/dist/main.js, seen from apps/cli/dist (or src). */
export function appPaths(): AppPaths {
  const entry = (app: string, script = 'main.js') => fileURLToPath(new URL(`../../${app}/dist/${script}`, import.meta.url));
  return {
    coordinator: entry('coordinator'),
    worker: entry('worker'),
    allreduce: entry('allreduce'),
    viewer: entry('coordinator', 'view/main.js'),
  };
}

/**
 * The first words of hints on the screen, so that users can paste them. They run this copy of the
 * program: "troupe" may be another one or none, and "npx troupe" may fetch a package of that name.
 * @param typed process.argv[1]: the script, or a link to it
 * @param realPath undefined if there is no such file
 */
export function programName(typed: string, env: Shell['env'], cwd = process.cwd(), realPath = realPathOf): string {
  const script = realPath(typed) ?? typed;
  const { kind, program } = installationAt(pathToFileURL(script).href);
  const isClone = kind === 'clone';
  if (isClone && (env.npm_command === 'run-script' || env.npm_command === 'start')) return program;
  const relative = (file: string) => shellQuote(path.relative(cwd, file).startsWith('..') ? file : path.relative(cwd, file));
  if (isClone) return `node ${relative(script)}`;
  if (firstOnPath(program, env.PATH, realPath) === script) return program;
  return typed === script ? `node ${relative(script)}` : relative(typed);
}

/** The file that a shell runs for a command. */
function firstOnPath(command: string, folders = '', realPath: typeof realPathOf): string | undefined {
  for (const folder of folders.split(path.delimiter)) {
    const found = realPath(path.join(folder, command));
    if (found !== undefined) return found;
  }
  return undefined;
}

function realPathOf(file: string): string | undefined {
  try {
    return realpathSync(file);
  } catch {
    // There is none, or it cannot be reached.
    return undefined;
  }
}

/**
 * Reads a line from a terminal without an echo.
 * @throws Interrupted on Ctrl-C, on Ctrl-D, and when the terminal is gone
 */
export async function askHidden(question: string, input: NodeJS.ReadableStream, output: Pick<Output, 'write'>): Promise<string> {
  const silent = new Writable({ write: (_chunk, _encoding, done) => done() });
  output.write(question);
  try {
    return await answerTo('', input, silent);
  } finally {
    output.write('\n');
  }
}

/** Reads a line from a terminal. @throws Interrupted as above */
export async function askAloud(question: string, input: NodeJS.ReadableStream, output: NodeJS.WritableStream): Promise<string> {
  return answerTo(question, input, output);
}

async function answerTo(question: string, input: NodeJS.ReadableStream, output: NodeJS.WritableStream): Promise<string> {
  const lines = createInterface({ input, output, terminal: true });
  const closed = new AbortController();
  lines.once('close', () => closed.abort());
  try {
    return (await lines.question(question, { signal: closed.signal })).trim();
  } catch (cause) {
    if ((cause as Error).name !== 'AbortError') throw cause;
    throw new Interrupted('the question is not answered', { cause });
  } finally {
    lines.close();
  }
}

/** The listener also keeps a closed pipe from ending the process in the middle of a save. */
function watch(stream: NodeJS.WriteStream): Pick<Shell, 'unread' | 'outputFailure'> {
  const gone = new AbortController();
  let failure: Error | undefined;
  stream.on('error', (error: Error) => {
    if (isReaderGone(error)) gone.abort(error);
    else failure ??= error;
  });
  return { unread: gone.signal, outputFailure: () => failure };
}
