/** The file beside the checkpoints of a run that holds its flags: flag ("--corpus") -> value, "true" for a switch. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { CheckpointError } from '../errors.js';
import { writeWhole } from './files.js';

export const RUN_FILE = 'run.json';
const FORMAT = 1;

/**
 * The flags of the run in a folder; none in the folder of an older release.
 * @throws CheckpointError `cannot_read` if the file cannot be read, or is not such a file
 */
export async function readRunFile(folder: string): Promise<ReadonlyMap<string, string>> {
  const file = join(folder, RUN_FILE);
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return new Map();
    throw unreadable(file, (cause as Error).message, cause);
  }
  return flagsIn(text, file);
}

/** @throws CheckpointError `cannot_write` */
export async function writeRunFile(folder: string, flags: ReadonlyMap<string, string>): Promise<void> {
  const whole = { format: FORMAT, flags: Object.fromEntries(flags) };
  await writeWhole(folder, RUN_FILE, Buffer.from(`${JSON.stringify(whole, undefined, 2)}\n`));
}

function flagsIn(text: string, file: string): Map<string, string> {
  let value: { readonly format?: unknown; readonly flags?: unknown } | null;
  try {
    value = JSON.parse(text) as typeof value;
  } catch (cause) {
    throw unreadable(file, (cause as Error).message, cause);
  }
  if (value?.format !== FORMAT || typeof value.flags !== 'object' || value.flags === null)
    throw unreadable(file, `it is not in format ${FORMAT}`);
  const flags = new Map<string, string>();
  for (const [flag, stored] of Object.entries(value.flags)) {
    if (typeof stored !== 'string') throw unreadable(file, `${flag} is not a text`);
    flags.set(flag, stored);
  }
  return flags;
}

function unreadable(file: string, problem: string, cause?: unknown): CheckpointError {
  return new CheckpointError(
    'cannot_read',
    `the flags of the run in ${file} cannot be read: ${problem}`,
    'Correct the file, or move it away: the run then has only the flags that you give.',
    { cause },
  );
}
