/** Turns columns of points into what a chart draws: x values and curves over them, null where a curve has no value. */
import { isLocal, type TrainingConfig } from '@troupe/protocol';
import { roundSpeeds, type EvaluationPoint, type PointColumns, type RoundTiming } from '@troupe/run';
import { firstIndex } from '../state/columns.js';

export type Curve = readonly (number | null)[];

/** x values, and curves of the same length over them. */
export interface Plot {
  readonly x: readonly number[];
  readonly curves: readonly Curve[];
}

/** Puts curves with different x values, each ascending, over all x values that occur. */
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

/** The line of chance is shown if a loss in view reaches this fraction of it: far above the losses it would only compress them. */
const NEAR_CHANCE = 0.8;

/**
 * The loss of a model that gives every character the same probability: ln V, in nats per character.
 * @param vocabulary V; undefined: unknown
 * @returns undefined if no training loss between the rounds `from` and `to` comes near it
 */
export function chanceInView(
  { round, trainLoss }: PointColumns,
  from: number,
  to: number,
  vocabulary: number | undefined,
): number | undefined {
  if (vocabulary === undefined) return undefined;
  const chance = Math.log(vocabulary);
  const isNear = trainLoss.some((loss, i) => round[i] >= from && round[i] <= to && loss >= NEAR_CHANCE * chance);
  return isNear ? chance : undefined;
}

/** Training loss, smoothed loss, validation loss, chance as a line, and validation loss with averaged parameters. @param chance undefined: no line */
export function lossPlot(points: PointColumns, evaluations: readonly EvaluationPoint[], chance?: number): Plot {
  const { round, trainLoss, smoothedLoss } = points;
  const validated = evaluations.map((entry) => entry.round);
  return align([
    { x: round, curves: [trainLoss, smoothedLoss] },
    { x: validated, curves: [evaluations.map(({ validationLoss }) => validationLoss)] },
    { x: round, curves: [round.map(() => chance ?? null)] },
    { x: validated, curves: [evaluations.map(({ averageLoss }) => averageLoss ?? null)] },
  ]);
}

/**
 * What the norm of a round is of: the mean gradient, or in a local run the mean difference of the parameters, which no round clips. `clip`:
 * the limit of that norm; 0: none.
 */
export function stepNorms(config: Pick<TrainingConfig, 'clip' | 'localSteps'> | undefined): {
  readonly ofDifference: boolean;
  readonly clip: number;
} {
  const ofDifference = config !== undefined && isLocal(config);
  return { ofDifference, clip: ofDifference ? 0 : (config?.clip ?? 0) };
}

/** The norm, the norm of the clipped rounds only, and the clip norm as a line. @param clip the clip norm; 0: no clipping */
export function gradientPlot({ round, gradientNorm, clipScale }: PointColumns, clip: number): Plot {
  const clipped = gradientNorm.map((norm, i) => (clipScale[i] < 1 ? norm : null));
  return { x: round, curves: [gradientNorm, clipped, round.map(() => (clip > 0 ? clip : null))] };
}

/** The four parts of a round's time, in ms: compute, transfer, reduce, waiting. */
export function timePlot({ round, computeMs, transferMs, reduceMs, waitingMs }: PointColumns): Plot {
  return { x: round, curves: [computeMs, transferMs, reduceMs, waitingMs] };
}

/** What all workers together compute. The coordinator's own figure is an average over seconds, pauses included. */
export function speedPlot(
  points: Pick<PointColumns, 'round' | 'roundMs'>,
  config: Pick<TrainingConfig, 'streams' | 'window'> | undefined,
): Plot {
  const { round } = points;
  return { x: round, curves: [config ? roundSpeeds(points, config) : round.map(() => null)] };
}

/** The fraction of a round's time that went into computing; undefined: unknown. */
export function computeFraction(timing: RoundTiming | undefined): number | undefined {
  if (!timing) return undefined;
  const { computeMs, transferMs, reduceMs, waitingMs } = timing;
  // Not of roundMs: a worker may begin before the previous round is over everywhere.
  const totalMs = computeMs + transferMs + reduceMs + waitingMs;
  return totalMs > 0 ? computeMs / totalMs : undefined;
}

/** Stacks each curve on top of the previous one. */
export function stacked(curves: readonly Curve[]): Curve[] {
  const sums: number[] = new Array<number>(curves[0]?.length ?? 0).fill(0);
  return curves.map((curve) => curve.map((value, i) => (sums[i] += value ?? 0)));
}

/** A logarithmic axis can show only values above zero. */
export const positive = (curve: Curve): Curve => curve.map((value) => (value !== null && value > 0 ? value : null));

/** The value at `index`, or in a gap the last one before it. */
export function valueAt(curve: Curve, index: number): number | null {
  for (let i = Math.min(index, curve.length - 1); i >= 0; i--) if (curve[i] !== null) return curve[i];
  return null;
}

/** The fraction of these rounds that were clipped. */
export function clippedFraction({ clipScale }: PointColumns): number {
  if (clipScale.length === 0) return 0;
  return clipScale.filter((scale) => scale < 1).length / clipScale.length;
}

/** Indices of the rows of a chart's table: at most `count`, evenly spaced, with the first and the last. */
export function tableRows(length: number, count: number): number[] {
  if (length <= count) return Array.from({ length }, (_, i) => i);
  return Array.from({ length: count }, (_, i) => Math.round((i * (length - 1)) / (count - 1)));
}

/** Index of the x value nearest to `value`; x ascending and not empty. */
export function nearest(x: readonly number[], value: number): number {
  const next = Math.min(firstIndex(x, value), x.length - 1);
  return next > 0 && value - x[next - 1] <= x[next] - value ? next - 1 : next;
}

/** An upper end that ignores rare peaks: 1.5 times the 90th percentile; 0 without values. */
export function usualMax(curve: Curve): number {
  const values = curve.filter((value) => value !== null).sort((a, b) => a - b);
  return values.length === 0 ? 0 : values[Math.floor((values.length - 1) * 0.9)] * 1.5;
}

/** Grid lines of a logarithmic axis: about ten powers of ten at most, with 2 and 5 between them when there are few. */
export function logMarks(low: number, high: number): number[] {
  const [first, last] = [Math.floor(Math.log10(low)), Math.ceil(Math.log10(high))];
  const stride = Math.ceil((last - first) / 10);
  const marks: number[] = [];
  for (let exponent = first; exponent <= last; exponent += stride || 1) {
    for (const factor of last - first <= 3 ? [1, 2, 5] : [1]) marks.push(Number(`${factor}e${exponent}`));
  }
  return marks.filter((mark) => mark >= low && mark <= high);
}
