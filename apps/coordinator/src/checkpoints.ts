/** Where a run's checkpoints are and what it goes on from. */
import { mkdir, readdir, rename, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { CheckpointError } from '@troupe/checkpoint';
import {
  BEST,
  latestCheckpoint,
  prepareFolder,
  pruneCheckpoints,
  readCheckpoint,
  writeCheckpoint,
  type StoredCheckpoint,
} from '@troupe/checkpoint/node';
import { writeInTurn, type CheckpointWriter } from '@troupe/conductor';
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

export interface CheckpointReport {
  readonly onSaved: (round: number, path: string, best: boolean) => void;
  readonly onFailed: (error: Error & { remedy?: string }) => void;
}

export function createCheckpointWriter(folder: string, keep: number, { onSaved, onFailed }: CheckpointReport): CheckpointWriter {
  const failed = (what: string, error: Error & { remedy?: string }): void => {
    const { message, remedy = `Make room in ${folder}, or make it writable; the last good checkpoint stays.` } = error;
    onFailed(Object.assign(new Error(`${what}: ${message}`), { remedy }));
  };
  return writeInTurn({
    place: folder,
    // Said before anything is trained, not when the first checkpoint is due.
    ready: tryFolder(folder).catch((error: Error) => failed('training goes on, but checkpoints cannot be written', error)),
    onFailed: (error) => failed('training goes on without this checkpoint', error),
    async write(checkpoint, best) {
      const { path: written, bestPath = written } = await writeCheckpoint(folder, checkpoint, { best });
      await pruneCheckpoints(folder, keep);
      onSaved(checkpoint.round, bestPath, best);
      return bestPath;
    },
  });
}

async function tryFolder(folder: string): Promise<void> {
  await prepareFolder(folder);
  const probe = path.join(folder, '.probe');
  await writeFile(probe, 'can be written');
  await rm(probe);
}
