/** The order of the table of workers. */
import type { WorkerState, WorkerView } from '@troupe/run';

export const SORT_KEYS = ['name', 'state', 'speed', 'share', 'latency', 'rounds', 'seen', 'engine', 'device', 'kind'] as const;
export type SortKey = (typeof SORT_KEYS)[number];

export interface Order {
  readonly by: SortKey;
  readonly ascending: boolean;
}

/** Workers that need attention come first. */
const URGENCY: Readonly<Record<WorkerState, number>> = {
  late: 0,
  computing: 1,
  ready: 2,
  syncing: 3,
  joining: 4,
  paused: 5,
  parked: 6,
  left: 7,
};

function value(worker: WorkerView, by: SortKey): number | string {
  switch (by) {
    case 'name':
      return worker.name;
    case 'kind':
      return worker.kind;
    case 'engine':
      return worker.engine;
    case 'device':
      return worker.device ?? '';
    case 'speed':
      return worker.charsPerSecond;
    case 'share':
      return worker.streams;
    case 'latency':
      return worker.latencyMs ?? Infinity;
    case 'rounds':
      return worker.rounds;
    case 'seen':
      return worker.lastSeenMs;
    case 'state':
      return URGENCY[worker.state];
    default:
      return by satisfies never;
  }
}

/** Workers that left come last in every order; equal ones are ordered by id, so that rows do not swap places. */
export function ordered(workers: readonly WorkerView[], { by, ascending }: Order): WorkerView[] {
  const sign = ascending ? 1 : -1;
  return [...workers].sort(
    (a, b) =>
      Number(a.state === 'left') - Number(b.state === 'left') ||
      sign * compare(value(a, by), value(b, by)) ||
      compare(a.id, b.id),
  );
}

const collator = new Intl.Collator(undefined, { numeric: true });

function compare(a: number | string, b: number | string): number {
  if (typeof a === 'string' || typeof b === 'string') return collator.compare(String(a), String(b));
  return a === b ? 0 : a < b ? -1 : 1;
}

/** Whether the first click on a column sorts it ascending: texts begin at A, most numbers with the largest. */
export const firstDirection = (by: SortKey): boolean =>
  ['name', 'kind', 'engine', 'device', 'state', 'latency', 'seen'].includes(by);
