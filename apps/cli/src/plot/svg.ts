/** Draws loss curves as an SVG file that needs no style sheet and no script. */
import { lossOf } from '@troupe/run';
import type { Curves } from './curves.js';

const WIDTH = 800;
const HEIGHT = 480;
const EDGE = { left: 64, right: 16, top: 16, bottom: 48 };
const LEGEND_LINE = 20;
/** Distinct for people with colour blindness: Okabe and Ito, 2008. */
const COLOURS = ['#0072b2', '#d55e00', '#009e73', '#cc79a7', '#e69f00', '#56b4e9', '#000000'];

type Scale = (value: number) => number;

/** @throws RangeError if no run has a point */
export function drawSvg(runs: readonly Curves[]): string {
  const points = runs.flatMap((run) => [...trainPoints(run), ...validationPoints(run)]);
  if (points.length === 0) throw new RangeError('there is no loss to draw');
  const right = Math.max(...points.map(([round]) => round), 1);
  const yTicks = ticksOf(Math.min(...points.map(([, loss]) => loss)), Math.max(...points.map(([, loss]) => loss)));
  const bottom = HEIGHT - EDGE.bottom;
  const x: Scale = (round) => EDGE.left + (round / right) * (WIDTH - EDGE.left - EDGE.right);
  const y: Scale = (loss) => bottom - ((loss - yTicks[0]) / (yTicks.at(-1)! - yTicks[0])) * (bottom - EDGE.top);
  const height = HEIGHT + runs.length * LEGEND_LINE + 8;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}" font-family="sans-serif" font-size="13" role="img">`,
    `<title>Loss by round</title>`,
    `<rect width="${WIDTH}" height="${height}" fill="#fff"/>`,
    ...axes(
      yTicks,
      ticksOf(0, right).filter((tick) => tick <= right),
      x,
      y,
    ),
    ...runs.flatMap((run, i) => curve(run, COLOURS[i % COLOURS.length], x, y)),
    ...runs.map((run, i) => legend(run, COLOURS[i % COLOURS.length], HEIGHT + i * LEGEND_LINE + 8)),
    '</svg>\n',
  ].join('\n');
}

type Point = readonly [round: number, loss: number];

function trainPoints({ rounds, losses }: Curves): Point[] {
  return rounds.map((round, i) => [round, losses[i]] as const).filter(([, loss]) => Number.isFinite(loss));
}

function validationPoints({ evaluations }: Curves): Point[] {
  return evaluations
    .map((evaluation) => [evaluation.round, lossOf(evaluation)] as const)
    .filter(([, loss]) => Number.isFinite(loss));
}

/** Round numbers from at most `least` to at least `most`, about six of them. */
export function ticksOf(least: number, most: number): number[] {
  const span = most > least ? most - least : 1;
  const power = 10 ** Math.floor(Math.log10(span / 5));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((one) => span / one <= 6)!;
  const first = Math.floor(least / step);
  const count = Math.max(1, Math.ceil((Math.max(most, least + step / 2) - first * step) / step - 1e-9));
  // The rounding takes back what 0.1 + 0.2 adds.
  return Array.from({ length: count + 1 }, (_, i) => Number(((first + i) * step).toPrecision(12)));
}

function axes(yTicks: readonly number[], xTicks: readonly number[], x: Scale, y: Scale): string[] {
  const bottom = HEIGHT - EDGE.bottom;
  return [
    ...yTicks.map(
      (tick) =>
        `<path d="M${EDGE.left} ${at(y(tick))}H${WIDTH - EDGE.right}" stroke="#ddd"/><text x="${EDGE.left - 8}" y="${at(y(tick) + 4)}" text-anchor="end">${tick}</text>`,
    ),
    ...xTicks.map(
      (tick) => `<text x="${at(x(tick))}" y="${bottom + 20}" text-anchor="middle">${tick.toLocaleString('en')}</text>`,
    ),
    `<path d="M${EDGE.left} ${bottom}H${WIDTH - EDGE.right}" stroke="#333"/>`,
    `<text x="${(EDGE.left + WIDTH - EDGE.right) / 2}" y="${HEIGHT - 8}" text-anchor="middle">rounds</text>`,
    `<text transform="translate(16 ${(EDGE.top + bottom) / 2}) rotate(-90)" text-anchor="middle">loss, nats/char</text>`,
  ];
}

function curve(run: Curves, colour: string, x: Scale, y: Scale): string[] {
  const path = (points: readonly Point[]): string => points.map(([round, loss]) => `${at(x(round))} ${at(y(loss))}`).join('L');
  const [train, validation] = [trainPoints(run), validationPoints(run)];
  return [
    ...(train.length === 0 ? [] : [`<path d="M${path(train)}" fill="none" stroke="${colour}" stroke-width="1.5"/>`]),
    ...(validation.length === 0
      ? []
      : [`<path d="M${path(validation)}" fill="none" stroke="${colour}" stroke-width="1.5" stroke-dasharray="6 4"/>`]),
    ...validation.map(([round, loss]) => `<circle cx="${at(x(round))}" cy="${at(y(loss))}" r="2.5" fill="${colour}"/>`),
  ];
}

function legend({ folder, model }: Curves, colour: string, top: number): string {
  const text = escaped(`${folder} (${model}): training; dashed: validation`);
  return `<path d="M${EDGE.left} ${top}h24" stroke="${colour}" stroke-width="3"/><text x="${EDGE.left + 32}" y="${top + 4}">${text}</text>`;
}

/** A coordinate with one decimal. */
function at(value: number): string {
  return String(Math.round(value * 10) / 10);
}

function escaped(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}
