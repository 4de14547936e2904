import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { copyFile, mkdir, readFile, readdir, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { shellQuote } from '@troupe/config';
import { asModel, type Checkpoint } from '../checkpoint.js';
import { checkpointBlocks, decodeCheckpoint } from '../codec.js';
import { CheckpointError, type CheckpointErrorCode } from '../errors.js';
import { requireUsable } from '../usable.js';
import { cannotWrite, prepareFolder, writeAlias, writeWhole } from './files.js';

export const BEST = 'best.safetensors';
const ROUND = /^round-(\d{8,})\.safetensors$/;

/** Errors that concern one file only: an older file may still be good. */
const DAMAGE: readonly CheckpointErrorCode[] = ['truncated', 'corrupt', 'not_a_checkpoint', 'mismatch', 'unusable'];

export interface StoredCheckpoint {
  readonly path: string;
  readonly checkpoint: Checkpoint;
  /** Why newer or better files could not be used. */
  readonly warnings: readonly CheckpointError[];
  /** The paths of those files, in the same order. */
  readonly damaged: readonly string[];
}

export interface WrittenCheckpoint {
  readonly path: string;
  readonly bytes: number;
  /** Path of the best checkpoint, if this is the best one. */
  readonly bestPath?: string;
}

/** SHA-256 of bytes, hex, for checkpointBlocks, encodeCheckpoint and decodeCheckpoint. */
export function sha256(bytes: Uint8Array | readonly Uint8Array[]): string {
  const hash = createHash('sha256');
  for (const block of bytes instanceof Uint8Array ? [bytes] : bytes) hash.update(block);
  return hash.digest('hex');
}

/** A checkpoint in a folder, without its content. */
export interface CheckpointFacts {
  /** Without folders. */
  readonly name: string;
  readonly bytes: number;
  /** Of the file, hex. */
  readonly sha256: string;
}

/** The best checkpoint in a folder, if there is one, and the newest. @throws CheckpointError `cannot_read` */
export async function checkpointFacts(folder: string): Promise<CheckpointFacts[]> {
  const names = await checkpointNames(folder, 'latest');
  const newest = names.find((name) => name !== BEST);
  const chosen = [...names.filter((name) => name === BEST), ...(newest === undefined ? [] : [newest])];
  return Promise.all(chosen.map((name) => factsOf(join(folder, name), name)));
}

async function factsOf(path: string, name: string): Promise<CheckpointFacts> {
  const hash = createHash('sha256');
  let bytes = 0;
  try {
    for await (const chunk of createReadStream(path) as AsyncIterable<Buffer>) {
      hash.update(chunk);
      bytes += chunk.length;
    }
  } catch (cause) {
    throw cannotRead(path, cause);
  }
  return { name, bytes, sha256: hash.digest('hex') };
}

/** round-00001200.safetensors */
export function checkpointName(round: number): string {
  return `round-${String(round).padStart(8, '0')}.safetensors`;
}

/**
 * Writes `round-<round>.safetensors` into `folder`, which is created if missing. With `best` the
 * file gets the second name `best.safetensors`; if the model is the average of the parameters
 * (`averaged`), that is a file of its own, and the other has the parameters that the run trains. A crash at any moment leaves the earlier files
 * complete. The checkpoint's arrays must not change until it is written. Calls for the same folder
 * must not overlap.
 * @throws CheckpointError `cannot_write`, `mismatch`
 */
export async function writeCheckpoint(
  folder: string,
  checkpoint: Checkpoint,
  options: { readonly best?: boolean } = {},
): Promise<WrittenCheckpoint> {
  const blocks = checkpointBlocks(asModel(checkpoint, 'trained'), sha256);
  const bytes = blocks.reduce((sum, { length }) => sum + length, 0);
  await prepareFolder(folder);
  const path = await writeWhole(folder, checkpointName(checkpoint.round), blocks);
  if (!options.best) return { path, bytes };
  const bestPath = checkpoint.averaged
    ? await writeWhole(folder, BEST, checkpointBlocks(checkpoint, sha256))
    : await writeAlias(path, BEST);
  return { path, bytes, bestPath };
}

/**
 * The checkpoint in a file, or the latest in a folder. With `prefer: 'best'`: the best in the
 * folder, or else the latest.
 * @throws CheckpointError `not_found`, `cannot_read`, and what decodeCheckpoint throws, with the
 * path in the message
 */
export async function readCheckpoint(
  path: string,
  options: { readonly prefer?: 'latest' | 'best' } = {},
): Promise<StoredCheckpoint> {
  const found = await stat(path).catch((cause: unknown) => Promise.reject(cannotRead(path, cause)));
  if (!found.isDirectory()) return { path, checkpoint: await readFileAt(path), warnings: [], damaged: [] };
  const stored = await firstReadable(path, await checkpointNames(path, options.prefer ?? 'latest'));
  if (stored !== undefined) return stored;
  throw new CheckpointError(
    'not_found',
    `there is no checkpoint in ${path}`,
    'Give the folder of a run (--out of troupe train), or a file in it.',
  );
}

/**
 * The newest readable checkpoint in a folder, from which its run continues, or undefined if there is
 * none or no folder. A file that is damaged, or holds numbers from which no run can continue, is skipped with a warning.
 * @throws CheckpointError the error of the newest file if none can be read; `unsupported_version`
 * and `cannot_read` immediately, because continuing from an older file would lose the newer one's
 * work; `weights_only`
 */
export async function latestCheckpoint(folder: string): Promise<StoredCheckpoint | undefined> {
  const stored = await firstReadable(folder, await checkpointNames(folder, 'latest'), requireUsable);
  if (stored?.checkpoint.weightsOnly !== true) return stored;
  throw new CheckpointError(
    'weights_only',
    `${stored.path} holds the weights of a model and nothing else, so its run cannot continue`,
    `Start a new run from these weights: leave --resume out and add --init ${shellQuote(stored.path)}.`,
  );
}

/**
 * The file that `readCheckpoint` with `prefer: 'best'` looks at first, and a text that differs when its content does. Undefined if
 * there is none.
 * @throws CheckpointError `cannot_read`
 */
export async function bestFile(folder: string): Promise<{ readonly path: string; readonly stamp: string } | undefined> {
  for (const name of await checkpointNames(folder, 'best')) {
    const path = join(folder, name);
    // One that has been pruned meanwhile has a newer one.
    const found = await stat(path).catch(() => undefined);
    if (found !== undefined) return { path, stamp: [name, found.ino, found.size, found.mtimeMs].join(' ') };
  }
  return undefined;
}

/**
 * Whether a folder holds the file of a checkpoint, readable or not; with `upTo`, that of a round not after it, besides the best one.
 * @throws CheckpointError `cannot_read`
 */
export async function hasCheckpoint(folder: string, upTo?: number): Promise<boolean> {
  const names = await checkpointNames(folder, 'latest');
  return upTo === undefined ? names.length > 0 : names.some((name) => roundOf(name) <= upTo);
}

/**
 * Removes all checkpoints except the newest `keep` (at least 1), the best, the file `spared`, and the newest that is not after round
 * `before`. Returns the removed paths.
 */
export async function pruneCheckpoints(folder: string, keep: number, spared?: string, before?: number): Promise<string[]> {
  const rounds = (await checkpointNames(folder, 'latest')).filter((name) => name !== BEST);
  const old = rounds.slice(Math.max(1, keep)).map((name) => join(folder, name));
  const safe = before === undefined ? undefined : rounds.find((name) => roundOf(name) <= before);
  const paths = old.filter((path) => path !== spared && (safe === undefined || path !== join(folder, safe)));
  for (const path of paths) await rm(path, { force: true }).catch((cause: unknown) => Promise.reject(cannotWrite(path, cause)));
  return paths;
}

/**
 * Renames the checkpoints of rounds after `round`, the best one too, to NAME.tainted, so that nobody continues from them.
 * @returns the new paths. @throws CheckpointError `not_found` if no checkpoint is left: then none is renamed; `cannot_write`
 */
export async function setAsideAfter(folder: string, round: number): Promise<string[]> {
  return moveAll(folder, await namesAfter(folder, round), (name) => join(folder, `${name}.tainted`));
}

/**
 * Moves the checkpoints of rounds after `round`, the best one too, to a folder of their own in `folder`, from which their run can be
 * continued. It gets copies of other files as well, where they exist.
 * @param name of the new folder; if there is one, a number is added
 * @returns the new folder. @throws CheckpointError `not_found` if no checkpoint is left: then none is moved; `cannot_write`
 */
export async function leaveBehindAfter(folder: string, round: number, name: string, copied: readonly string[]): Promise<string> {
  const later = await namesAfter(folder, round);
  const left = await makeFolder(folder, name);
  for (const file of copied) {
    await copyFile(join(folder, file), join(left, file)).catch((cause: NodeJS.ErrnoException) => {
      if (cause.code !== 'ENOENT') throw cannotWrite(join(left, file), cause);
    });
  }
  await moveAll(folder, later, (file) => join(left, file));
  return left;
}

/** The rounds of the checkpoints in a folder, readable or not, from the newest on. @throws CheckpointError `cannot_read` */
export async function checkpointRounds(folder: string): Promise<number[]> {
  return (await checkpointNames(folder, 'latest')).filter((name) => name !== BEST).map(roundOf);
}

/** @throws CheckpointError `not_found` if there is no other checkpoint */
async function namesAfter(folder: string, round: number): Promise<string[]> {
  const names = await checkpointNames(folder, 'latest');
  const isLater = async (name: string): Promise<boolean> =>
    (name === BEST ? (await readCheckpoint(join(folder, name))).checkpoint.round : roundOf(name)) > round;
  const later: string[] = [];
  for (const name of names) if (await isLater(name)) later.push(name);
  if (names.some((name) => name !== BEST && !later.includes(name))) return later;
  throw new CheckpointError('not_found', `${folder} holds no checkpoint of round ${round} or before`, 'Start the run again.');
}

async function moveAll(folder: string, names: readonly string[], to: (name: string) => string): Promise<string[]> {
  return Promise.all(
    names.map(async (name) => {
      const target = to(name);
      await rename(join(folder, name), target).catch((cause: unknown) => Promise.reject(cannotWrite(target, cause)));
      return target;
    }),
  );
}

/** Makes a folder that does not exist: `name`, or `name`-2 ... */
async function makeFolder(parent: string, name: string): Promise<string> {
  for (let number = 1; ; number++) {
    const made = join(parent, number === 1 ? name : `${name}-${number}`);
    try {
      await mkdir(made);
      return made;
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code !== 'EEXIST') throw cannotWrite(made, cause);
    }
  }
}

/** NaN for the best one. */
function roundOf(name: string): number {
  return Number(ROUND.exec(name)?.[1]);
}

/** File names: rounds from newest to oldest, and the best one before or after them. */
async function checkpointNames(folder: string, prefer: 'latest' | 'best'): Promise<string[]> {
  const names = await readdir(folder).catch((cause: NodeJS.ErrnoException) => {
    // A path below a file counts as missing here. Writing there reports the error.
    if (cause.code === 'ENOENT' || cause.code === 'ENOTDIR') return [];
    throw cannotRead(folder, cause);
  });
  const rounds = names.filter((name) => ROUND.test(name)).sort((a, b) => roundOf(b) - roundOf(a));
  const best = names.filter((name) => name === BEST);
  return prefer === 'best' ? [...best, ...rounds] : [...rounds, ...best];
}

/** @param check throws a CheckpointError if the checkpoint cannot be used */
async function firstReadable(
  folder: string,
  names: readonly string[],
  check: (checkpoint: Checkpoint) => void = () => undefined,
): Promise<StoredCheckpoint | undefined> {
  const warnings: CheckpointError[] = [];
  const damaged: string[] = [];
  for (const name of names) {
    const path = join(folder, name);
    try {
      return { path, checkpoint: await readFileAt(path, check), warnings, damaged };
    } catch (error) {
      if (!(error instanceof CheckpointError) || !DAMAGE.includes(error.code)) throw error;
      warnings.push(error);
      damaged.push(path);
    }
  }
  if (warnings.length > 0) throw warnings[0];
  return undefined;
}

async function readFileAt(path: string, check?: (checkpoint: Checkpoint) => void): Promise<Checkpoint> {
  const bytes = await readFile(path).catch((cause: unknown) => Promise.reject(cannotRead(path, cause)));
  try {
    const checkpoint = decodeCheckpoint(bytes, sha256);
    check?.(checkpoint);
    return checkpoint;
  } catch (error) {
    if (!(error instanceof CheckpointError)) throw error;
    throw new CheckpointError(error.code, `${path}: ${error.message}`, error.remedy, { cause: error });
  }
}

function cannotRead(path: string, cause: unknown): CheckpointError {
  const { code, message } = cause as NodeJS.ErrnoException;
  if (code === 'ENOENT' || code === 'ENOTDIR') {
    const remedy = 'Give the folder of a run (--out of troupe train), or a file in it.';
    return new CheckpointError('not_found', `there is no ${path}`, remedy, { cause });
  }
  return new CheckpointError('cannot_read', `cannot read ${path}: ${message}`, 'Check its permissions and the disk.', { cause });
}
