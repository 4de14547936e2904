/** `troupe view`: flags -> view, signals -> end. */
import { setMaxListeners } from 'node:events';
import { describeOptions, VIEW_OPTIONS } from '@troupe/config';
import { EXIT, isLoopback, missingLines, parseOptions, runApp, UsageError, type AppShell } from '@troupe/process';
import { sentence } from '@troupe/protocol';
import { TransportError } from '@troupe/transport';
import { createReporter } from '../reporter.js';
import { view, ViewError } from './viewer.js';

// Every link listens for the end, so a large number of listeners is not a leak.
setMaxListeners(0);

const USAGE = `Usage: troupe view [FOLDER] [FLAGS]

Shows the runs in a folder in a browser.

${describeOptions(VIEW_OPTIONS)}`;

const DEFAULT_FOLDER = 'runs';

async function main(shell: AppShell): Promise<number> {
  const { args, env, err } = shell;
  try {
    const { values, positionals } = parseOptions(VIEW_OPTIONS, args, env, { positionals: true });
    if (positionals.length > 1) throw new UsageError('There is more than one folder.', 'Give the folder that holds the runs.');
    await show(shell, values, positionals[0] ?? DEFAULT_FOLDER);
    return EXIT.ok;
  } catch (error) {
    if (error instanceof UsageError) {
      err(`${error.message}\n${error.remedy}\n\n${USAGE}`);
      return EXIT.usage;
    }
    if (!(error instanceof ViewError || error instanceof TransportError)) throw error;
    err(`${sentence(error.message)}\n${error.remedy}`);
    return EXIT.failed;
  }
}

type Values = ReturnType<typeof parseOptions<typeof VIEW_OPTIONS>>['values'];

async function show({ out, signal }: AppShell, values: Values, folder: string): Promise<void> {
  const { '--host': host, '--port': port, '--json': json } = values;
  const report = createReporter(json, out);
  await view({
    ...{ folder, host, port, report, signal },
    onListening(link, runs) {
      if (json) return out(JSON.stringify({ event: 'viewing', link, runs }));
      out(`${runs === 1 ? '1 run' : `${runs} runs`} in ${folder}: ${link}`);
      out('They are only shown, not changed. Ctrl-C ends this viewer.');
      if (!isLoopback(host)) out('Anyone who can reach this address can read them.');
    },
  });
}

const missing = (lines: number): string => JSON.stringify({ event: 'note', level: 'warn', text: missingLines(lines) });

// Asked to stop while its output is paused: the rest of the output is dropped.
// eslint-disable-next-line no-restricted-syntax
if (!(await runApp(process, missing, main))) process.exit();
