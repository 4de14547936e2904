/** Draws curves over rounds as SVG that needs no style sheet and no script. */
import { escapeMarkup } from '../markup.js';
import { ticksAround } from './ticks.js';

export type ChartPoint = readonly [round: number, value: number];

export interface ChartCurve {
  readonly colour: string;
  /** Values that are no numbers are left out. */
  readonly points: readonly ChartPoint[];
  /** With a dot at each point. Default: a line. */
  readonly dashed?: boolean;
}

/** Colours; "currentColor" is that of the text around the picture. */
export interface ChartPalette {
  readonly paper: string;
  readonly ink: string;
  readonly grid: string;
}

export const PRINTED: ChartPalette = { paper: '#fff', ink: '#333', grid: '#ddd' };

/** Distinct for people with colour blindness: Okabe and Ito, 2008. */
export const CURVE_COLOURS = ['#0072b2', '#d55e00', '#009e73', '#cc79a7', '#e69f00', '#56b4e9', '#7f7f7f'] as const;

export interface ChartDrawing {
  readonly title: string;
  /** Of the vertical axis. */
  readonly unit: string;
  readonly curves: readonly ChartCurve[];
  /** A line below the chart for each text. */
  readonly legend: readonly { readonly text: string; readonly colour: string }[];
  /** Of the picture without its legend, in pixels. */
  readonly width: number;
  readonly height: number;
  readonly palette: ChartPalette;
}

const EDGE = { left: 64, right: 16, top: 16, bottom: 48 };
const LEGEND_LINE = 20;

interface Frame {
  readonly right: number;
  readonly bottom: number;
  readonly palette: ChartPalette;
  x(round: number): number;
  y(value: number): number;
}

/** @throws RangeError if no curve has a point */
export function drawChart(drawing: ChartDrawing): string {
  const { title, curves, legend, width, height, palette } = drawing;
  const shown = curves.map((curve) => ({ ...curve, points: curve.points.filter(([, value]) => Number.isFinite(value)) }));
  const points = shown.flatMap((curve) => curve.points);
  if (points.length === 0) throw new RangeError('there is no curve to draw');
  const last = points.reduce((most, [round]) => Math.max(most, round), 1);
  const yTicks = ticksAround(
    points.reduce((least, [, value]) => Math.min(least, value), Infinity),
    points.reduce((most, [, value]) => Math.max(most, value), -Infinity),
  );
  const frame = frameOf(drawing, last, yTicks);
  const tall = height + legend.length * LEGEND_LINE + (legend.length > 0 ? 8 : 0);
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${tall}" width="${width}" height="${tall}" font-family="sans-serif" font-size="13" fill="${palette.ink}" role="img">`,
    `<title>${escapeMarkup(title)}</title>`,
    `<rect width="${width}" height="${tall}" fill="${palette.paper}"/>`,
    ...axes(drawing, frame, yTicks, last),
    ...shown.flatMap((curve) => draw(curve, frame)),
    ...legend.map((line, i) => legendLine(line, height + i * LEGEND_LINE + 8)),
    '</svg>\n',
  ].join('\n');
}

function frameOf({ width, height, palette }: ChartDrawing, last: number, yTicks: readonly number[]): Frame {
  const [right, bottom] = [width - EDGE.right, height - EDGE.bottom];
  const [low, high] = [yTicks[0], yTicks[yTicks.length - 1]];
  return {
    ...{ right, bottom, palette },
    x: (round) => EDGE.left + (round / last) * (right - EDGE.left),
    y: (value) => bottom - ((value - low) / (high - low)) * (bottom - EDGE.top),
  };
}

const COMPACT = new Intl.NumberFormat('en', { notation: 'compact', maximumFractionDigits: 1 });

/** Short enough for the edge: "0.0025", "12.5K". */
const tickText = (tick: number): string => (Math.abs(tick) >= 10_000 ? COMPACT.format(tick) : String(tick));

function axes(
  { unit, width, height }: ChartDrawing,
  { right, bottom, palette, x, y }: Frame,
  yTicks: readonly number[],
  last: number,
) {
  // A narrow chart has no room for as many numbers.
  const xTicks = ticksAround(0, last, width < 600 ? 4 : 6).filter((tick) => tick <= last);
  return [
    ...yTicks.map(
      (tick) =>
        `<path d="M${EDGE.left} ${at(y(tick))}H${right}" stroke="${palette.grid}"/><text x="${EDGE.left - 8}" y="${at(y(tick) + 4)}" text-anchor="end">${tickText(tick)}</text>`,
    ),
    ...xTicks.map(
      (tick) => `<text x="${at(x(tick))}" y="${bottom + 20}" text-anchor="middle">${tick.toLocaleString('en')}</text>`,
    ),
    `<path d="M${EDGE.left} ${bottom}H${right}" stroke="${palette.ink}"/>`,
    `<text x="${(EDGE.left + right) / 2}" y="${height - 8}" text-anchor="middle">rounds</text>`,
    `<text transform="translate(13 ${(EDGE.top + bottom) / 2}) rotate(-90)" text-anchor="middle">${escapeMarkup(unit)}</text>`,
  ];
}

function draw({ points, colour, dashed }: ChartCurve, { x, y }: Frame): string[] {
  if (points.length === 0) return [];
  const way = points.map(([round, value]) => `${at(x(round))} ${at(y(value))}`).join('L');
  const dashes = dashed ? ' stroke-dasharray="6 4"' : '';
  return [
    `<path d="M${way}" fill="none" stroke="${colour}" stroke-width="1.5"${dashes}/>`,
    ...(dashed
      ? points.map(([round, value]) => `<circle cx="${at(x(round))}" cy="${at(y(value))}" r="2.5" fill="${colour}"/>`)
      : []),
  ];
}

function legendLine({ text, colour }: ChartDrawing['legend'][number], top: number): string {
  return `<path d="M${EDGE.left} ${top}h24" stroke="${colour}" stroke-width="3"/><text x="${EDGE.left + 32}" y="${top + 4}">${escapeMarkup(text)}</text>`;
}

/** A coordinate with one decimal. */
function at(value: number): string {
  return String(Math.round(value * 10) / 10);
}
