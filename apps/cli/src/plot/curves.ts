/** Reads the loss curves of a run from its folder. */
import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { createRunHistory, decodeEntry, type EvaluationPoint, type RunHistory } from '@troupe/run';
import { CliError } from '../errors.js';

/** As the coordinator names it. */
const HISTORY_FILE = 'history.jsonl';
const MAX_POINTS = 1_000;

export interface Curves {
  /** The folder of the run. */
  readonly folder: string;
  readonly model: string;
  readonly rounds: readonly number[];
  /** Smoothed training loss after each of `rounds`, nats/char. */
  readonly losses: readonly number[];
  readonly evaluations: readonly EvaluationPoint[];
}

/** @throws CliError `no_history` */
export async function readCurves(folder: string): Promise<Curves> {
  const history = await readHistory(folder);
  const { round, smoothedLoss } = history.points(0, history.lastRound, MAX_POINTS).points;
  return { folder, model: history.run!.model, rounds: round, losses: smoothedLoss, evaluations: history.evaluations };
}

/** @throws CliError `no_history` */
export async function readHistory(folder: string): Promise<RunHistory> {
  const history = await historyIn(path.join(folder, HISTORY_FILE));
  if (history.run) return history;
  throw noHistory(folder, 'it holds no run');
}

async function historyIn(file: string): Promise<RunHistory> {
  await stat(file).catch(({ message }: Error) => Promise.reject(noHistory(path.dirname(file), message)));
  const history = createRunHistory();
  for await (const line of createInterface({ input: createReadStream(file, 'utf8'), crlfDelay: Infinity })) {
    const entry = decodeEntry(line);
    if (entry) history.add(entry);
  }
  return history;
}

function noHistory(folder: string, problem: string): CliError {
  return new CliError(
    'no_history',
    `The curves of ${folder} cannot be read: ${problem}.`,
    'Give the folder of a run, such as runs/001.',
  );
}
