/** `troupe coordinator`: flags -> runCoordinator, events -> standard output, signals -> save and stop. */
import { setMaxListeners } from 'node:events';
import { runCoordinator } from './coordinator.js';
import { createReporter, type Report } from './reporter.js';
import { parseSettings, SettingsError, type Settings } from './settings.js';

// Every link listens for the end of the run, so a large number of listeners is not a leak.
setMaxListeners(0);

interface Complaint extends Error {
  readonly code?: string;
  readonly remedy?: string;
}

function complain(error: Complaint, json: boolean, report: Report): void {
  const { code = 'internal', message, remedy, stack } = error;
  const unexplained = remedy === undefined;
  if (unexplained || process.env.TROUPE_DEBUG) process.stderr.write(`${stack ?? message}\n`);
  if (json)
    report({
      event: 'error',
      code: unexplained ? 'internal' : code,
      message,
      remedy: remedy ?? 'This is a bug in Troupe: please report it.',
    });
  else process.stderr.write(`${message}\n${remedy ?? 'This is a bug in Troupe: please report it.'}\n`);
}

async function main(argv: readonly string[]): Promise<number> {
  const json = argv.includes('--json');
  const report = createReporter(json, (line) => void process.stdout.write(`${line}\n`));
  let settings: Settings;
  try {
    settings = parseSettings(argv, process.env);
  } catch (error) {
    complain(error as Complaint, json, report);
    return 2;
  }
  const stop = new AbortController();
  // The reader of our events may be gone. The run must still be saved.
  process.stdout.on('error', () => stop.abort(new Error('the reader of the output is gone')));
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => stop.abort(new Error(signal)));
  process.on('disconnect', () => stop.abort(new Error('the process that started the coordinator is gone')));
  try {
    await runCoordinator({ settings, env: process.env, report, signal: stop.signal });
    return 0;
  } catch (error) {
    complain(error as Complaint, json, report);
    return error instanceof SettingsError ? 2 : 1;
  } finally {
    if (process.connected) process.disconnect();
  }
}

process.exitCode = await main(process.argv.slice(2));
