import type { Command } from 'commander';
import { VIEW_OPTIONS } from '@troupe/config';
import type { Shell } from '../shell.js';
import { runApp } from './apps.js';
import { addAppOptions, afterwards, examples, givenArguments } from './flags.js';

export function defineView(program: Command, shell: Shell, ended: (exitCode: number) => void): void {
  const command = program
    .command('view')
    .summary('show the runs in a folder in a browser')
    .description(
      'Serves the dashboard over every run in a folder, computing or not: curves, gradient flow, samples, a playground with the best ' +
        'model, and comparisons. It only reads. Ctrl-C ends it.',
    )
    .argument('[folder]', 'the folder that holds the runs, or the folder of one run', 'runs');
  addAppOptions(command, VIEW_OPTIONS)
    .addHelpText(
      'after',
      examples(
        [`${shell.program} view`, 'show the runs in runs/, and print the link'],
        [`${shell.program} view runs/001`, 'show one run; the others are there to compare'],
        [`${shell.program} view /data/runs --port 8080`, 'show other runs, on another port'],
      ) + afterwards(`${shell.program} sample --checkpoint runs/001   write text with the best model of a run`),
    )
    .action(async (folder: string) => {
      ended(await runApp(shell, 'viewer', [folder, ...givenArguments(command, VIEW_OPTIONS)]));
    });
}
