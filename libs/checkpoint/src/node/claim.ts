/**
 * A process's exclusive claim on the folder of a run: the file run.lock, which names its holder.
 * Two coordinators in one folder would overwrite and remove each other's checkpoints.
 */
import { randomBytes } from 'node:crypto';
import { link, open, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { CheckpointError } from '../errors.js';
import { cannotWrite, prepareFolder, sweepTemporary, temporaryPath } from './files.js';
import { birthOf, GONE, numberSpace, UNKNOWN, type Birth } from './process-birth.js';

export const LOCK = 'run.lock';
/** The holder writes its lock again this often, which shows that it lives. */
const HEARTBEAT_MS = 10_000;
/** A lock whose holder cannot be looked up counts as abandoned after this time without a heartbeat. */
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
  /** See numberSpace. */
  readonly space: string;
  readonly birth: Birth;
  /** ISO 8601. */
  readonly since: string;
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
 * Whether the holder of a lock lives, by the process that has its number here. Undefined: it cannot
 * be told, and heartbeats decide.
 * @param holder undefined if the lock cannot be understood
 * @param space of this process
 */
export function isLiving(holder: Holder | undefined, space: string, birth: Birth): boolean | undefined {
  if (holder === undefined || holder.space !== space) return undefined;
  if (birth === GONE) return false;
  return birth === UNKNOWN || holder.birth === UNKNOWN ? undefined : birth === holder.birth;
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
    space: await numberSpace(),
    birth: await birthOf(process.pid),
    since: new Date().toISOString(),
  };
  await prepareFolder(folder);
  const takenFrom = await acquire(folder, self);
  try {
    await sweepTemporary(folder);
  } catch (error) {
    await release(folder, self);
    throw error;
  }
  return new HeldClaim(folder, self, takenFrom, onLost);
}

/** @returns the holder that was replaced */
async function acquire(folder: string, self: Holder): Promise<Holder | undefined> {
  const temporary = temporaryPath(folder, `${LOCK}-${self.id}`);
  try {
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const found = await findLock(folder);
      if (found?.holder?.id === self.id) return undefined;
      // Looked at before anything is written: a full disk must not hide who holds the folder.
      if (found && (await isHeld(found, self, temporary))) throw inUse(folder, found.holder, self);
      await writeFile(temporary, contentOf(self));
      if (found === undefined) {
        if (await createLock(temporary, join(folder, LOCK))) return undefined;
        continue;
      }
      await rename(temporary, join(folder, LOCK));
      await sleep(SETTLE_MS);
      if ((await findLock(folder))?.holder?.id === self.id) return found.holder;
    }
    throw inUse(folder, (await findLock(folder))?.holder, self);
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

/** A lock as found. Its holder is undefined if the file cannot be understood. */
interface FoundLock {
  readonly holder: Holder | undefined;
  readonly beatMs: number;
}

/** @throws what the file system says, except that there is no lock */
async function findLock(folder: string): Promise<FoundLock | undefined> {
  const lock = join(folder, LOCK);
  try {
    return { holder: holderIn(await readFile(lock, 'utf8')), beatMs: (await stat(lock)).mtimeMs };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

async function isHeld({ holder, beatMs }: FoundLock, self: Holder, temporary: string): Promise<boolean> {
  const living = isLiving(holder, self.space, holder ? await birthOf(holder.pid) : GONE);
  return living ?? (await fileTimeMs(temporary)) - beatMs <= SILENT_MS;
}

/** Now, by the clock of the file system: the clocks of two machines may differ. */
async function fileTimeMs(temporary: string): Promise<number> {
  try {
    await writeFile(temporary, '');
    return (await stat(temporary)).mtimeMs;
  } catch {
    // The disk is full: the own clock must do, to see who holds the folder.
    return Date.now();
  }
}

function contentOf(holder: Holder): string {
  return `${JSON.stringify(holder)}\n`;
}

function holderIn(text: string): Holder | undefined {
  try {
    const value = JSON.parse(text) as Partial<Holder> | null;
    if (typeof value?.id !== 'string' || !Number.isSafeInteger(value.pid)) return undefined;
    const { id, pid, host, space, birth, since } = value;
    return { id, pid: Number(pid), host: String(host), space: String(space), birth: String(birth), since: String(since) };
  } catch {
    return undefined;
  }
}

class HeldClaim implements FolderClaim {
  readonly takenFrom: Holder | undefined;
  readonly #folder: string;
  readonly #self: Holder;
  readonly #timer: NodeJS.Timeout;
  /** Checks run one at a time: two that renew the same lock would see each other. */
  #last: Promise<unknown> = Promise.resolve();

  constructor(folder: string, self: Holder, takenFrom: Holder | undefined, onLost: (error: CheckpointError) => void) {
    this.takenFrom = takenFrom;
    this.#folder = folder;
    this.#self = self;
    this.#timer = setInterval(() => void this.#beat(onLost), HEARTBEAT_MS);
    this.#timer.unref();
  }

  check(): Promise<void> {
    const checked = this.#last.then(() => this.#checkNow());
    this.#last = checked.catch(() => undefined);
    return checked;
  }

  async release(): Promise<void> {
    clearInterval(this.#timer);
    await this.#last;
    await release(this.#folder, this.#self);
  }

  async #checkNow(): Promise<void> {
    const found = await findLock(this.#folder).catch((error: unknown) =>
      Promise.reject(cannotWrite(join(this.#folder, LOCK), error)),
    );
    // Somebody removed the file: the claim is renewed as long as nobody else has made one.
    if (found === undefined) await acquire(this.#folder, this.#self);
    else if (found.holder?.id !== this.#self.id) throw inUse(this.#folder, found.holder, this.#self);
  }

  /** Writes the same bytes again, so that the file system stamps them by its own clock. */
  async #beat(onLost: (error: CheckpointError) => void): Promise<void> {
    try {
      await this.check();
      const file = await open(join(this.#folder, LOCK), 'r+');
      try {
        await file.write(contentOf(this.#self), 0);
      } finally {
        await file.close();
      }
    } catch (error) {
      // What else goes wrong here is reported by whatever writes next.
      if (error instanceof CheckpointError && error.code === 'in_use') onLost(error);
    }
  }
}

/** Never rejects. */
async function release(folder: string, self: Holder): Promise<void> {
  const found = await findLock(folder).catch(() => undefined);
  if (found?.holder?.id === self.id) await rm(join(folder, LOCK), { force: true }).catch(() => undefined);
}

/** "process 4711 on gpu3, since 2026-01-31T12:00:00.000Z" */
export function describeHolder({ pid, host, since }: Holder): string {
  return `process ${pid} on ${host}, since ${since}`;
}

function inUse(folder: string, holder: Holder | undefined, self: Holder): CheckpointError {
  const who = holder === undefined ? 'a process that does not say which' : describeHolder(holder);
  return new CheckpointError(
    'in_use',
    `${folder} is in use by another run (${who})`,
    `${howToStop(holder, self)} To train beside it, choose another folder with --out.`,
  );
}

/** A command only where the number surely means that process, and where a signal lets it save. */
function howToStop(holder: Holder | undefined, self: Holder): string {
  const isSure = holder !== undefined && holder.space === self.space && holder.birth !== UNKNOWN;
  if (isSure && process.platform !== 'win32') return `Stop it first: kill ${holder.pid} lets it save and end.`;
  return `Stop it first. If it is gone, the folder is free ${SILENT_MS / 1000} s after its last sign of life.`;
}
