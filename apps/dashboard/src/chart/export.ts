/** A chart as a file: CSV with its values, SVG as it is shown. */
import { escapeMarkup, ticksWithin } from '@troupe/run';
import { logMarks, positive, stacked, type Curve } from '../reading/curves.js';
import { xText, type ChartSpec, type Shown } from './spec.js';

/** Values as they are, not rounded for people; a gap is an empty cell. */
export function toCsv(spec: ChartSpec, { series, plot, from, to }: Shown): string {
  const cell = (text: string): string => (/[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  const head = [spec.xLabel(), ...series.map(({ label }) => label())].map(cell).join(',');
  const rows = plot.x.flatMap((x, i) =>
    x < from || x > to ? [] : [[x, ...plot.curves.map((curve) => curve[i] ?? '')].join(',')],
  );
  return `${[head, ...rows].join('\n')}\n`;
}

export interface PictureOptions {
  /** CSS pixels. */
  readonly width: number;
  readonly log: boolean;
  /** The range of y that the chart shows. */
  readonly low: number;
  readonly high: number;
  /** The value of a custom property of dashboard.css. */
  colour(name: string): string;
}

const LEFT = 64;
const RIGHT = 24;
const TOP = 64;
const BOTTOM = 44;

/** A picture that needs nothing from this page: colours and fonts are inside. */
export function toSvg(spec: ChartSpec, shown: Shown, options: PictureOptions): string {
  const { width, log, low, high, colour } = options;
  const height = spec.height + TOP;
  const scale = (value: number): number => (log ? Math.log10(value) : value);
  const place = {
    x: (x: number): number => LEFT + ((x - shown.from) / (shown.to - shown.from || 1)) * (width - LEFT - RIGHT),
    y: (y: number): number =>
      height - BOTTOM - ((scale(y) - scale(low)) / (scale(high) - scale(low) || 1)) * (height - TOP - BOTTOM),
  };
  const text = (x: number, y: number, what: string, more = ''): string =>
    `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}" fill="${colour('--ink')}" ${more}>${escapeMarkup(what)}</text>`;
  const rule = (d: string): string => `<path d="${d}" stroke="${colour('--grid')}" fill="none"/>`;
  const xMarks = ticksWithin(shown.from, shown.to).map(
    (x) =>
      text(place.x(x), height - BOTTOM + 18, xText(spec, x), 'text-anchor="middle"') +
      rule(`M${place.x(x).toFixed(1)} ${TOP}V${height - BOTTOM}`),
  );
  const yMarks = (log ? logMarks(low, high) : ticksWithin(low, high)).map(
    (y) =>
      text(LEFT - 8, place.y(y) + 4, spec.format(y), 'text-anchor="end"') +
      rule(`M${LEFT} ${place.y(y).toFixed(1)}H${width - RIGHT}`),
  );
  const body = curvesOf(spec, shown, log).map((curve, i) =>
    path(shown.plot.x, curve, place, shown.series[i], colour, spec.stack ? place.y(0) : undefined),
  );
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" font-family="system-ui, sans-serif" font-size="12">`,
    `<rect width="100%" height="100%" fill="${colour('--card')}"/>`,
    text(16, 24, [spec.title(), spec.unit()].filter(Boolean).join(', '), 'font-size="15" font-weight="600"'),
    ...legend(shown, colour, text),
    ...xMarks,
    ...yMarks,
    text((LEFT + width - RIGHT) / 2, height - 8, spec.xLabel(), 'text-anchor="middle"'),
    `<clipPath id="plot"><rect x="${LEFT}" y="${TOP}" width="${width - LEFT - RIGHT}" height="${height - TOP - BOTTOM}"/></clipPath>`,
    `<g clip-path="url(#plot)">${(spec.stack ? body.reverse() : body).join('')}</g>`,
    '</svg>',
  ].join('\n');
}

function curvesOf(spec: ChartSpec, { plot }: Shown, log: boolean): readonly Curve[] {
  const curves = spec.stack ? stacked(plot.curves) : plot.curves;
  return log ? curves.map(positive) : curves;
}

/** About 6 px a character. */
const CHARACTER = 6.5;

function legend(
  { series }: Shown,
  colour: PictureOptions['colour'],
  text: (x: number, y: number, what: string) => string,
): string[] {
  let x = 16;
  return series.map((entry) => {
    const at = x;
    x += 34 + entry.label().length * CHARACTER;
    return `<rect x="${at}" y="38" width="14" height="4" fill="${colour(entry.colour)}"/>${text(at + 20, 44, entry.label())}`;
  });
}

function path(
  xs: readonly number[],
  curve: Curve,
  place: { x(x: number): number; y(y: number): number },
  { style, colour: name }: Shown['series'][number],
  colour: PictureOptions['colour'],
  ground: number | undefined,
): string {
  const at = xs.flatMap((x, i) => (curve[i] === null ? [] : [`${place.x(x).toFixed(1)} ${place.y(curve[i]).toFixed(1)}`]));
  if (at.length === 0) return '';
  const ink = colour(name);
  if (style === 'points') return at.map((point) => `<circle cx="${point.replace(' ', '" cy="')}" r="2" fill="${ink}"/>`).join('');
  if (ground !== undefined) {
    const [first, last] = [at[0], at[at.length - 1]].map((point) => point.split(' ')[0]);
    return `<path d="M${first} ${ground.toFixed(1)}L${at.join('L')}L${last} ${ground.toFixed(1)}Z" fill="${ink}"/>`;
  }
  const dashes = style === 'dashed' ? ' stroke-dasharray="6 4"' : '';
  return `<path d="M${at.join('L')}" fill="none" stroke="${ink}" stroke-width="${style === 'thin' ? 1 : 2}"${dashes}/>`;
}

export const pictureHeight = (spec: ChartSpec): number => spec.height + TOP;
