/** Reads and writes the checkpoints of a run. */
import { rename } from 'node:fs/promises';
import path from 'node:path';
import { CheckpointError, type Checkpoint } from '@troupe/checkpoint';
import {
  BEST,
  hasCheckpoint,
  latestCheckpoint,
  pruneCheckpoints,
  readCheckpoint,
  writeCheckpoint,
  type StoredCheckpoint,
} from '@troupe/checkpoint/node';
import { isAboveLimit, writeInTurn, type CheckpointWriter } from '@troupe/conductor';
import type { RunFolder } from './run-folder.js';

/** The checkpoint to continue from. The folder is claimed and holds one. @throws CheckpointError */
export async function checkpointToResume(folder: string): Promise<StoredCheckpoint> {
  const stored = await latestCheckpoint(folder);
  if (!stored)
    throw new CheckpointError(
      'not_found',
      `${folder} no longer holds a checkpoint`,
      'Restore the files, or start a new run without --resume.',
    );
  // Someone may repair them; under another name no newer checkpoint replaces them.
  for (const file of stored.damaged) await rename(file, `${file}.damaged`);
  return stored;
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

export interface CheckpointReport {
  readonly onSaved: (round: number, path: string, best: boolean) => void;
  readonly onFailed: (error: Error & { remedy?: string }) => void;
}

/** The checkpoint from which a run continues. */
export interface ResumedFrom {
  readonly path: string;
  /** Its training loss was above the limit. */
  readonly isAboveLimit: boolean;
}

/**
 * Files that may be removed: all but the newest, unless a training loss above the limit says that
 * the newest are no good ones. Then the last good one is spared, and as long as none is known nothing
 * is removed.
 */
function createPruning(folder: string, keep: number, resumed: ResumedFrom | undefined, needed: () => number | undefined) {
  let good = resumed === undefined || resumed.isAboveLimit ? undefined : { round: -1, path: resumed.path };
  return async (checkpoint: Checkpoint, written: string): Promise<void> => {
    const { round } = checkpoint;
    // A run that ends before its first round saves once more what it has resumed from.
    const isGood = !isAboveLimit(checkpoint) && written !== resumed?.path;
    if (isGood && round > (good?.round ?? -1)) good = { round, path: written };
    if (good !== undefined) await pruneCheckpoints(folder, keep, good.path, needed());
  };
}

/** @param needed the round to which the run may have to go back: the newest checkpoint that is not after it is kept */
export function createCheckpointWriter(
  runFolder: RunFolder,
  keep: number,
  resumed: ResumedFrom | undefined,
  { onSaved, onFailed }: CheckpointReport,
  needed: () => number | undefined = () => undefined,
): CheckpointWriter {
  const { path: folder } = runFolder;
  const prune = createPruning(folder, keep, resumed, needed);
  return writeInTurn({
    place: folder,
    newest: resumed?.path,
    holds: (round) => hasCheckpoint(folder, round).catch(() => false),
    onFailed(error: Error & { remedy?: string }) {
      const { message, remedy = `Make room in ${folder}, or make it writable; earlier files stay as they are.` } = error;
      onFailed(Object.assign(new Error(`training continues without this checkpoint: ${message}`), { remedy }));
    },
    async write(checkpoint, best) {
      await runFolder.check();
      const { path: written, bestPath = written } = await writeCheckpoint(folder, checkpoint, { best });
      onSaved(checkpoint.round, bestPath, best);
      // The checkpoint is written, whatever becomes of older ones.
      await prune(checkpoint, written).catch(({ message }: Error) => {
        onFailed(Object.assign(new Error(`old checkpoints are not removed: ${message}`), { remedy: `Make ${folder} writable.` }));
      });
      return bestPath;
    },
  });
}
