/** Columns of points turned into what a chart draws: x values and curves over them, null where a curve has none. */
import type { EvaluationPoint, PointColumns, RoundTiming } from '@troupe/run';
import { firstIndex } from '../state/columns.js';

export type Curve = readonly (number | null)[];

/** x values, and curves of the same length over them. */
export interface Plot {
  readonly x: readonly number[];
  readonly curves: readonly Curve[];
}

/** Curves with x values of their own, each ascending, over all x values that occur. */
export function align(parts: readonly { readonly x: readonly number[]; readonly curves: readonly Curve[] }[]): Plot {
  const [first] = parts;
  if (parts.every(({ x }) => x === first.x)) return { x: first.x, curves: parts.flatMap(({ curves }) => curves) };
  const x = [...new Set(parts.flatMap((part) => part.x))].sort((a, b) => a - b);
  const curves = parts.flatMap((part) => {
    const row = new Map(part.x.map((value, index) => [value, index]));
    return part.curves.map((curve) =>
      x.map((value) => {
        const index = row.get(value);
        return index === undefined ? null : (curve[index] ?? null);
      }),
    );
  });
  return { x, curves };
}

export function lossPlot(points: PointColumns, evaluations: readonly EvaluationPoint[]): Plot {
  const { round, trainLoss, smoothedLoss } = points;
  return align([
    { x: round, curves: [trainLoss, smoothedLoss] },
    { x: evaluations.map((entry) => entry.round), curves: [evaluations.map(({ validationLoss }) => validationLoss)] },
  ]);
}

/** The norm, the rounds that were clipped alone, and the limit as a line; none at 0, which means: never clipped. */
export function gradientPlot({ round, gradientNorm, clipScale }: PointColumns, clip: number): Plot {
  const clipped = gradientNorm.map((norm, i) => (clipScale[i] < 1 ? norm : null));
  return { x: round, curves: [gradientNorm, clipped, round.map(() => (clip > 0 ? clip : null))] };
}

/** The four parts of a round's time, in ms: compute, transfer, reduce, waiting. */
export function timePlot({ round, computeMs, transferMs, reduceMs, waitingMs }: PointColumns): Plot {
  return { x: round, curves: [computeMs, transferMs, reduceMs, waitingMs] };
}

/** The part of a round's time that went into computing, of 1; undefined: not known. */
export function computeFraction(timing: RoundTiming | undefined): number | undefined {
  if (!timing) return undefined;
  const { computeMs, transferMs, reduceMs, waitingMs } = timing;
  // Not of roundMs: a worker may begin before the round before it is over everywhere.
  const totalMs = computeMs + transferMs + reduceMs + waitingMs;
  return totalMs > 0 ? computeMs / totalMs : undefined;
}

/** Each curve on top of the one before. */
export function stacked(curves: readonly Curve[]): Curve[] {
  const sums: number[] = new Array<number>(curves[0]?.length ?? 0).fill(0);
  return curves.map((curve) => curve.map((value, i) => (sums[i] += value ?? 0)));
}

/** A logarithmic axis has no place for what is not above zero. */
export const positive = (curve: Curve): Curve => curve.map((value) => (value !== null && value > 0 ? value : null));

/** The value at `index` or the last one before it: what a curve with gaps is read as there. */
export function valueAt(curve: Curve, index: number): number | null {
  for (let i = Math.min(index, curve.length - 1); i >= 0; i--) if (curve[i] !== null) return curve[i];
  return null;
}

/** How many of the rounds shown were clipped, of 1. */
export function clippedFraction({ clipScale }: PointColumns): number {
  if (clipScale.length === 0) return 0;
  return clipScale.filter((scale) => scale < 1).length / clipScale.length;
}

/** Rows for the table that stands for a chart where it cannot be seen: `count` at most, evenly spaced, the last one among them. */
export function tableRows(length: number, count: number): number[] {
  if (length <= count) return Array.from({ length }, (_, i) => i);
  return Array.from({ length: count }, (_, i) => Math.round((i * (length - 1)) / (count - 1)));
}

/** Index of the x value nearest to `value`; x ascending and not empty. */
export function nearest(x: readonly number[], value: number): number {
  const next = Math.min(firstIndex(x, value), x.length - 1);
  return next > 0 && value - x[next - 1] <= x[next] - value ? next - 1 : next;
}

/** Of the values, the rarest high ones not counted: half as much again as nine in ten stay below, 0 without any. */
export function usualMost(curve: Curve): number {
  const values = curve.filter((value) => value !== null).sort((a, b) => a - b);
  return values.length === 0 ? 0 : values[Math.floor((values.length - 1) * 0.9)] * 1.5;
}

/** Where a logarithmic axis has lines: powers of ten, not more than ten of them, with 2 and 5 between where there are few. */
export function logMarks(low: number, high: number): number[] {
  const [first, last] = [Math.floor(Math.log10(low)), Math.ceil(Math.log10(high))];
  const stride = Math.ceil((last - first) / 10);
  const marks: number[] = [];
  for (let exponent = first; exponent <= last; exponent += stride || 1) {
    for (const factor of last - first <= 3 ? [1, 2, 5] : [1]) marks.push(Number(`${factor}e${exponent}`));
  }
  return marks.filter((mark) => mark >= low && mark <= high);
}
