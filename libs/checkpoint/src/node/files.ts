/** Writes files completely or not at all, even if the process crashes or the power fails. */
import { constants } from 'node:fs';
import { copyFile, link, mkdir, open, readdir, rename, rm } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { CheckpointError } from '../errors.js';
import { isAlive } from './process-birth.js';

const TEMPORARY = /^\..*\.tmp-(\d+)$/;

/** A name beside the file that no other process uses. */
export function temporaryPath(folder: string, name: string): string {
  return join(folder, `.${name}.tmp-${process.pid}`);
}

/**
 * Writes bytes, in one block or in several that follow each other, to a temporary file, syncs it, renames it and syncs the folder.
 * @param mode its permissions; by default those that the process's umask leaves
 * @throws CheckpointError `cannot_write`, after removing the temporary file
 */
export async function writeWhole(
  folder: string,
  name: string,
  bytes: Uint8Array | readonly Uint8Array[],
  mode?: number,
): Promise<string> {
  const path = join(folder, name);
  const temporary = temporaryPath(folder, name);
  try {
    const file = await open(temporary, 'w', mode);
    try {
      // One that a crash has left behind may have other permissions.
      if (mode !== undefined) await file.chmod(mode);
      for (const block of bytes instanceof Uint8Array ? [bytes] : bytes) await file.writeFile(block);
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

/**
 * Gives a file a second name: a hard link, or a copy if the file system has no links. Replaces an
 * existing file of that name.
 */
export async function writeAlias(path: string, alias: string): Promise<string> {
  const folder = dirname(path);
  const target = join(folder, alias);
  const temporary = temporaryPath(folder, alias);
  try {
    await rm(temporary, { force: true });
    await link(path, temporary).catch(() => copyWhole(path, temporary));
    await rename(temporary, target);
    // If both names are links to the same file, rename() leaves both.
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
 * Creates the folder if it is missing, durably.
 * @throws CheckpointError `cannot_write`
 */
export async function prepareFolder(folder: string): Promise<void> {
  try {
    const first = await mkdir(folder, { recursive: true });
    if (first !== undefined) await syncParents(resolve(folder), resolve(first));
  } catch (cause) {
    throw cannotWrite(folder, cause);
  }
}

/**
 * Removes temporary files whose processes are gone. A file of a process that lives may be complete
 * in a moment, so it stays.
 * @throws CheckpointError `cannot_write`
 */
export async function sweepTemporary(folder: string): Promise<void> {
  try {
    for (const entry of await readdir(folder, { withFileTypes: true })) {
      const { name } = entry;
      const owner = Number(TEMPORARY.exec(name)?.[1] ?? NaN);
      if (!entry.isFile() || Number.isNaN(owner) || (owner !== process.pid && isAlive(owner))) continue;
      await rm(join(folder, name), { force: true });
    }
  } catch (cause) {
    throw cannotWrite(folder, cause);
  }
}

/** Syncs new folders, from `folder` up to `first`, the first one that was created. */
async function syncParents(folder: string, first: string): Promise<void> {
  for (let made = folder; made.startsWith(first); made = dirname(made)) await syncFolder(dirname(made));
}

/** Makes a rename durable. Windows cannot sync a folder. */
async function syncFolder(folder: string): Promise<void> {
  if (process.platform === 'win32') return;
  const handle = await open(folder, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Ignores errors: it is called while a more important error propagates. */
async function removeQuietly(path: string): Promise<void> {
  await rm(path, { force: true }).catch(() => undefined);
}

const REMEDIES: Readonly<Record<string, string>> = {
  ENOSPC: 'The disk is full: free some space, or choose another folder with --out.',
  EDQUOT: 'Your disk quota is used up: free some space, or choose another folder with --out.',
  EACCES: 'You may not write there: change the permissions, or choose another folder with --out.',
  EPERM: 'You may not write there: change the permissions, or choose another folder with --out.',
  EROFS: 'That file system is read-only: choose another folder with --out.',
  ENOTDIR: 'A part of that path is a file, not a folder: choose another folder with --out.',
  EEXIST: 'A file of that name is in the way: choose another folder with --out.',
};

export function cannotWrite(path: string, cause: unknown): CheckpointError {
  const { code = '', message } = cause as NodeJS.ErrnoException;
  const remedy = REMEDIES[code] ?? 'Fix what the system reports, or choose another folder with --out.';
  return new CheckpointError('cannot_write', `cannot write ${path}: ${message}`, remedy, { cause });
}
