import type { PointColumns, PointField } from '@troupe/run';
import { NO_POINTS } from '../src/state/columns.js';

/** Rounds from..to; every other column tells the round as well, but for `change`. */
export function points(
  from: number,
  to: number,
  change: Partial<Record<PointField, (round: number) => number>> = {},
): PointColumns {
  const round = Array.from({ length: to - from + 1 }, (_, i) => from + i);
  return Object.fromEntries(
    Object.keys(NO_POINTS).map((field) => [field, round.map(change[field as PointField] ?? ((r) => r))]),
  ) as unknown as PointColumns;
}
