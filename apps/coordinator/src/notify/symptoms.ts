/** What the run doctor looks at, from the record of a run. */
import type { Conductor } from '@troupe/conductor';
import { POINT_FIELDS, type PointColumns, type Symptoms } from '@troupe/run';
import type { Board } from '../record/board.js';

/** More than its rules look at. */
const LAST_ROUNDS = 50;

export function symptomsOf(
  conductor: Pick<Conductor, 'status'>,
  board: Pick<Board, 'history' | 'best' | 'checkpoint'>,
): Symptoms {
  const status = conductor.status();
  const { history, best, checkpoint } = board;
  const { lastRound, evaluations } = history;
  const recent = Math.max(1, lastRound - LAST_ROUNDS + 1);
  const range = (from: number, to: number): PointColumns => history.points(from, to, LAST_ROUNDS).points;
  // Overfitting is told by the smoothed loss at the best validation.
  const atBest =
    best === undefined || best.round >= recent ? undefined : range(best.round, Math.min(best.round + 10, recent - 1));
  return {
    view: { ...status, rounds: status.config.rounds, ...(best && { best }), ...(checkpoint && { checkpoint }) },
    points: joined(atBest, range(recent, lastRound)),
    evaluations,
  };
}

function joined(first: PointColumns | undefined, last: PointColumns): PointColumns {
  if (first === undefined) return last;
  return Object.fromEntries(POINT_FIELDS.map((field) => [field, [...first[field], ...last[field]]])) as unknown as PointColumns;
}
