/** The record of one run: its events go to the program that started it, to its history on disk and to its pages. */
import type { Preparation } from '../preparation.js';
import { ofOthers, withoutFloods, type Report } from '../reporter.js';
import type { Settings } from '../settings.js';
import { createBoard, type Board } from './board.js';
import { openHistory, type OpenedHistory } from './history-file.js';
import { createTensorBoard } from './tensorboard.js';

export interface RunRecord {
  readonly board: Board;
  /** For events of the run itself. */
  readonly report: Report;
  /** For failures of others' links and requests. Rate-limited, because others can cause any number of them. */
  readonly troubles: Report;
  /** Nothing is written before this: a run that cannot start leaves the record of an earlier one alone. */
  begin(): void;
}

/** @param tell receives every event too: the program that started the run */
export async function openRecord(
  settings: Pick<Settings, 'name' | 'tensorboard'>,
  prepared: Preparation,
  tell: Report,
): Promise<RunRecord> {
  const failed = (what: string) => (error: Error) =>
    tell({
      event: 'note',
      level: 'warn',
      text: `${what} cannot be written to disk: ${error.message}`,
      remedy: 'Training continues without it.',
    });
  const { training, folder, resumedFrom } = prepared;
  const resumedAt = resumedFrom === undefined ? undefined : training.round;
  const opened = await openHistory(folder.path, resumedAt, failed('the history of the run'));
  const tensorboard = settings.tensorboard
    ? createTensorBoard(folder.path, training.round + 1, () => Date.now() / 1000, failed('figures for TensorBoard'))
    : undefined;
  const board = createBoard({ ...boardOptions(prepared, opened), name: settings.name, tensorboard });
  const record: Report = (event) => {
    tell(event);
    try {
      board.note(event);
    } catch (error) {
      // A run does not fail because its record does.
      failed('the record of the run')(error as Error);
    }
  };
  const sinceStartMs = (): number => performance.now();
  return {
    board,
    report: withoutFloods(record, sinceStartMs),
    troubles: ofOthers(record, sinceStartMs),
    begin() {
      opened.file.begin();
      tensorboard?.begin();
    },
  };
}

function boardOptions({ training, resumedFrom }: Preparation, { history, file }: OpenedHistory) {
  return {
    runId: training.runId,
    history,
    file,
    best: training.history.best,
    checkpoint: resumedFrom === undefined ? undefined : { round: training.round, path: resumedFrom.path },
    now: () => Date.now(),
  };
}
