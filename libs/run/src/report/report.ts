/** The report of one or several runs: one HTML file that loads nothing and runs nothing. */
import { charactersOf, isLocal, roundCharacters, shellQuote } from '@troupe/config';
import { CURVE_COLOURS, drawChart, type ChartCurve, type ChartPalette } from '../chart/draw.js';
import { findProblem } from '../finding.js';
import type { RunHistory } from '../history.js';
import { escapeMarkup } from '../markup.js';
import { roundSpeeds, speedOf } from '../speed.js';
import { lossOf, type EvaluationPoint, type RunHeader, type SamplePoint } from '../view.js';
import { REPORT_STYLE } from './style.js';

/** A checkpoint of the run. */
export interface ReportedFile {
  readonly name: string;
  readonly bytes: number;
  /** Hex. */
  readonly sha256: string;
}

export interface ReportedRun {
  /** As a person types it. */
  readonly folder: string;
  readonly history: RunHistory;
  readonly files: readonly ReportedFile[];
  /** How people call Troupe here: "troupe". */
  readonly program: string;
}

/** In the folder of a run. */
export const REPORT_FILE = 'report.html';

const MAX_POINTS = 600;
const LAST_ROUNDS = 50;
/** Besides that of the best model: the first, one in the middle, and the last. */
const MAX_SAMPLE_CHARS = 2_000;

/** @param runs each with a header and at least one round; the first gives the title */
export function reportPage(runs: readonly ReportedRun[]): string {
  const title = runs.length === 1 ? runs[0].history.run!.name : `${runs.length} runs`;
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="content-security-policy" content="default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'">
<title>${escapeMarkup(title)}</title>
<style>${REPORT_STYLE}</style>
</head>
<body>
<main>
${runs.length === 1 ? '' : comparison(title, runs)}${runs.map(runSection).join('\n')}
<footer>Losses are in nats per character. Times are in UTC. Made by Troupe.</footer>
</main>
</body>
</html>
`;
}

const PALETTE: ChartPalette = { paper: 'none', ink: 'currentColor', grid: '#8886' };

/** Small enough that its text can be read on a phone. */
const SIZE = { width: 440, height: 290 } as const;

function comparison(title: string, runs: readonly ReportedRun[]): string {
  const coloured = runs.map((run, i) => ({ ...run, colour: CURVE_COLOURS[i % CURVE_COLOURS.length] }));
  const chart = drawChart({
    ...{ title: 'Losses of the runs', unit: 'loss, nats/char', palette: PALETTE, width: 640, height: 400 },
    curves: coloured.flatMap(({ history, colour }) => lossCurves(history, colour)),
    legend: coloured.map(({ folder, history, colour }) => ({ text: `${folder} (${history.run!.model})`, colour })),
  });
  return `<h1>${escapeMarkup(title)}</h1>\n<figure class="wide">${chart}<figcaption>Lines: training; dashed: validation.</figcaption></figure>\n`;
}

function runSection(run: ReportedRun): string {
  const { history } = run;
  const header = history.run!;
  const facts = [header.model, `${whole(header.parameters)} parameters`, header.corpus, `started ${timeOf(header.startedAt)}`];
  return `<section>
<h1>${escapeMarkup(header.name)}</h1>
<p class="quiet">${facts.map(escapeMarkup).join(' · ')}</p>
<p class="state">${escapeMarkup(stateOf(run))}</p>
${figures(history)}
${charts(history)}
${samples(history.samples)}
<h2>To continue</h2>
<pre class="command">${escapeMarkup(commands(run).join('\n'))}</pre>
${files(run.files)}
${configTable(header)}
${warnings(history)}
</section>`;
}

function stateOf({ history }: ReportedRun): string {
  const { lastRound, run } = history;
  const of = `round ${whole(lastRound)} of ${whole(run!.config.rounds)}`;
  if (lastRound >= run!.config.rounds) return `Complete: ${whole(lastRound)} rounds.`;
  return hasDiverged(history) ? `Diverged at ${of}.` : `At ${of}.`;
}

function hasDiverged(history: RunHistory): boolean {
  const { lastRound: round, evaluations } = history;
  const config = history.run!.config;
  const view = { phase: 'over', round, rounds: config.rounds, workerCount: 0, config } as const;
  return (
    findProblem({ view, points: history.points(round - LAST_ROUNDS, round, LAST_ROUNDS).points, evaluations }).kind === 'diverged'
  );
}

function commands(run: ReportedRun): readonly string[] {
  const { folder, program, history } = run;
  const { config } = history.run!;
  const resume = `${program} train --resume --out ${shellQuote(folder)}`;
  const sample = `${program} sample --checkpoint ${shellQuote(folder)}`;
  if (history.lastRound >= config.rounds) return [`${resume} --rounds ${config.rounds * 2}`, sample];
  // A reproducible run keeps its learning rate.
  if (!hasDiverged(history) || config.leaseStreams > 0) return [resume, sample];
  return [`${resume} --lr ${Number((config.learningRate / 2).toPrecision(3))}`, sample];
}

const whole = (value: number): string => Math.round(value).toLocaleString('en');
const loss = (value: number): string => value.toFixed(3);
const median = (values: readonly number[]): number => [...values].sort((a, b) => a - b)[values.length >> 1] ?? NaN;

const TIME = new Intl.DateTimeFormat('en-GB', { dateStyle: 'medium', timeStyle: 'short', timeZone: 'UTC' });
const timeOf = (ms: number): string => (Number.isFinite(ms) ? TIME.format(ms) : '');

function duration(ms: number): string {
  const minutes = ms / 60_000;
  if (minutes < 2) return `${Math.round(ms / 1_000)} s`;
  return minutes < 120 ? `${Math.round(minutes)} min` : `${(minutes / 60).toFixed(1)} h`;
}

function figures(history: RunHistory): string {
  const { evaluations, lastRound } = history;
  const { config } = history.run!;
  const all = history.points(0, lastRound, MAX_POINTS).points;
  const best = bestOf(evaluations);
  const last = evaluations.at(-1);
  const round = median(all.roundMs);
  const perRound = roundCharacters(config);
  const shown: readonly (readonly [name: string, value: string, note: string])[] = [
    ...(best ? [['Best validation', loss(lossOf(best)), `at round ${whole(best.round)}`] as const] : []),
    ...(last ? [['Last validation', loss(lossOf(last)), `at round ${whole(last.round)}`] as const] : []),
    ['Training loss', loss(all.smoothedLoss.at(-1)!), 'smoothed, last round'],
    // The median, because a pause is no round.
    ['Throughput', `${whole(speedOf(round, perRound))} chars/s`, `${whole(round)} ms a round, median`],
    ['Trained on', `${whole(charactersOf(config, lastRound))} characters`, `about ${duration(lastRound * round)} of rounds`],
    [
      'Workers',
      whole(median(all.workers)),
      `median; at most ${whole(all.workers.reduce((most, one) => Math.max(most, one), 0))}`,
    ],
  ];
  const items = shown.map(
    ([name, value, note]) =>
      `<div><dt>${escapeMarkup(name)}</dt><dd>${escapeMarkup(value)}</dd><dd class="quiet">${escapeMarkup(note)}</dd></div>`,
  );
  return `<dl class="figures">${items.join('')}</dl>`;
}

function bestOf(evaluations: readonly EvaluationPoint[]): EvaluationPoint | undefined {
  return evaluations.reduce<EvaluationPoint | undefined>(
    (best, one) => (best === undefined || lossOf(one) < lossOf(best) ? one : best),
    undefined,
  );
}

function lossCurves(history: RunHistory, colour: string): ChartCurve[] {
  const { points } = history.points(0, history.lastRound, MAX_POINTS);
  const validation = history.evaluations.map((evaluation) => [evaluation.round, lossOf(evaluation)] as const);
  return [
    { colour, points: points.round.map((round, i) => [round, points.smoothedLoss[i]] as const) },
    { colour, points: validation, dashed: true },
  ];
}

function charts(history: RunHistory): string {
  const { points } = history.points(0, history.lastRound, MAX_POINTS);
  const picture = (title: string, unit: string, curves: readonly ChartCurve[], caption: string): string => {
    if (!curves.some((curve) => curve.points.some(([, value]) => Number.isFinite(value)))) return '';
    const svg = drawChart({ title, unit, curves, legend: [], palette: PALETTE, ...SIZE });
    return `<figure>${svg}<figcaption>${escapeMarkup(caption)}</figcaption></figure>`;
  };
  const losses = picture(
    'Loss',
    'loss, nats/char',
    lossCurves(history, CURVE_COLOURS[0]),
    'Loss: training, smoothed; dashed: validation',
  );
  const speeds = roundSpeeds(points, history.run!.config);
  const one = (title: string, unit: string, values: readonly number[]): string =>
    picture(title, unit, [{ colour: CURVE_COLOURS[0], points: points.round.map((at, i) => [at, values[i]] as const) }], title);
  const others = [
    one('Throughput', 'chars/s', speeds),
    one(
      isLocal(history.run!.config) ? 'Norm of the mean difference of the parameters' : 'Gradient norm',
      '',
      points.gradientNorm,
    ),
    one('Learning rate', '', points.learningRate),
  ];
  return `<div class="charts">${[losses, ...others].join('')}</div>`;
}

/** The text of the best model, if it wrote one, then those of the run from the last to the first. */
function samples(all: readonly SamplePoint[]): string {
  if (all.length === 0) return '';
  const chosen = [...new Set([all.length - 1, (all.length - 1) >> 1, 0])].map((i) => all[i]);
  const best = all.findLast(({ bestRound }) => bestRound !== undefined);
  const shown = best === undefined || chosen.includes(best) ? chosen : [best, ...chosen];
  const blocks = shown.map(({ round, text, bestRound }) => {
    const title = bestRound === undefined ? `Round ${whole(round)}` : `Best model, from round ${whole(bestRound)}`;
    return `<h3>${title}</h3><pre>${escapeMarkup(text.slice(0, MAX_SAMPLE_CHARS))}</pre>`;
  });
  return `<h2>Samples</h2>\n${blocks.join('\n')}`;
}

function files(all: readonly ReportedFile[]): string {
  if (all.length === 0) return '';
  const rows = all.map(
    ({ name, bytes, sha256 }) =>
      `<tr><th scope="row">${escapeMarkup(name)}</th><td>${(bytes / 1e6).toFixed(2)} MB</td><td><code>${escapeMarkup(sha256)}</code></td></tr>`,
  );
  return `<h2>Checkpoints</h2>\n<div class="scroll" tabindex="0" role="region" aria-label="Checkpoints"><table><thead><tr><th scope="col">File</th><th scope="col">Size</th><th scope="col">SHA-256</th></tr></thead><tbody>${rows.join('')}</tbody></table></div>`;
}

function configTable({ config, runId }: RunHeader): string {
  const rows = [['run', runId] as const, ...flattened(config, '')].map(
    ([name, value]) => `<tr><th scope="row">${escapeMarkup(name)}</th><td>${escapeMarkup(value)}</td></tr>`,
  );
  return `<h2>Configuration</h2>\n<div class="scroll" tabindex="0" role="region" aria-label="Configuration"><table><tbody>${rows.join('')}</tbody></table></div>`;
}

/** "optimizer.beta1" -> "0.9". */
function flattened(value: object, before: string): (readonly [string, string])[] {
  return Object.entries(value).flatMap(([key, part]: [string, unknown]) => {
    const name = before === '' ? key : `${before}.${key}`;
    return typeof part === 'object' && part !== null ? flattened(part, name) : [[name, String(part)] as const];
  });
}

const MAX_WARNINGS = 20;

function warnings({ events }: RunHistory): string {
  const shown = events.filter(({ level }) => level === 'warn').slice(-MAX_WARNINGS);
  if (shown.length === 0) return '';
  const rows = shown.map(
    ({ at, round, text }) => `<tr><th scope="row">${timeOf(at)}</th><td>${whole(round)}</td><td>${escapeMarkup(text)}</td></tr>`,
  );
  return `<h2>Warnings</h2>\n<div class="scroll" tabindex="0" role="region" aria-label="Warnings"><table class="text"><thead><tr><th scope="col">Time</th><th scope="col">Round</th><th scope="col">What happened</th></tr></thead><tbody>${rows.join('')}</tbody></table></div>`;
}
