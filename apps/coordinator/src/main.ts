/** `troupe coordinator`: flags -> runCoordinator, events -> standard output, signals -> save and stop. */
import { setMaxListeners } from 'node:events';
import { sentence } from '@troupe/protocol';
import { ModelTooLarge, RunDiverged } from '@troupe/conductor';
import { EXIT, missingLines, runApp, systemProblem, type AppShell } from '@troupe/process';
import type { RunEvent } from '@troupe/run';
import { runCoordinator } from './coordinator.js';
import { createReporter, type Report } from './reporter.js';
import { parseSettings, SettingsError, type Settings } from './settings.js';
import { causeOf, isEarlyStop } from './stopped.js';

// Every link listens for the end of the run, so a large number of listeners is not a leak.
setMaxListeners(0);

interface Complaint extends Error {
  readonly code?: string;
  readonly remedy?: string;
}

const BUG = 'This is a bug in Troupe: please report it.';

function complain(error: Complaint, json: boolean, report: Report, { env, err }: AppShell): void {
  const explained = error.remedy === undefined ? systemProblem(error) : error;
  const { message, remedy = BUG } = explained ?? error;
  if (explained === undefined || env.TROUPE_DEBUG) err(error.stack ?? message);
  if (json) report({ event: 'error', code: explained === undefined ? 'internal' : (error.code ?? 'internal'), message, remedy });
  else err(`${sentence(message)}\n${remedy}`);
}

async function main(shell: AppShell): Promise<number> {
  const { args, env, out, signal } = shell;
  const json = args.includes('--json');
  const report = createReporter(json, out);
  let settings: Settings;
  try {
    settings = parseSettings(args, env);
  } catch (error) {
    complain(error as Complaint, json, report, shell);
    return EXIT.usage;
  }
  let hasStarted = false;
  const watched: Report = (event) => {
    hasStarted ||= event.event === 'started';
    report(event);
  };
  try {
    await runCoordinator({ settings, env, report: watched, signal, isTerminal: process.stdout.isTTY && !json });
    return EXIT.ok;
  } catch (error) {
    if (isEarlyStop(error as Error, signal, hasStarted)) return EXIT.ok;
    complain(causeOf(error as Error), json, report, shell);
    return exitCodeOf(error);
  }
}

function exitCodeOf(error: unknown): number {
  if (error instanceof RunDiverged) return EXIT.diverged;
  return error instanceof SettingsError || error instanceof ModelTooLarge ? EXIT.usage : EXIT.failed;
}

const missing = (lines: number): string =>
  JSON.stringify({ event: 'note', level: 'warn', text: missingLines(lines) } satisfies RunEvent);

// Asked to stop while its output is paused: the rest of the output is dropped.
// eslint-disable-next-line no-restricted-syntax
if (!(await runApp(process, missing, main))) process.exit();
