/**
 * A process's exclusive claim on the folder of a run: the file run.lock, which names its holder.
 * Two coordinators in one folder would overwrite and remove each other's checkpoints.
 */
import { randomBytes } from 'node:crypto';
import { link, readFile, rename, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { CheckpointError } from '../errors.js';
import { cannotWrite, prepareFolder, sweepTemporary, temporaryPath } from './files.js';
import { birthOf } from './process-birth.js';

export const LOCK = 'run.lock';
/** The holder touches its lock this often, so that other machines see that it lives. */
const HEARTBEAT_MS = 10_000;
/** A lock of another machine counts as abandoned after this time without a heartbeat. */
const SILENT_MS = 60_000;
/** Of two processes that take over the same lock at the same time, the later one wins after this time. */
const SETTLE_MS = 100;
const ATTEMPTS = 5;

/** The process that holds a lock. */
export interface Holder {
  /** Differs for each claim. */
  readonly id: string;
  readonly pid: number;
  readonly host: string;
  /** See birthOf. */
  readonly birth: string;
  /** ISO 8601. */
  readonly since: string;
}

/** A lock file as found. Its holder is undefined if the file cannot be understood. */
export interface FoundLock {
  readonly holder: Holder | undefined;
  /** Since the last heartbeat, by the clock of the file system. */
  readonly ageMs: number;
}

export interface FolderClaim {
  /** The holder of an abandoned lock that this claim replaced. */
  readonly takenFrom: Holder | undefined;
  /** @throws CheckpointError `in_use` if another process has taken over the folder */
  check(): Promise<void>;
  /** Frees the folder, unless another process has taken it over. Never rejects. */
  release(): Promise<void>;
}

/**
 * Whether the holder of a lock no longer exists. A process of this machine is recognised by its
 * time of birth, because a process number is soon used again.
 * @param birth the birth of the process that has the holder's number here; undefined: there is none
 */
export function isAbandoned({ holder, ageMs }: FoundLock, host: string, birth: string | undefined): boolean {
  if (holder === undefined || holder.host !== host) return ageMs > SILENT_MS;
  return birth !== holder.birth;
}

/**
 * Claims a folder for this process and creates it if it is missing. Temporary files that a killed
 * holder left are removed.
 * @param onLost another process has taken over the folder, although this one still lives (it was
 *   suspended for long, on a file system that several machines share)
 * @throws CheckpointError `in_use`, `cannot_write`
 */
export async function claimFolder(folder: string, onLost: (error: CheckpointError) => void): Promise<FolderClaim> {
  const self: Holder = {
    id: randomBytes(8).toString('hex'),
    pid: process.pid,
    host: hostname(),
    birth: (await birthOf(process.pid)) ?? '',
    since: new Date().toISOString(),
  };
  await prepareFolder(folder);
  const takenFrom = await acquire(folder, self);
  await sweepTemporary(folder);
  return heldClaim(folder, self, takenFrom, onLost);
}

async function acquire(folder: string, self: Holder): Promise<Holder | undefined> {
  const temporary = temporaryPath(folder, `${LOCK}-${self.id}`);
  try {
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      await writeFile(temporary, `${JSON.stringify(self)}\n`);
      const found = await findLock(folder, temporary);
      if (found === undefined) {
        if (await createLock(temporary, join(folder, LOCK))) return undefined;
        continue;
      }
      const birth = found.holder && (await birthOf(found.holder.pid));
      if (!isAbandoned(found, self.host, birth)) throw inUse(folder, found.holder, self.host);
      await rename(temporary, join(folder, LOCK));
      await sleep(SETTLE_MS);
      const winner = await readHolder(folder);
      if (winner?.id === self.id) return found.holder;
    }
    throw inUse(folder, await readHolder(folder), self.host);
  } catch (error) {
    throw error instanceof CheckpointError ? error : cannotWrite(join(folder, LOCK), error);
  } finally {
    await rm(temporary, { force: true }).catch(() => undefined);
  }
}

/** @returns false if the lock exists by now */
async function createLock(temporary: string, lock: string): Promise<boolean> {
  try {
    // A link appears with its content; a file that is created and then written is empty in between.
    await link(temporary, lock).catch(async (error: NodeJS.ErrnoException) => {
      if (error.code === 'EEXIST') throw error;
      await writeFile(lock, await readFile(temporary), { flag: 'wx' });
    });
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
}

/** @param justWritten a file whose age is 0: the clocks of two machines may differ */
async function findLock(folder: string, justWritten: string): Promise<FoundLock | undefined> {
  try {
    const holder = await readHolder(folder);
    const [now, then] = [await stat(justWritten), await stat(join(folder, LOCK))];
    return { holder, ageMs: now.mtimeMs - then.mtimeMs };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

/** Undefined if the file cannot be understood. @throws what the file system says */
async function readHolder(folder: string): Promise<Holder | undefined> {
  const text = await readFile(join(folder, LOCK), 'utf8');
  try {
    const value = JSON.parse(text) as Partial<Holder> | null;
    return typeof value?.id === 'string' && Number.isSafeInteger(value.pid) ? asHolder(value) : undefined;
  } catch {
    return undefined;
  }
}

function asHolder({ id, pid, host, birth, since }: Partial<Holder>): Holder {
  return { id: String(id), pid: Number(pid), host: String(host), birth: String(birth), since: String(since) };
}

function heldClaim(
  folder: string,
  self: Holder,
  takenFrom: Holder | undefined,
  onLost: (error: CheckpointError) => void,
): FolderClaim {
  const lock = join(folder, LOCK);
  const check = async (): Promise<void> => {
    const holder = await readHolder(folder).catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return undefined;
      throw cannotWrite(lock, error);
    });
    if (holder !== undefined && holder.id !== self.id) throw inUse(folder, holder, self.host);
    // Somebody removed the file: the claim is renewed as long as nobody else has made one.
    if (holder === undefined) await acquire(folder, self);
  };
  const beat = async (): Promise<void> => {
    try {
      await check();
      await utimes(lock, new Date(), new Date());
    } catch (error) {
      // What else goes wrong here is reported by whoever writes a checkpoint next.
      if (error instanceof CheckpointError && error.code === 'in_use') onLost(error);
    }
  };
  const timer = setInterval(() => void beat(), HEARTBEAT_MS);
  timer.unref();
  return {
    takenFrom,
    check,
    async release() {
      clearInterval(timer);
      const holder = await readHolder(folder).catch(() => undefined);
      if (holder?.id === self.id) await rm(lock, { force: true }).catch(() => undefined);
    },
  };
}

/** "process 4711 on gpu3, since 2026-01-31T12:00:00.000Z" */
export function describeHolder({ pid, host, since }: Holder): string {
  return `process ${pid} on ${host}, since ${since}`;
}

function inUse(folder: string, holder: Holder | undefined, host: string): CheckpointError {
  const who = holder === undefined ? 'a process that does not say which' : describeHolder(holder);
  const elsewhere = `If that machine is gone, the folder is free ${SILENT_MS / 1000} s after its last sign of life.`;
  const stop = holder?.host === host ? `Stop it first: kill ${holder.pid} lets it save and end.` : `Stop it first. ${elsewhere}`;
  return new CheckpointError(
    'in_use',
    `${folder} is in use by another run (${who})`,
    `${stop} To train beside it, choose another folder with --out.`,
  );
}
