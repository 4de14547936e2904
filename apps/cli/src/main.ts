import { readFileSync } from 'node:fs';
import { Command, CommanderError } from 'commander';
import { EXIT, outputProblem } from '@troupe/process';
import { defineAllreduce, defineCoordinator, defineWorker } from './commands/apps.js';
import { defineBench } from './commands/bench.js';
import { defineCorpus } from './commands/corpus.js';
import { defineDoctor } from './commands/doctor.js';
import { defineEval } from './commands/eval.js';
import { defineExport } from './commands/export.js';
import { defineLaunch } from './commands/launch.js';
import { definePlot } from './commands/plot.js';
import { defineSample } from './commands/sample.js';
import { defineToken } from './commands/token.js';
import { defineTrain } from './commands/train.js';
import { defineView } from './commands/view.js';
import { CliError, Interrupted } from './errors.js';
import { processShell, type Shell } from './shell.js';
import { writeComplaint } from './terminal/complaint.js';

/**
 * The command line `troupe`. Resolves with the exit code: 0 done (finished, or stopped and saved),
 * 1 error, 2 usage error, 3 diverged, 130 ended at a question. A command that runs another app ends with the code of that
 * app. Never rejects.
 */
export async function main(argv: readonly string[], shell: Shell = processShell()): Promise<number> {
  let exitCode: number = EXIT.ok;
  const program = createProgram(shell, (code) => (exitCode = code));
  try {
    await program.parseAsync(argv.length === 0 ? ['--help'] : [...argv], { from: 'user' });
    const failure = shell.outputFailure();
    if (failure === undefined) return exitCode;
    const { message, remedy } = outputProblem(failure);
    writeComplaint(shell, new CliError('output_failed', message, remedy), false);
    return exitCode || EXIT.failed;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.ok : EXIT.usage;
    if (error instanceof Interrupted) return error.exitCode;
    writeComplaint(shell, error, argv.includes('--json'));
    return error instanceof CliError && error.code === 'usage' ? EXIT.usage : EXIT.failed;
  }
}

/** The commands and their flags. */
export function createProgram(shell: Shell, ended: (exitCode: number) => void): Command {
  const program = new Command('troupe')
    .description('Trains one character-level recurrent network on many machines: a coordinator, and workers here and elsewhere.')
    .version(version(), '--version', 'print the version')
    .helpOption('-h, --help', 'print this help')
    .helpCommand('help [command]', 'print the help of a command')
    .showHelpAfterError('Run the command with --help to see its options.')
    .exitOverride()
    .configureOutput({
      writeOut: (text) => shell.stdout.write(text),
      writeErr: (text) => shell.stderr.write(text),
      getOutHelpWidth: () => shell.stdout.columns ?? 100,
      getErrHelpWidth: () => shell.stderr.columns ?? 100,
      getOutHasColors: () => false,
      getErrHasColors: () => false,
    })
    .addHelpText('after', `\nFirst steps:\n  ${shell.program} train\n  ${shell.program} sample\n  ${shell.program} train --help`);
  defineTrain(program, shell, ended);
  defineCoordinator(program, shell, ended);
  defineWorker(program, shell, ended);
  defineLaunch(program, shell, ended);
  defineAllreduce(program, shell, ended);
  defineToken(program, shell);
  defineView(program, shell, ended);
  definePlot(program, shell);
  defineSample(program, shell);
  defineEval(program, shell);
  defineExport(program, shell);
  defineCorpus(program, shell);
  defineBench(program, shell);
  defineDoctor(program, shell, ended);
  return program;
}

function version(): string {
  const manifest = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as { version: string };
  return manifest.version;
}
