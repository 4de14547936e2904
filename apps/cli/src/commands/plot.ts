import { writeFile } from 'node:fs/promises';
import { Option, type Command } from 'commander';
import { checkpointFacts, writeWhole } from '@troupe/checkpoint/node';
import { printable } from '@troupe/protocol';
import { lossOf, REPORT_FILE, reportPage, type ReportedRun } from '@troupe/run';
import { CliError } from '../errors.js';
import { readCurves, readHistory, type Curves } from '../plot/curves.js';
import { drawSvg } from '../plot/svg.js';
import type { Shell } from '../shell.js';
import { shownPath } from '../terminal/report.js';
import { sparkline } from '../terminal/sparkline.js';
import { afterwards, examples } from './flags.js';

const SPARK_WIDTH = 48;

interface PlotFlags {
  readonly out?: string;
  /** True: without the name of a file. */
  readonly html?: string | true;
}

export function definePlot(program: Command, shell: Shell): void {
  program
    .command('plot')
    .summary('draw the losses of runs')
    .description(
      'Draws the training and validation losses of one or several runs, computing or not, as lines of text, an SVG file, or a report.',
    )
    .argument('<run...>', 'folders of runs')
    .addOption(
      new Option(
        '--html [FILE]',
        'write a report: figures, curves, samples, configuration and checkpoints in one HTML file; a FILE must not exist (default: report.html in the folder of the run)',
      )
        .conflicts('out')
        .helpGroup('Output:'),
    )
    .addOption(new Option('--out <FILE>', 'write an SVG file; it must not exist (default: print text)').helpGroup('Output:'))
    .addHelpText(
      'after',
      examples(
        [`${shell.program} plot runs/001`, 'print the curve of a run'],
        [`${shell.program} plot runs/001 runs/002 --out losses.svg`, 'draw two runs in one chart'],
        [`${shell.program} plot runs/001 --html`, 'write runs/001/report.html'],
      ) + afterwards(`${shell.program} view   see them on the dashboard, with everything else`),
    )
    .action((folders: string[], { out, html }: PlotFlags) =>
      html === undefined ? plot(shell, folders, out) : report(shell, folders, html === true ? undefined : html),
    );
}

async function plot(shell: Shell, folders: readonly string[], out: string | undefined): Promise<void> {
  const runs = await Promise.all(folders.map(readCurves));
  const drawable = runs.filter(({ losses, evaluations }) => losses.length + evaluations.length > 0);
  if (drawable.length === 0) throw noRounds();
  if (out === undefined) {
    for (const run of drawable) shell.stdout.write(`${describe(run)}\n`);
    return;
  }
  await writeNew(shell, out, drawSvg(drawable), '--out');
}

async function writeNew(shell: Shell, file: string, text: string, flag: string): Promise<void> {
  await writeFile(file, text, { flag: 'wx' }).catch((cause: Error) => {
    throw new CliError('output_failed', `${file} cannot be written: ${cause.message}.`, `Give another file with ${flag}.`, {
      cause,
    });
  });
  shell.stdout.write(`saved ${file}\n`);
}

/** @param file absent: that of the run, which is replaced */
async function report(shell: Shell, folders: readonly string[], file: string | undefined): Promise<void> {
  if (file === undefined && folders.length > 1) {
    throw new CliError('usage', 'A report of several runs needs the name of a file.', 'Add it: --html runs.html.');
  }
  const runs = await Promise.all(folders.map((folder) => reportedRun(shell, folder)));
  const drawable = runs.filter(({ history }) => history.lastRound > 0);
  if (drawable.length === 0) throw noRounds();
  const page = reportPage(drawable);
  if (file !== undefined) return writeNew(shell, file, page, '--html');
  const saved = await writeWhole(folders[0], REPORT_FILE, new TextEncoder().encode(page));
  shell.stdout.write(`saved ${shownPath(saved)}\n`);
}

async function reportedRun({ program }: Shell, folder: string): Promise<ReportedRun> {
  return { folder, program, history: await readHistory(folder), files: await checkpointFacts(folder) };
}

function noRounds(): CliError {
  return new CliError('no_history', 'These runs have completed no round yet.', 'Wait for the first rounds, and try again.');
}

/** Two lines: which run, and its losses. */
function describe({ folder, model, rounds, losses, evaluations }: Curves): string {
  const best = Math.min(...evaluations.map(lossOf));
  const validation = evaluations.length === 0 ? '' : `, best validation ${best.toFixed(3)}`;
  const curve =
    losses.length === 0 ? '' : `${losses[0].toFixed(2)} ${sparkline(losses, SPARK_WIDTH)} ${losses.at(-1)!.toFixed(2)} nats/char`;
  return `${printable(folder)}: ${printable(model)}, ${(rounds.at(-1) ?? 0).toLocaleString('en')} rounds${validation}\n  ${curve}`;
}
