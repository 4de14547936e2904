import { stat, readdir, realpath } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { Argument, Option, type Command } from 'commander';
import { prepareFolder, writeWhole } from '@troupe/checkpoint/node';
import { shellQuote } from '@troupe/config';
import { installationAt } from '@troupe/config/installation';
import type { ExportedFile, ModelForm, Player, Precision } from '@troupe/export';
import { modelFiles, readPlayer } from '@troupe/export/node';
import { openCheckpoint } from '../checkpoints.js';
import { CliError } from '../errors.js';
import type { Shell } from '../shell.js';
import { shownPath } from '../terminal/report.js';
import { styleFor } from '../terminal/style.js';
import { afterwards, examples, precisionOption } from './flags.js';
import { checkpointOption } from './sample.js';

interface ExportFlags {
  readonly checkpoint?: string;
  readonly web?: true;
  readonly pytorch?: true;
  readonly onnx?: true;
  readonly tfjs?: true;
  readonly weightsOnly?: true;
  readonly out?: string;
  readonly precision: Precision;
  readonly force?: true;
  readonly json?: true;
}

/** One of the things that the command can make. */
interface Format {
  readonly flag: keyof ExportFlags;
  readonly form: ModelForm;
  readonly help: string;
  /** Where it goes without --out: a file, or a folder. */
  readonly out: string;
  readonly isFolder: boolean;
  /** What to do with it, in a few lines. `out` is quoted for the shell. */
  next(out: string, shell: Shell): readonly string[];
}

const FORMATS: readonly Format[] = [
  {
    flag: 'web',
    form: 'web',
    help: 'one HTML file that writes text in any browser, offline: to mail, to keep, or for a static web server',
    out: 'model.html',
    isFolder: false,
    next: () => ['Open it in a browser. It needs no network and no server.'],
  },
  {
    flag: 'pytorch',
    form: 'pytorch',
    help: 'a folder for PyTorch: model.py, weights (safetensors), vocabulary, and a script that samples',
    out: 'model-pytorch',
    isFolder: true,
    next: (out) => [`python3 ${out}/sample.py`],
  },
  {
    flag: 'onnx',
    form: 'onnx',
    help: 'a folder for ONNX Runtime and others: model.onnx, vocabulary, and a script that samples',
    out: 'model-onnx',
    isFolder: true,
    next: (out) => [`node ${out}/sample.mjs`],
  },
  {
    flag: 'tfjs',
    form: 'tfjs',
    help: 'a folder for TensorFlow.js: a graph model of one time step, vocabulary, and a script that samples',
    out: 'model-tfjs',
    isFolder: true,
    next: (out) => [`node ${out}/sample.mjs`],
  },
  {
    flag: 'weightsOnly',
    form: 'weights',
    help: 'a checkpoint without optimizer, hidden states and history: a third of the size after training with Adam',
    out: 'weights.safetensors',
    isFolder: false,
    next: (out, { program }) => [`${program} sample --checkpoint ${out}`, `${program} train --init ${out}`],
  },
];

export function defineExport(program: Command, shell: Shell): void {
  const command = program
    .command('export')
    .summary('take a trained model home: as a web page, or for other frameworks')
    .description('Writes the model of a checkpoint, with its vocabulary, in a form that works without Troupe. Choose one form.')
    .addArgument(new Argument('[CHECKPOINT]', 'the same as --checkpoint'))
    .addOption(checkpointOption());
  for (const { flag, help } of FORMATS) command.addOption(new Option(`--${hyphened(flag)}`, help).helpGroup('Form:'));
  command
    .addOption(
      precisionOption('float16', 'number format of the weights with --web; float16 makes a file of half the size').helpGroup(
        'Form:',
      ),
    )
    .addOption(
      new Option('--out <PATH>', `where to write it (default: ${FORMATS[0].out} here, or a name of that kind)`).helpGroup(
        'Output:',
      ),
    )
    .addOption(new Option('--force', 'replace what is there').helpGroup('Output:'))
    .addOption(new Option('--json', 'print one JSON object: path, files, bytes, checkpoint, round').helpGroup('Output:'))
    .addHelpText(
      'after',
      examples(
        [`${shell.program} export --web`, 'make model.html from the best checkpoint of the newest run in runs/'],
        [`${shell.program} export --web runs/001 --out sonnets.html`, 'from the best checkpoint of one run'],
        [
          `${shell.program} export --weights-only runs/001 --out sonnets.safetensors`,
          'keep the model, without what only a run needs',
        ],
      ) + afterwards(`${shell.program} sample         write text here`, `${shell.program} eval           measure the model`),
    )
    .action((given: string | undefined, flags: ExportFlags) => exportModel(shell, given, flags));
}

async function exportModel(shell: Shell, given: string | undefined, flags: ExportFlags): Promise<void> {
  const format = formatOf(shell, flags);
  if (given !== undefined && flags.checkpoint !== undefined) {
    throw new CliError('usage', 'The checkpoint is given twice.', 'Leave --checkpoint out.');
  }
  const out = flags.out ?? format.out;
  const { path: source, checkpoint } = await openCheckpoint(shell, given ?? flags.checkpoint);
  await checkTarget(out, source, format, flags);
  const files = await modelFiles(format.form, checkpoint, { precision: flags.precision, player });
  const written = await writeFiles(out, files, format);
  const bytes = files.reduce((sum, file) => sum + sizeOf(file), 0);
  const result = { path: out, files: written, bytes, checkpoint: source, round: checkpoint.round };
  shell.stdout.write(flags.json ? `${JSON.stringify(result)}\n` : describe(shell, format, result));
}

/** @throws CliError `usage` */
function formatOf(shell: Shell, flags: ExportFlags): Format {
  const chosen = FORMATS.filter(({ flag }) => flags[flag] === true);
  if (chosen.length === 1) return chosen[0];
  const names = FORMATS.map(({ flag }) => `--${hyphened(flag)}`).join(', ');
  throw new CliError(
    'usage',
    chosen.length === 0 ? 'No form is chosen.' : 'Only one form can be written at a time.',
    `Give one of ${names}; ${shell.program} export --help explains them.`,
  );
}

/** weightsOnly -> weights-only */
function hyphened(key: string): string {
  return key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}

/**
 * Checks that nothing of value is overwritten.
 * @throws CliError `usage`
 */
async function checkTarget(out: string, source: string, { isFolder }: Format, { force }: ExportFlags): Promise<void> {
  const found = await stat(out).catch(() => undefined);
  if (found === undefined) return;
  const refuse = (message: string, remedy: string): never => {
    throw new CliError('usage', message, remedy);
  };
  if (found.isDirectory() !== isFolder) {
    refuse(`${out} is a ${isFolder ? 'file' : 'folder'}.`, `Give another ${isFolder ? 'folder' : 'file'} with --out.`);
  }
  if (!isFolder && (await realpath(out)) === (await realpath(source))) {
    refuse(`${out} is the checkpoint itself.`, 'Give another file with --out.');
  }
  if (force || (isFolder && (await readdir(out)).length === 0)) return;
  refuse(`${out} is there already.`, 'Give another path with --out, or replace it with --force.');
}

async function writeFiles(out: string, files: readonly ExportedFile[], { isFolder }: Format): Promise<readonly string[]> {
  const folder = isFolder ? out : path.dirname(out);
  await prepareFolder(folder);
  const written: string[] = [];
  for (const { name, bytes } of files) written.push(await writeWhole(folder, isFolder ? name : path.basename(out), bytes));
  return written;
}

function sizeOf({ bytes }: ExportedFile): number {
  return (bytes instanceof Uint8Array ? [bytes] : bytes).reduce((sum, { length }) => sum + length, 0);
}

interface Result {
  readonly path: string;
  readonly files: readonly string[];
  readonly bytes: number;
  readonly checkpoint: string;
  readonly round: number;
}

function describe(shell: Shell, format: Format, { path: out, files, bytes, checkpoint, round }: Result): string {
  const style = styleFor(shell.stdout, shell.env);
  const field = (label: string, text: string) => `  ${style('dim', label.padEnd(12))}${text}\n`;
  return [
    style('bold', `${shownPath(out)}\n`),
    field('size', `${(bytes / 1e6).toFixed(2)} MB${format.isFolder ? ` in ${files.length} files` : ''}`),
    field('from', `${shownPath(checkpoint)}, round ${round}`),
    ...format.next(shellQuote(shownPath(out)), shell).map((line, i) => field(i === 0 ? 'next' : '', line)),
  ].join('');
}

/** The built page of apps/player. @throws ExportError `not_built` */
function player(): Promise<Player> {
  return readPlayer(fileURLToPath(new URL('../../../player/dist', import.meta.url)), installationAt(import.meta.url).restore);
}
