/** Where a run's checkpoints are and what it goes on from. */
import { mkdir, readdir, rename } from 'node:fs/promises';
import path from 'node:path';
import { CheckpointError, type Checkpoint } from '@troupe/checkpoint';
import {
  BEST,
  latestCheckpoint,
  pruneCheckpoints,
  readCheckpoint,
  writeCheckpoint,
  type StoredCheckpoint,
} from '@troupe/checkpoint/node';
import { SettingsError, type Settings } from './settings.js';

const RUNS = 'runs';
const RUN_NAME = /^\d{3,}$/;

async function numberedRuns(): Promise<string[]> {
  const names = await readdir(RUNS).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return [];
    throw error;
  });
  return names.filter((name) => RUN_NAME.test(name)).sort((a, b) => Number(a) - Number(b));
}

/** The folder of a new run: --out, which must hold no checkpoint, or the next free runs/NNN. @throws SettingsError */
export async function folderForNewRun(settings: Settings): Promise<string> {
  if (settings.out === undefined) {
    return claimNumberedRun();
  }
  if ((await latestCheckpoint(settings.out)) === undefined) return settings.out;
  throw new SettingsError(
    `${settings.out} holds the checkpoints of another run`,
    `Add --resume to go on with that run, or choose another --out.`,
  );
}

/** Made here and now, so that two runs started together do not share one. */
async function claimNumberedRun(): Promise<string> {
  await mkdir(RUNS, { recursive: true });
  for (let number = Number((await numberedRuns()).at(-1) ?? 0) + 1; ; number++) {
    const folder = path.join(RUNS, String(number).padStart(3, '0'));
    try {
      await mkdir(folder);
      return folder;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    }
  }
}

/** The best checkpoint of a run, if it has one that can be read. */
export async function bestCheckpoint(folder: string): Promise<StoredCheckpoint | undefined> {
  try {
    return await readCheckpoint(path.join(folder, BEST));
  } catch (error) {
    if (error instanceof CheckpointError) return undefined;
    throw error;
  }
}

/** The run to go on with: --out, or the newest of runs/ that has a checkpoint. @throws SettingsError, CheckpointError */
export async function runToResume(settings: Settings): Promise<{ readonly folder: string; readonly stored: StoredCheckpoint }> {
  const folders =
    settings.out === undefined ? (await numberedRuns()).reverse().map((name) => path.join(RUNS, name)) : [settings.out];
  for (const folder of folders) {
    const stored = await latestCheckpoint(folder);
    if (!stored) continue;
    // Kept for whoever can mend them, under a name that no newer checkpoint competes with.
    for (const file of stored.damaged) await rename(file, `${file}.damaged`);
    return { folder, stored };
  }
  const where = settings.out ?? `${RUNS}/`;
  throw new SettingsError(
    `there is no checkpoint in ${where} to resume from`,
    'Start a new run without --resume, or name its folder with --out.',
  );
}

/** Writes one at a time, keeps the newest few, and never stops the run: a failure is reported and the last good one stays. */
export interface CheckpointWriter {
  /** Resolves to the path, or undefined when it could not be written. Never rejects. */
  save(checkpoint: Checkpoint, best: boolean): Promise<string | undefined>;
  /** Saves when the disk has time: a newer one takes the place of one that still waits. */
  offer(checkpoint: Checkpoint): void;
  /** When everything asked for is written. */
  settled(): Promise<void>;
}

export interface CheckpointReport {
  readonly onSaved: (round: number, path: string, best: boolean) => void;
  readonly onFailed: (error: Error & { remedy?: string }) => void;
}

export function createCheckpointWriter(folder: string, keep: number, { onSaved, onFailed }: CheckpointReport): CheckpointWriter {
  let queue: Promise<unknown> = mkdir(folder, { recursive: true }).catch(onFailed);
  let waiting: Checkpoint | undefined;

  const write = async (checkpoint: Checkpoint, best: boolean): Promise<string | undefined> => {
    try {
      const { path: written, bestPath } = await writeCheckpoint(folder, checkpoint, { best });
      await pruneCheckpoints(folder, keep);
      onSaved(checkpoint.round, bestPath ?? written, best);
      return bestPath ?? written;
    } catch (error) {
      onFailed(error as Error);
      return undefined;
    }
  };
  const enqueue = <T>(job: () => Promise<T>): Promise<T> => {
    const done = queue.then(job);
    queue = done;
    return done;
  };
  return {
    save: (checkpoint, best) => enqueue(() => write(checkpoint, best)),
    offer(checkpoint) {
      const alone = waiting === undefined;
      waiting = checkpoint;
      if (!alone) return;
      void enqueue(async () => {
        const newest = waiting!;
        waiting = undefined;
        await write(newest, false);
      });
    },
    async settled() {
      await queue;
    },
  };
}
