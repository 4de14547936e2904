/** Keeps what is told again and again out of the log: with hundreds of workers, one kind of news would push out all others. */
import type { EventKind } from '@troupe/run';

/** Of a kind, in one stretch; the others are counted. */
const TOLD = 3;
const STRETCH_MS = 10_000;
/** More are told as they come: they differ too much to be repeats. */
const MAX_SHAPES = 500;

export interface Saying {
  readonly kind: EventKind;
  readonly level: 'info' | 'warn';
  readonly text: string;
}

export interface Repeats {
  /** False: there was enough of its like; it will be counted in what is due later. */
  admits(saying: Saying, nowMs: number): boolean;
  /** How many were left out in stretches that are over (`all`: in every one), in words; each is returned once. */
  due(nowMs: number, all?: boolean): Saying[];
}

interface Stretch {
  readonly sinceMs: number;
  lastMs: number;
  told: number;
  leftOut: number;
  last: Saying;
}

export function createRepeats(): Repeats {
  const stretches = new Map<string, Stretch>();
  return {
    admits(saying, nowMs) {
      const shape = shapeOf(saying);
      const stretch = stretches.get(shape);
      if (!stretch) {
        if (stretches.size < MAX_SHAPES)
          stretches.set(shape, { sinceMs: nowMs, lastMs: nowMs, told: 1, leftOut: 0, last: saying });
        return true;
      }
      stretch.last = saying;
      stretch.lastMs = nowMs;
      if (stretch.told < TOLD) return ++stretch.told > 0;
      stretch.leftOut++;
      return false;
    },
    due(nowMs, all = false) {
      const sayings: Saying[] = [];
      // In the order in which they began.
      for (const [shape, { sinceMs, lastMs, leftOut, last }] of stretches) {
        if (!all && nowMs - sinceMs < STRETCH_MS) break;
        stretches.delete(shape);
        const seconds = Math.max(1, Math.round((lastMs - sinceMs) / 1000));
        if (leftOut > 0) sayings.push({ ...last, text: `${leftOut} more like this within ${seconds} s, the last: ${last.text}` });
      }
      return sayings;
    },
  };
}

/** Two that differ in figures, and in words that hold one, as ids of workers do, are alike. */
function shapeOf({ kind, level, text }: Saying): string {
  return `${kind} ${level} ${text.replace(/\b\S*\d\S*/g, '#')}`;
}
