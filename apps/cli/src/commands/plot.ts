import { writeFile } from 'node:fs/promises';
import { Option, type Command } from 'commander';
import { printable } from '@troupe/protocol';
import { lossOf } from '@troupe/run';
import { CliError } from '../errors.js';
import { readCurves, type Curves } from '../plot/curves.js';
import { drawSvg } from '../plot/svg.js';
import type { Shell } from '../shell.js';
import { sparkline } from '../terminal/sparkline.js';
import { afterwards, examples } from './flags.js';

const SPARK_WIDTH = 48;

export function definePlot(program: Command, shell: Shell): void {
  program
    .command('plot')
    .summary('draw the losses of runs')
    .description(
      'Draws the training and validation losses of one or several runs, computing or not, as an SVG file or as lines of text.',
    )
    .argument('<run...>', 'folders of runs')
    .addOption(new Option('--out <FILE>', 'write an SVG file; it must not exist (default: print text)').helpGroup('Output:'))
    .addHelpText(
      'after',
      examples(
        [`${shell.program} plot runs/001`, 'print the curve of a run'],
        [`${shell.program} plot runs/001 runs/002 --out losses.svg`, 'draw two runs in one chart'],
      ) + afterwards(`${shell.program} view   see them on the dashboard, with everything else`),
    )
    .action((folders: string[], flags: { readonly out?: string }) => plot(shell, folders, flags.out));
}

async function plot(shell: Shell, folders: readonly string[], out: string | undefined): Promise<void> {
  const runs = await Promise.all(folders.map(readCurves));
  const drawable = runs.filter(({ losses, evaluations }) => losses.length + evaluations.length > 0);
  if (drawable.length === 0) {
    throw new CliError('no_history', 'These runs have completed no round yet.', 'Wait for the first rounds, and try again.');
  }
  if (out === undefined) {
    for (const run of drawable) shell.stdout.write(`${describe(run)}\n`);
    return;
  }
  await writeFile(out, drawSvg(drawable), { flag: 'wx' }).catch((cause: Error) => {
    throw new CliError('output_failed', `${out} cannot be written: ${cause.message}.`, 'Give another file with --out.', {
      cause,
    });
  });
  shell.stdout.write(`saved ${out}\n`);
}

/** Two lines: which run, and its losses. */
function describe({ folder, model, rounds, losses, evaluations }: Curves): string {
  const best = Math.min(...evaluations.map(lossOf));
  const validation = evaluations.length === 0 ? '' : `, best validation ${best.toFixed(3)}`;
  const curve =
    losses.length === 0 ? '' : `${losses[0].toFixed(2)} ${sparkline(losses, SPARK_WIDTH)} ${losses.at(-1)!.toFixed(2)} nats/char`;
  return `${printable(folder)}: ${printable(model)}, ${(rounds.at(-1) ?? 0).toLocaleString('en')} rounds${validation}\n  ${curve}`;
}
