/** What changes in the log of the run. */
import type { EventKind, LoggedEvent } from '@troupe/run';
import type { DashboardState } from '../state/state.js';

/** The page shows at most this many entries. */
export const MAX_ENTRIES = 200;

export interface LogUpdate {
  /** False: `entries` go on top of those that are shown. */
  readonly replaces: boolean;
  /** Newest first. */
  readonly entries: readonly LoggedEvent[];
}

/**
 * What to draw after `before` was drawn.
 * @param before undefined: nothing is drawn yet, or all of it has to be drawn again
 * @param kind undefined: events of all kinds
 */
export function logUpdate(state: DashboardState, before: DashboardState | undefined, kind: EventKind | undefined): LogUpdate {
  const shown = state.events.filter((event) => kind === undefined || event.kind === kind).slice(-MAX_ENTRIES);
  if (!before || !isContinued(state, before)) return { replaces: true, entries: shown.reverse() };
  const last = lastId(before);
  return { replaces: false, entries: shown.filter(({ id }) => id > last).reverse() };
}

/** Whether events were only added at the end. */
function isContinued(state: DashboardState, before: DashboardState): boolean {
  if (state.view?.runId !== before.view?.runId) return false;
  // Fewer than before: the run went back to a checkpoint.
  if (lastId(state) < lastId(before)) return false;
  // Older ones have arrived.
  return firstId(state) >= firstId(before);
}

const firstId = ({ events }: DashboardState): number => events[0]?.id ?? 0;
const lastId = ({ events }: DashboardState): number => events.at(-1)?.id ?? -1;
