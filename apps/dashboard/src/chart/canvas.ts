/** How a chart is drawn: uPlot's options and data. */
import uPlot from 'uplot';
import { logMarks, positive, stacked, usualMax, type Curve } from '../reading/curves.js';
import type { ChartSpec, SeriesSpec, Shown, Words } from './spec.js';

export interface CanvasOptions {
  readonly spec: ChartSpec;
  readonly words: Words;
  readonly shown: Shown;
  readonly log: boolean;
  /** Charts of the same group share one crosshair. */
  readonly group: string;
  readonly onCursor: (index: number | null | undefined) => void;
  /** The person chose a range of x by dragging, or all of it by a double click. Absent: neither is possible. */
  readonly onZoom: ((range: { from: number; to: number } | undefined) => void) | undefined;
}

/** A drag shorter than this, in CSS pixels, is a click. */
const MIN_DRAG = 6;

export function createCanvas(options: CanvasOptions, place: HTMLElement): uPlot {
  const { spec, words, shown, log, group, onZoom, onCursor } = options;
  const series = spec.stack ? [...shown.series].reverse() : shown.series;
  return new uPlot(
    {
      width: place.clientWidth,
      height: spec.height,
      legend: { show: false },
      // The last label of the x axis extends beyond the plot by half its width.
      padding: [8, 20, 0, 0],
      scales: { x: { time: false, auto: false, range: (_, min, max) => [min, max] }, y: yScale(spec, log) },
      axes: [xAxis(spec, words), yAxis(spec, log)],
      series: [{}, ...series.map(drawn)],
      cursor: {
        y: false,
        points: { size: 7 },
        drag: { x: onZoom !== undefined, y: false, setScale: false },
        sync: { key: group, scales: ['x', null], setSeries: false, filters: { pub: (type) => /move|leave/.test(type) } },
        bind: { dblclick: () => () => (onZoom?.(undefined), null) },
      },
      hooks: {
        draw: [(self) => drawMarks(self, spec)],
        setCursor: [(self) => onCursor(self.cursor.idx)],
        setSelect: [(self) => choose(self, onZoom)],
      },
    },
    canvasData(spec, shown, log),
    place,
  );
}

/** Areas are drawn from the top of the stack down, each over the ones above it. */
export function canvasData(spec: ChartSpec, { plot }: Shown, log: boolean): uPlot.AlignedData {
  let curves: readonly Curve[] = spec.stack ? stacked(plot.curves).reverse() : plot.curves;
  if (log) curves = curves.map(positive);
  return [plot.x as number[], ...(curves as (number | null)[][])];
}

function yScale(spec: ChartSpec, log: boolean): uPlot.Scale {
  if (log) return { distr: 3 };
  if (spec.limits) {
    return {
      range: (_, min, max) => {
        const { low, high } = spec.limits!();
        const pad = (max - min) * 0.05 || 0.1;
        const [bottom, top] = [low ?? min - pad, high ?? max + pad];
        return bottom < top ? [bottom, top] : [min - pad, max + pad];
      },
    };
  }
  if (!spec.cutsPeaks) return { range: { min: { pad: 0.05, soft: 0, mode: 2 }, max: { pad: 0.08 } } };
  return {
    range: (self, _, max) => {
      const [from, to] = self.series[0].idxs!;
      const [, top] = self.data;
      const usual = usualMax(top.slice(from, to + 1) as (number | null)[]);
      return [0, Math.min(max, usual) * 1.08 || 1];
    },
  };
}

/** A sign needs this much room, in CSS pixels; marks that are closer share one. */
const SIGN_PX = 10;

function drawMarks(self: uPlot, { marks }: ChartSpec): void {
  const { ctx } = self;
  const { left, top, width, height } = self.bbox;
  let free = -Infinity;
  ctx.save();
  ctx.strokeStyle = css('--quiet');
  ctx.fillStyle = css('--quiet');
  ctx.lineWidth = devicePixelRatio;
  ctx.setLineDash([2 * devicePixelRatio, 3 * devicePixelRatio]);
  ctx.font = `${11 * devicePixelRatio}px system-ui, sans-serif`;
  ctx.textAlign = 'center';
  for (const { x, sign } of marks?.() ?? []) {
    const at = Math.round(self.valToPos(x, 'x', true));
    if (at < left || at > left + width || at < free) continue;
    free = at + SIGN_PX * devicePixelRatio;
    ctx.beginPath();
    ctx.moveTo(at, top + SIGN_PX * devicePixelRatio * 1.3);
    ctx.lineTo(at, top + height);
    ctx.stroke();
    ctx.fillText(sign, at, top + SIGN_PX * devicePixelRatio);
  }
  ctx.restore();
}

function choose(self: uPlot, onZoom: CanvasOptions['onZoom']): void {
  const { left, width } = self.select;
  self.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
  if (width < MIN_DRAG) return;
  const [from, to] = [left, left + width].map((pixel) => Math.round(self.posToVal(pixel, 'x')));
  onZoom?.({ from: Math.max(0, from), to: Math.max(to, from + 1) });
}

function drawn({ label, colour, style = 'line' }: SeriesSpec): uPlot.Series {
  const paint = (): string => css(colour);
  const base: uPlot.Series = { label: label(), stroke: paint, spanGaps: true, points: { show: false } };
  switch (style) {
    case 'line':
      return { ...base, width: 2 };
    case 'thin':
      return { ...base, width: 1 };
    case 'dashed':
      return { ...base, width: 1.5, dash: [6, 4] };
    case 'points':
      return { ...base, paths: () => null, points: { show: true, size: 4, width: 0, fill: paint } };
    case 'area':
      return { ...base, width: 0, fill: paint };
    default:
      return style satisfies never;
  }
}

function axis(): uPlot.Axis {
  return {
    stroke: () => css('--quiet'),
    font: FONT,
    grid: { stroke: () => css('--grid'), width: 1 },
    ticks: { show: false },
    gap: 6,
  };
}

/** 1, 2 and 5 times the powers of ten. */
const STEPS = Array.from({ length: 16 }, (_, power) => [1, 2, 5].map((factor) => Number(`${factor}e${power}`))).flat();

const FONT = '12px system-ui, sans-serif';

function xAxis({ namesX, xLabel, xFormat, xSteps }: ChartSpec, { format }: Words): uPlot.Axis {
  const values: uPlot.Axis['values'] = (_, splits) =>
    splits.map((x) => (Number.isInteger(x) ? (xFormat?.(x) ?? format.compact(x)) : ''));
  const incrs: uPlot.Axis['incrs'] = () => xSteps?.() ?? STEPS;
  return { ...axis(), size: 28, values, incrs, ...(namesX && { label: xLabel(), labelSize: 18, labelFont: FONT }) };
}

function yAxis({ format }: ChartSpec, log: boolean): uPlot.Axis {
  const values: uPlot.Axis['values'] = (_, splits) => splits.map(format);
  const marks: uPlot.Axis = { splits: (_self, _axis, low, high) => logMarks(low, high), filter: (_, splits) => splits };
  return { ...axis(), size: 52, values, ...(log && marks) };
}

/** By name; asking the browser at every stroke would make it compute all styles again. */
const colours = new Map<string, string>();
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => colours.clear());

export function css(name: string): string {
  let colour = colours.get(name);
  if (colour === undefined) {
    colour = getComputedStyle(document.documentElement).getPropertyValue(name).trim();
    colours.set(name, colour);
  }
  return colour;
}
