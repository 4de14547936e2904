/** Whether other programs use the processor. */

/** Processor time until now, ms of all cores together. */
export interface ProcessorTimes {
  /** Of all programs. */
  readonly busyMs: number;
  /** Busy or not. */
  readonly totalMs: number;
  /** Of this process and its threads. */
  readonly ownMs: number;
}

/** The part of the processor that other programs used between two looks, 0 to 1. */
export function othersShare(before: ProcessorTimes, now: ProcessorTimes): number {
  const total = now.totalMs - before.totalMs;
  // Some systems hide these times.
  if (total <= 0) return 0;
  const others = now.busyMs - before.busyMs - (now.ownMs - before.ownMs);
  return Math.min(1, Math.max(0, others / total));
}

/** More than this is work of other programs; less than IDLE_SHARE is what a machine does by itself. */
const BUSY_SHARE = 0.2;
const IDLE_SHARE = 0.1;
/** How long it must last. A short burst pauses nothing, and a short break ends no pause: joining again costs a snapshot. */
const BUSY_MS = 10_000;
export const IDLE_MS = 60_000;

export interface Idleness {
  readonly isBusy: boolean;
  /** Since when the processor looks different from `isBusy`; undefined: it does not. */
  readonly changingSinceMs: number | undefined;
}

/** The next state after other programs used `share` of the processor until `nowMs`. The first look decides at once. */
export function observeOthers(before: Idleness | undefined, share: number, nowMs: number): Idleness {
  if (before === undefined) return { isBusy: share >= BUSY_SHARE, changingSinceMs: undefined };
  const { isBusy, changingSinceMs = nowMs } = before;
  const isChanging = isBusy ? share < IDLE_SHARE : share >= BUSY_SHARE;
  if (!isChanging) return { isBusy, changingSinceMs: undefined };
  const isOver = nowMs - changingSinceMs >= (isBusy ? IDLE_MS : BUSY_MS);
  return isOver ? { isBusy: !isBusy, changingSinceMs: undefined } : { isBusy, changingSinceMs };
}
