import { readdir, stat } from 'node:fs/promises';
import path from 'node:path';
import { hasCheckpoint, readCheckpoint, type StoredCheckpoint } from '@troupe/checkpoint/node';
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

/** The folder in runs/ that changed last, of those that hold a checkpoint. @throws CliError `no_checkpoint` */
async function newestRun(program: string): Promise<string> {
  const found: { folder: string; changedMs: number }[] = [];
  for (const name of await namesIn(RUNS)) {
    const folder = path.join(RUNS, name);
    // What is removed meanwhile is no run any more.
    const entry = await stat(folder).catch(() => undefined);
    if (entry?.isDirectory()) found.push({ folder, changedMs: entry.mtimeMs });
  }
  found.sort((a, b) => b.changedMs - a.changedMs);
  for (const { folder } of found) if (await hasCheckpoint(folder)) return folder;
  throw new CliError(
    'no_checkpoint',
    `There is no run with a checkpoint in ${path.resolve(RUNS)}.`,
    `Train one first (${program} train), or give its path with --checkpoint.`,
  );
}

async function namesIn(folder: string): Promise<string[]> {
  try {
    return await readdir(folder);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return [];
    const remedy = 'Allow reading it, or give the path of a checkpoint with --checkpoint.';
    throw new CliError('no_checkpoint', `The folder ${path.resolve(folder)} cannot be read: ${message}`, remedy, {
      cause: error,
    });
  }
}
