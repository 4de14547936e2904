import { readFile } from 'node:fs/promises';
import { join } from 'node:path';

/** The file beside the checkpoints of a run that holds its flags. */
export const RUN_FILE = 'run.json';
export const RUN_FILE_FORMAT = 1;

/**
 * The flags of the run in a folder, as far as they can be read, for commands that only look at the run:
 * flag ("--corpus") -> value. Empty for a run of an older release.
 */
export async function runFlagsIn(folder: string): Promise<ReadonlyMap<string, string>> {
  try {
    const { flags } = JSON.parse(await readFile(join(folder, RUN_FILE), 'utf8')) as { readonly flags: Record<string, unknown> };
    const texts = Object.entries(flags).filter((entry): entry is [string, string] => typeof entry[1] === 'string');
    return new Map(texts);
  } catch {
    // A resume reports why the file is unreadable. To look at a run, its checkpoint is enough.
    return new Map();
  }
}
