/** How an admin takes a run back to a checkpoint: what is checked before, and what is left behind. */
import path from 'node:path';
import { CheckpointError, type Checkpoint } from '@troupe/checkpoint';
import {
  checkpointName,
  checkpointRounds,
  claimFolder,
  leaveBehindAfter,
  readCheckpoint,
  RUN_FILE,
} from '@troupe/checkpoint/node';
import { isAboveLimit, type BackOrder, type Conductor, type RunRewound } from '@troupe/conductor';
import { REPORT_FILE } from '@troupe/run';
import { BANS_FILE } from './bans.js';
import { HISTORY_FILE } from './record/history-file.js';
import { ApiFailure } from './server/http.js';
import { withoutPrivateData } from './web/redact.js';

export interface GoingBackOptions {
  readonly conductor: Pick<Conductor, 'status' | 'save' | 'goBack'>;
  /** Of the run. */
  readonly folder: string;
  /** The pages stay open when the run is over, so it can go on from there. */
  readonly serves: boolean;
}

export interface GoingBack {
  /** The run can still be taken back. */
  readonly isPossible: boolean;
  /** To which checkpoint it will go, which must not be removed. */
  readonly target: number | undefined;
  /** Aborts, with a RunRewound as its reason, when the run has to go back. */
  readonly ordered: AbortSignal;
  /**
   * Saves a run that is not over, and makes it go back.
   * @param wanted round of a checkpoint; undefined: the newest one whose loss was not above the limit
   * @throws ApiFailure 404, 409, 500
   */
  order(wanted: number | undefined, changes: Omit<BackOrder, 'round'>): Promise<RunRewound>;
}

export function createGoingBack({ conductor, folder, serves }: GoingBackOptions): GoingBack {
  const ordered = new AbortController();
  let target: number | undefined;
  const isOver = (): boolean => conductor.status().phase === 'over';
  const isPossible = (): boolean => serves || !isOver();
  const go = async (wanted: number | undefined, changes: Omit<BackOrder, 'round'>): Promise<RunRewound> => {
    const round = (target = await checkpointBefore(folder, conductor.status().round, wanted));
    if (isOver()) await checkFree(folder);
    else if ((await conductor.save()) === undefined) throw notSaved();
    if (!isPossible()) throw new ApiFailure(409, 'run_over', 'the run is over', 'Continue it with --resume.');
    const rewound = conductor.goBack({ round, ...changes });
    ordered.abort(rewound);
    return rewound;
  };
  return {
    ordered: ordered.signal,
    get isPossible() {
      return isPossible();
    },
    get target() {
      return target;
    },
    async order(wanted, changes) {
      if (target !== undefined) throw new ApiFailure(409, 'going_back', 'the run is going back already', 'Wait a few seconds.');
      try {
        return await go(wanted, changes);
      } catch (error) {
        target = undefined;
        throw error instanceof CheckpointError ? unusable(error) : error;
      }
    },
  };
}

/** @returns the round of a checkpoint that can be read. @throws ApiFailure 404, CheckpointError */
async function checkpointBefore(folder: string, now: number, wanted: number | undefined): Promise<number> {
  const rounds = (await checkpointRounds(folder)).filter((round) => round < now);
  const read = async (round: number): Promise<Checkpoint> =>
    (await readCheckpoint(path.join(folder, checkpointName(round)))).checkpoint;
  if (wanted === undefined) {
    for (const round of rounds) if (await isGood(read(round))) return round;
  } else if (rounds.includes(wanted)) return (await read(wanted)).round;
  const kept = rounds.length > 0 ? `Kept are those of rounds ${rounds.slice(0, 20).join(', ')}.` : 'None is kept.';
  const what =
    wanted === undefined ? 'no checkpoint from before the loss rose' : `no checkpoint of round ${wanted} to go back to`;
  throw new ApiFailure(404, 'no_checkpoint', `the run has ${what}`, `${kept} --keep says how many are kept.`);
}

/** One that cannot be read is none. */
async function isGood(reading: Promise<Checkpoint>): Promise<boolean> {
  try {
    return !isAboveLimit(await reading);
  } catch (error) {
    if (error instanceof CheckpointError) return false;
    throw error;
  }
}

/** The folder of a finished run may have been resumed elsewhere. @throws CheckpointError `in_use`, `cannot_write` */
async function checkFree(folder: string): Promise<void> {
  const claim = await claimFolder(folder, () => undefined);
  await claim.release();
}

function notSaved(): ApiFailure {
  const remedy = 'Nothing has changed. See the log for the reason. Free disk space, or make the folder writable, and try again.';
  return new ApiFailure(500, 'not_saved', 'the run could not be saved as it is now, so it does not go back', remedy);
}

function unusable({ code, message, remedy }: CheckpointError): ApiFailure {
  return new ApiFailure(409, code, withoutPrivateData(message), withoutPrivateData(remedy));
}

/** @returns the name of the folder with what the run leaves behind. @throws CheckpointError `not_found`, `cannot_write` */
export async function leaveBehind(folder: string, { since, left }: Pick<RunRewound, 'since' | 'left'>): Promise<string> {
  const name = `left-at-round-${String(left).padStart(8, '0')}`;
  return path.basename(await leaveBehindAfter(folder, since, name, [HISTORY_FILE, RUN_FILE, REPORT_FILE, BANS_FILE]));
}
