import { randomBytes } from 'node:crypto';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

/** Where text goes: process.stdout, process.stderr, or what a test puts there. */
export interface Output {
  write(text: string): unknown;
  readonly isTTY?: boolean | undefined;
  /** Width in characters; absent where there is no terminal. */
  readonly columns?: number | undefined;
}

export type StopSignal = 'SIGINT' | 'SIGTERM' | 'SIGHUP';

/** Where stop requests come from: the process. */
export interface SignalSource {
  on(signal: StopSignal, listener: () => void): unknown;
  off(signal: StopSignal, listener: () => void): unknown;
}

/** The compiled entry points of the apps that the command line starts. */
export interface AppPaths {
  readonly coordinator: string;
  readonly worker: string;
  readonly allreduce: string;
}

/** All that a command sees of the world outside. */
export interface Shell {
  readonly stdout: Output;
  readonly stderr: Output;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly signals: SignalSource;
  /** Aborted when nobody reads standard output any more (`troupe sample | head`). */
  readonly unread: AbortSignal;
  readonly apps: AppPaths;
  /** What a person types to get here: "troupe", "npx troupe". */
  readonly program: string;
  /** A new join token. */
  readonly newToken: () => string;
  /** Milliseconds, monotonic. */
  readonly now: () => number;
  /** [0, 1). */
  readonly random: () => number;
  /** First delay before a worker that failed is started again, ms; doubles with each failure of the last minute. */
  readonly restartDelayMs: number;
}

export function processShell(): Shell {
  return {
    stdout: process.stdout,
    stderr: process.stderr,
    env: process.env,
    signals: process,
    unread: whenUnread(process.stdout),
    apps: appPaths(),
    program: programName(process.argv[1] ?? '', process.env),
    newToken: () => randomBytes(18).toString('base64url'),
    now: () => performance.now(),
    random: Math.random,
    restartDelayMs: 500,
  };
}

/** TROUPE_DEBUG=1: stack traces, and what the child processes write. */
export function isDebugging(env: Shell['env']): boolean {
  return (env.TROUPE_DEBUG ?? '') !== '';
}

/** apps/NAME/dist/main.js, seen from apps/cli/dist (or src). */
function appPaths(): AppPaths {
  const entry = (app: string) => fileURLToPath(new URL(`../../${app}/dist/main.js`, import.meta.url));
  return { coordinator: entry('coordinator'), worker: entry('worker'), allreduce: entry('allreduce') };
}

/** How the hints on the screen should begin, so that they can be typed as they stand. */
export function programName(script: string, env: Shell['env']): string {
  if (env.npm_command !== undefined) return 'npx troupe';
  if (path.basename(script) !== 'troupe.mjs') return 'troupe';
  const relative = path.relative(process.cwd(), script);
  return `node ${relative.startsWith('..') ? script : relative}`;
}

/** Also keeps a closed pipe from ending the process in the middle of a save. */
function whenUnread(stream: NodeJS.WriteStream): AbortSignal {
  const controller = new AbortController();
  stream.on('error', (error) => controller.abort(error));
  return controller.signal;
}
