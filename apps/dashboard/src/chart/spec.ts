/** What a chart is made of. */
import { valueAt, type Curve, type Plot } from '../reading/curves.js';
import { NOTHING, type Format } from '../reading/format.js';
import type { Texts } from '../texts.js';

export interface SeriesSpec {
  label(): string;
  /** Name of a custom property of dashboard.css: "--series-1". */
  readonly colour: string;
  /** `points`: single events, which have no value between them. */
  readonly style?: 'line' | 'thin' | 'dashed' | 'points' | 'area';
  format(value: number): string;
}

export interface ChartSpec {
  title(): string;
  unit(): string;
  /** What x counts: "round". */
  xLabel(): string;
  /** x is named at its axis too. */
  readonly namesX?: boolean;
  /** CSS pixels. */
  readonly height: number;
  readonly series: readonly SeriesSpec[];
  /** Of the y axis. */
  format(value: number): string;
  /** Begins with a logarithmic axis; absent: has none to switch to. */
  readonly log?: boolean;
  /** Each curve stands on those before it. */
  readonly stack?: boolean;
  /** Rare peaks may stand out at the top, so that the rest is seen. */
  readonly cutsPeaks?: boolean;
}

/** What a chart shows at the moment. */
export interface Shown {
  readonly series: readonly SeriesSpec[];
  readonly plot: Plot;
  /** First and last x in sight. */
  readonly from: number;
  readonly to: number;
}

/** The words and numbers in the language chosen now. */
export interface Words {
  readonly texts: Texts;
  readonly format: Format;
}

/** A series' value at an index of x, as text; where it has a gap, the one before. */
export function valueText({ style, format }: SeriesSpec, curve: Curve, index: number): string {
  const value = style === 'points' ? (curve[index] ?? null) : valueAt(curve, index);
  return value === null ? NOTHING : format(value);
}
