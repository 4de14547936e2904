import { readdir, stat } from 'node:fs/promises';
import path from 'node:path';
import { readCheckpoint, type StoredCheckpoint } from '@troupe/checkpoint/node';
import { CliError, complaintOf } from './errors.js';
import type { Shell } from './shell.js';
import { styleFor } from './terminal/style.js';

/** Parent folder of runs without `--out`. */
const RUNS = 'runs';

/**
 * The checkpoint at `given`: a file, or the best in the folder of a run; by default the best of the
 * newest run. Prints a note for each damaged file that it skips.
 * @throws CheckpointError, CliError `no_checkpoint`
 */
export async function openCheckpoint(shell: Shell, given: string | undefined): Promise<StoredCheckpoint> {
  const stored = await readCheckpoint(given ?? (await newestRun(shell.program)), { prefer: 'best' });
  const style = styleFor(shell.stderr, shell.env);
  for (const warning of stored.warnings) shell.stderr.write(`${style('yellow', 'note:')} ${complaintOf(warning).message}\n`);
  return stored;
}

async function newestRun(program: string): Promise<string> {
  const names = await readdir(RUNS).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return [];
    throw error;
  });
  let newest: { folder: string; changedMs: number } | undefined;
  for (const name of names) {
    const folder = path.join(RUNS, name);
    const found = await stat(folder);
    if (found.isDirectory() && found.mtimeMs > (newest?.changedMs ?? -Infinity)) newest = { folder, changedMs: found.mtimeMs };
  }
  if (newest !== undefined) return newest.folder;
  throw new CliError(
    'no_checkpoint',
    `There is no run in ${path.resolve(RUNS)}.`,
    `Train one first (${program} train), or give its path with --checkpoint.`,
  );
}
