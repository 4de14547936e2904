/** How far the run is, as a worker sees it: a line now and then, not one a round. */
import type { WorkerLog } from '@troupe/worker';

type Computed = Extract<WorkerLog, { kind: 'computed' | 'progress' }>;

/** Between two lines. */
export const QUIET_MS = 10_000;

/**
 * @param nowMs monotonic
 * @returns a function that gives the line to print for a computed lease, or for a part of one, if one is due
 */
export function createProgress(nowMs: () => number): (entry: Computed) => string | undefined {
  let last: { readonly round: number; readonly atMs: number } | undefined;
  let lastStepMs = nowMs();
  return (entry) => {
    const atMs = nowMs();
    if (entry.kind === 'progress') {
      if (atMs - Math.max(lastStepMs, last?.atMs ?? 0) < QUIET_MS) return undefined;
      lastStepMs = atMs;
      return `round ${whole(entry.round + 1)}: step ${whole(entry.steps)} of ${whole(entry.of)}`;
    }
    if (last && atMs - last.atMs < QUIET_MS) return undefined;
    const { round, rounds, trainLoss, credit } = entry;
    const roundMs = last && round > last.round ? (atMs - last.atMs) / (round - last.round) : undefined;
    last = { round, atMs };
    const loss = trainLoss === undefined ? '' : `, loss ${trainLoss.toFixed(2)} nats/char`;
    const left = roundMs === undefined ? '' : `, about ${duration((rounds - round - 1) * roundMs)} left`;
    return `round ${whole(round + 1)} of ${whole(rounds)}${loss}${left}; ${whole(credit)} characters computed here`;
  };
}

function whole(value: number): string {
  return value.toLocaleString('en');
}

function duration(ms: number): string {
  const seconds = Math.max(1, Math.round(ms / 1000));
  if (seconds < 120) return `${seconds} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 120 ? `${minutes} min` : `${Math.round(minutes / 60)} h`;
}
