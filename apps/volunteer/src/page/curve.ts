import type { Point } from '../decisions/run-facts.js';

const SVG = 'http://www.w3.org/2000/svg';
const MIN_WIDTH = 200;
const HEIGHT = 180;
const LEFT = 44;
const BOTTOM = 20;
const TOP = 8;

export interface CurveWords {
  /** Text alternative of the picture. */
  readonly summary: string;
  number(nats: number): string;
  round(round: number): string;
}

/** Chance is shown if a loss reaches this fraction of it: far above the losses it would only compress them. */
const NEAR_CHANCE = 0.8;

/**
 * Draws training loss and validation loss as two lines, and chance as a third.
 * @param chance the loss of guessing at random; undefined: unknown
 * @param room width of the place where it is shown, CSS pixels; labels then have the same size on every screen
 * @returns undefined when there are too few points for a line
 */
export function drawCurve(
  losses: readonly Point[],
  validation: readonly Point[],
  chance: number | undefined,
  room: number,
  words: CurveWords,
): SVGSVGElement | undefined {
  const width = Math.max(room, MIN_WIDTH);
  const all = [...losses, ...validation];
  if (losses.length < 2) return undefined;
  const rounds = all.map(([round]) => round);
  const nats = all.map(([, value]) => value);
  const chances = chance !== undefined && Math.max(...nats) >= NEAR_CHANCE * chance ? [chance] : [];
  const [from, to] = [Math.min(...rounds), Math.max(...rounds)];
  const [low, high] = [Math.min(...nats), Math.max(...nats, ...chances)];
  const x = (round: number): number => LEFT + ((round - from) / Math.max(to - from, 1)) * (width - LEFT - 8);
  const y = (value: number): number => TOP + ((high - value) / Math.max(high - low, 1e-6)) * (HEIGHT - TOP - BOTTOM);
  const line = (points: readonly Point[], kind: string): SVGElement =>
    make('polyline', { class: kind, points: points.map(([r, v]) => `${x(r).toFixed(1)},${y(v).toFixed(1)}`).join(' ') });
  const svg = make('svg', { viewBox: `0 0 ${width} ${HEIGHT}`, role: 'img', 'aria-label': words.summary }) as SVGSVGElement;
  svg.append(
    make('line', { class: 'axis', x1: LEFT, x2: width, y1: HEIGHT - BOTTOM, y2: HEIGHT - BOTTOM }),
    label(LEFT - 6, TOP + 8, 'end', words.number(high)),
    label(LEFT - 6, HEIGHT - BOTTOM, 'end', words.number(low)),
    label(LEFT, HEIGHT - 4, 'start', words.round(from)),
    label(width, HEIGHT - 4, 'end', words.round(to)),
    ...chances.map((value) => make('line', { class: 'chance', x1: LEFT, x2: width - 8, y1: y(value), y2: y(value) })),
    line(losses, 'losses'),
    line(validation, 'validation'),
  );
  return svg;
}

function make(name: string, attributes: Readonly<Record<string, string | number>>): SVGElement {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, String(value));
  return node;
}

function label(x: number, y: number, anchor: string, text: string): SVGElement {
  const node = make('text', { x, y, 'text-anchor': anchor });
  node.textContent = text;
  return node;
}
