/** The description of a chart. */
import { valueAt, type Curve, type Plot } from '../reading/curves.js';
import { NOTHING, type Format } from '../reading/format.js';
import type { Texts } from '../texts.js';

export interface SeriesSpec {
  label(): string;
  /** Name of a custom property of dashboard.css: "--series-1". */
  readonly colour: string;
  /** `points` draws single events, without values between them. */
  readonly style?: 'line' | 'thin' | 'dashed' | 'points' | 'area';
  format(value: number): string;
}

export interface ChartSpec {
  title(): string;
  unit(): string;
  /** What x counts: "round". */
  xLabel(): string;
  /** An x value; absent: a whole number. */
  xFormat?(x: number): string;
  /** Distances between labels of the x axis that may be chosen; absent: round numbers. */
  xSteps?(): number[] | undefined;
  /** The x axis also has a label. */
  readonly namesX?: boolean;
  /** CSS pixels. */
  readonly height: number;
  readonly series: readonly SeriesSpec[];
  /** For the labels of the y axis. */
  format(value: number): string;
  /** Whether the y axis is logarithmic at first; absent: it cannot be. */
  readonly log?: boolean;
  /** Curves are stacked. */
  readonly stack?: boolean;
  /** The top of the chart cuts off rare peaks, so that the rest stays visible. */
  readonly cutsPeaks?: boolean;
  /** The y axis begins and ends where the curves do, instead of at zero, or at what the person has chosen. */
  limits?(): { readonly low?: number; readonly high?: number };
  /** Vertical lines at x values, each with a sign above it. */
  marks?(): readonly { readonly x: number; readonly sign: string }[];
}

/** What a chart currently shows. */
export interface Shown {
  readonly series: readonly SeriesSpec[];
  readonly plot: Plot;
  /** First and last x shown. */
  readonly from: number;
  readonly to: number;
}

/** Texts and number formats in the current language. */
export interface Words {
  readonly texts: Texts;
  readonly format: Format;
}

/** An x value for the axis. */
export const xText = (spec: ChartSpec, x: number): string => spec.xFormat?.(x) ?? String(x);

/** A series' value at an index of x, as text; in a gap, the previous value. */
export function valueText({ style, format }: SeriesSpec, curve: Curve, index: number): string {
  const value = style === 'points' ? (curve[index] ?? null) : valueAt(curve, index);
  return value === null ? NOTHING : format(value);
}
