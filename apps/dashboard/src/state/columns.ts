/** Joins, cuts and thins the points of the charts, which are stored in columns. */
import type { PointColumns, PointField } from '@troupe/run';

/** With more points than this, the page thins them to `THINNED_POINTS`. */
const MAX_POINTS = 6_000;
const THINNED_POINTS = 3_000;

export const NO_POINTS: PointColumns = {
  round: [],
  trainLoss: [],
  smoothedLoss: [],
  gradientNorm: [],
  clipScale: [],
  learningRate: [],
  roundMs: [],
  computeMs: [],
  transferMs: [],
  reduceMs: [],
  waitingMs: [],
  charsPerSecond: [],
  workers: [],
};

const FIELDS = Object.keys(NO_POINTS) as PointField[];

export const lastRound = (points: PointColumns): number => points.round.at(-1) ?? 0;

/** `points`, followed by those of `more` that belong to later rounds. */
export function append(points: PointColumns, more: PointColumns): PointColumns {
  const last = points.round.at(-1) ?? -1;
  const first = more.round.findIndex((round) => round > last);
  if (first < 0) return points;
  const joined = map((field) => [...points[field], ...more[field].slice(first)]);
  return joined.round.length > MAX_POINTS ? thin(joined, THINNED_POINTS) : joined;
}

/** The points of rounds `from` to `to`, inclusive. */
export function between(points: PointColumns, from: number, to: number): PointColumns {
  const start = firstIndex(points.round, from);
  const end = firstIndex(points.round, to + 1);
  return start === 0 && end === points.round.length ? points : map((field) => points[field].slice(start, end));
}

/**
 * Thins to about `count` points, evenly over the rounds. Of each stretch of rounds, the lowest and the highest loss, the highest norm and
 * the longest round stay, so that spikes stay visible.
 */
export function thin(points: PointColumns, count: number): PointColumns {
  const { round } = points;
  if (round.length <= count) return points;
  const stretches = Math.max(1, Math.floor(count / 4));
  const width = (round[round.length - 1] - round[0] + 1) / stretches;
  const rows: number[] = [];
  for (let start = 0; start < round.length;) {
    const until = round[0] + (Math.floor((round[start] - round[0]) / width) + 1) * width;
    let end = start + 1;
    while (end < round.length && round[end] < until) end++;
    rows.push(...landmarks(points, start, end));
    start = end;
  }
  return map((field) => rows.map((index) => points[field][index]));
}

/** The rows of [start, end) to keep, ascending. */
function landmarks(points: PointColumns, start: number, end: number): number[] {
  const { trainLoss, gradientNorm, roundMs } = points;
  let [low, high, steep, long] = [start, start, start, start];
  for (let i = start + 1; i < end; i++) {
    if (trainLoss[i] < trainLoss[low]) low = i;
    if (trainLoss[i] > trainLoss[high]) high = i;
    if (gradientNorm[i] > gradientNorm[steep]) steep = i;
    if (roundMs[i] > roundMs[long]) long = i;
  }
  return [...new Set([low, high, steep, long])].sort((a, b) => a - b);
}

/** Index of the first entry of an ascending column that is at least `value`. */
export function firstIndex(column: readonly number[], value: number): number {
  let [low, high] = [0, column.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (column[middle] < value) low = middle + 1;
    else high = middle;
  }
  return low;
}

function map(column: (field: PointField) => readonly number[]): PointColumns {
  return Object.fromEntries(FIELDS.map((field) => [field, column(field)])) as Record<PointField, readonly number[]>;
}
