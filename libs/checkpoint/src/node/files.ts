/** Files that are there whole or not at all, also after a crash or a power cut. */
import { constants } from 'node:fs';
import { copyFile, link, mkdir, open, readdir, rename, rm } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { CheckpointError } from '../errors.js';

const TEMPORARY = /^\..*\.tmp-\d+$/;

function temporaryPath(folder: string, name: string): string {
  return join(folder, `.${name}.tmp-${process.pid}`);
}

/** Temporary file, fsync, rename, fsync of the folder. @throws CheckpointError `cannot_write`; the temporary file is gone then */
export async function writeWhole(folder: string, name: string, bytes: Uint8Array): Promise<string> {
  const path = join(folder, name);
  const temporary = temporaryPath(folder, name);
  try {
    const file = await open(temporary, 'w');
    try {
      await file.writeFile(bytes);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
    await syncFolder(folder);
  } catch (cause) {
    await removeQuietly(temporary);
    throw cannotWrite(path, cause);
  }
  return path;
}

/** A second name for a file: a hard link, or a copy where the file system has none. Replaces what has that name. */
export async function writeAlias(path: string, alias: string): Promise<string> {
  const folder = dirname(path);
  const target = join(folder, alias);
  const temporary = temporaryPath(folder, alias);
  try {
    await rm(temporary, { force: true });
    await link(path, temporary).catch(() => copyWhole(path, temporary));
    await rename(temporary, target);
    // Renaming one link of a file onto another link of the same file leaves both.
    await rm(temporary, { force: true });
    await syncFolder(folder);
  } catch (cause) {
    await removeQuietly(temporary);
    throw cannotWrite(target, cause);
  }
  return target;
}

async function copyWhole(from: string, to: string): Promise<void> {
  await copyFile(from, to, constants.COPYFILE_EXCL);
  const file = await open(to, 'r+');
  try {
    await file.sync();
  } finally {
    await file.close();
  }
}

/**
 * Makes the folder, and removes temporary files that a killed process left in it; for the one process that writes there, at its start.
 * @throws CheckpointError `cannot_write`
 */
export async function prepareFolder(folder: string): Promise<void> {
  try {
    const first = await mkdir(folder, { recursive: true });
    if (first !== undefined) await syncParents(resolve(folder), resolve(first));
    for (const name of await readdir(folder)) if (TEMPORARY.test(name)) await rm(join(folder, name), { force: true });
  } catch (cause) {
    throw cannotWrite(folder, cause);
  }
}

/** Makes new folders last, from `folder` up to the `first` that was made. */
async function syncParents(folder: string, first: string): Promise<void> {
  for (let made = folder; made.startsWith(first); made = dirname(made)) await syncFolder(dirname(made));
}

/** Makes a rename last. Windows has no such thing. */
async function syncFolder(folder: string): Promise<void> {
  if (process.platform === 'win32') return;
  const handle = await open(folder, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** For use while another error is on its way up, which says more than this one would. */
async function removeQuietly(path: string): Promise<void> {
  await rm(path, { force: true }).catch(() => undefined);
}

const REMEDIES: Readonly<Record<string, string>> = {
  ENOSPC: 'The disk is full: make room, or choose another folder with --out.',
  EDQUOT: 'Your disk quota is used up: make room, or choose another folder with --out.',
  EACCES: 'You may not write there: change its permissions, or choose another folder with --out.',
  EPERM: 'You may not write there: change its permissions, or choose another folder with --out.',
  EROFS: 'That file system is read-only: choose another folder with --out.',
  ENOTDIR: 'A part of that path is a file, not a folder: choose another folder with --out.',
  EEXIST: 'A file of that name is in the way: choose another folder with --out.',
};

export function cannotWrite(path: string, cause: unknown): CheckpointError {
  const { code = '', message } = cause as NodeJS.ErrnoException;
  const remedy = REMEDIES[code] ?? 'Choose another folder with --out, or look into what the system says.';
  return new CheckpointError('cannot_write', `cannot write ${path}: ${message}`, remedy, { cause });
}
