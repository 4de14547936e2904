/** The folder of a run, which belongs to one coordinator at a time. */
import { mkdir, readdir, rmdir } from 'node:fs/promises';
import path from 'node:path';
import { CheckpointError } from '@troupe/checkpoint';
import { claimFolder, describeHolder, hasCheckpoint, type FolderClaim } from '@troupe/checkpoint/node';
import { SettingsError, type Settings } from './settings.js';

const RUNS = 'runs';
const RUN_NAME = /^\d{3,}$/;

export interface RunFolder {
  readonly path: string;
  /** What people should know of the claim. */
  readonly notes: readonly { readonly text: string; readonly remedy?: string }[];
  /** Call before each write. @throws CheckpointError `in_use`, `cannot_write` */
  check(): Promise<void>;
  /** Calls `then` once the folder is surely this run's: now, or when it can be written to. */
  whenHeld(then: () => void): void;
  /** Frees the folder. Removes it if it was made for this run and holds nothing. Never rejects. */
  release(): Promise<void>;
}

/** Hears that another process has taken over the folder of a run that still continues. */
export type OnLost = (error: CheckpointError) => void;

/** Claims --out, which must hold no checkpoint, or the next free runs/NNN. @throws SettingsError, CheckpointError `in_use` */
export async function claimNewRun({ out }: Pick<Settings, 'out'>, onLost: OnLost): Promise<RunFolder> {
  if (out === undefined) return claim(await makeNumberedRun(), onLost, true);
  const folder = await claim(out, onLost);
  if (!(await hasCheckpoint(out))) return folder;
  await folder.release();
  throw new SettingsError(
    `${out} holds the checkpoints of another run`,
    `Add --resume to continue that run, or choose another --out.`,
  );
}

/** Claims the folder of a run before anything in it is read. @throws SettingsError, CheckpointError `in_use` */
export async function claimToResume({ out }: Pick<Settings, 'out'>, onLost: OnLost): Promise<RunFolder> {
  return claim(await folderToResume(out), onLost);
}

/** --out, or the newest of runs/ that has a checkpoint. @throws SettingsError, CheckpointError */
export async function folderToResume(out: string | undefined): Promise<string> {
  const folders = out === undefined ? (await numberedRuns()).reverse().map((name) => path.join(RUNS, name)) : [out];
  for (const folder of folders) if (await hasCheckpoint(folder)) return folder;
  throw new SettingsError(
    `there is no checkpoint in ${out ?? `${RUNS}/`} to resume from`,
    'Start a new run without --resume, or name its folder with --out.',
  );
}

/** A folder that cannot be written to is claimed later, when it can: training continues meanwhile. */
async function claim(folder: string, onLost: OnLost, made = false): Promise<RunFolder> {
  let held: FolderClaim | undefined;
  const notes: { text: string; remedy?: string }[] = [];
  try {
    held = await claimFolder(folder, onLost);
    if (held.takenFrom) notes.push({ text: `${folder} was left behind by ${describeHolder(held.takenFrom)}, which has ended` });
  } catch (error) {
    if (!(error instanceof CheckpointError) || error.code !== 'cannot_write') throw error;
    const { message, remedy } = error;
    notes.push({ text: `training continues, but checkpoints cannot be written: ${message}`, remedy });
  }
  let waiting: (() => void)[] = [];
  /** One at a time: a second claim would find the first one. */
  let claiming: Promise<FolderClaim> | undefined;
  const claimLate = async (): Promise<void> => {
    claiming ??= claimFolder(folder, onLost);
    try {
      held = await claiming;
    } finally {
      claiming = undefined;
    }
    for (const then of waiting) then();
    waiting = [];
  };
  return {
    path: folder,
    notes,
    check: () => (held ? held.check() : claimLate()),
    whenHeld(then) {
      if (held) then();
      else waiting.push(then);
    },
    async release() {
      await claiming?.catch(() => undefined);
      await held?.release();
      // It holds something as soon as the run has begun.
      if (made) await rmdir(folder).catch(() => undefined);
    },
  };
}

async function numberedRuns(): Promise<string[]> {
  const names = await readdir(RUNS).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return [];
    throw unusable(RUNS, error);
  });
  return names.filter((name) => RUN_NAME.test(name)).sort((a, b) => Number(a) - Number(b));
}

/** Two runs that start together get folders of their own. @throws SettingsError */
async function makeNumberedRun(): Promise<string> {
  await mkdir(RUNS, { recursive: true }).catch((error: Error) => Promise.reject(unusable(RUNS, error)));
  for (let number = Number((await numberedRuns()).at(-1) ?? 0) + 1; ; number++) {
    const folder = path.join(RUNS, String(number).padStart(3, '0'));
    try {
      await mkdir(folder);
      return folder;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw unusable(folder, error as Error);
    }
  }
}

function unusable(folder: string, { message }: Error): SettingsError {
  return new SettingsError(
    `the folder ${path.resolve(folder)} cannot be used: ${message}`,
    'Choose a folder that you may write to with --out.',
  );
}
