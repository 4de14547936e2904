/** Keeps repeated lines out of the log: with hundreds of workers, one kind of line would push out all others. */
import type { EventKind } from '@troupe/run';

/** Lines of one kind that are logged in one period; the others are counted. */
const LOGGED = 3;
const PERIOD_MS = 10_000;
/** Beyond this number, all lines are logged: they differ too much to be repeats. */
const MAX_SHAPES = 500;

export interface LogLine {
  readonly kind: EventKind;
  readonly level: 'info' | 'warn';
  readonly text: string;
}

export interface Repeats {
  /** @returns false for a repeat, which is counted in a line of `due` later */
  admits(line: LogLine, nowMs: number): boolean;
  /** Lines that say how many repeats were omitted in periods that are over (`all`: in every period). Each is returned once. */
  due(nowMs: number, all?: boolean): LogLine[];
}

interface Period {
  readonly sinceMs: number;
  lastMs: number;
  logged: number;
  omitted: number;
  last: LogLine;
}

export function createRepeats(): Repeats {
  const periods = new Map<string, Period>();
  return {
    admits(line, nowMs) {
      const shape = shapeOf(line);
      const period = periods.get(shape);
      if (!period) {
        if (periods.size < MAX_SHAPES) periods.set(shape, { sinceMs: nowMs, lastMs: nowMs, logged: 1, omitted: 0, last: line });
        return true;
      }
      period.last = line;
      period.lastMs = nowMs;
      if (period.logged < LOGGED) return ++period.logged > 0;
      period.omitted++;
      return false;
    },
    due(nowMs, all = false) {
      const lines: LogLine[] = [];
      // Periods are in the order of their beginnings.
      for (const [shape, { sinceMs, lastMs, omitted, last }] of periods) {
        if (!all && nowMs - sinceMs < PERIOD_MS) break;
        periods.delete(shape);
        const seconds = Math.max(1, Math.round((lastMs - sinceMs) / 1000));
        if (omitted > 0) lines.push({ ...last, text: `${omitted} more like this within ${seconds} s, the last: ${last.text}` });
      }
      return lines;
    },
  };
}

/** Lines are repeats if they differ only in numbers and in words that contain a digit, such as ids of workers. */
function shapeOf({ kind, level, text }: LogLine): string {
  return `${kind} ${level} ${text.replace(/\b\S*\d\S*/g, '#')}`;
}
