import type { PointColumns, PointField } from '@troupe/run';
import { NO_POINTS } from '../src/state/columns.js';

/** Points of rounds `from` to `to`; every column holds the round too, unless `change` gives another value. */
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
