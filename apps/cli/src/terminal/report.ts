/** Pure functions that turn the events of a run into text. */
import path from 'node:path';
import { CELL_NAMES, isLocal, modelOptions, shellQuote } from '@troupe/config';
import { lossOf, REPORT_FILE, type RunEvent } from '@troupe/run';
import { sparkline } from './sparkline.js';
import { clockTime, compactCount, counted, groupedCount, wrapped, type Style } from './style.js';

type EventOf<K extends RunEvent['event']> = Extract<RunEvent, { event: K }>;

/** The column at which the texts of the header and of the end begin. */
const INDENT = 14;

/** "32 steps of 8 tracks: " in a local run. */
function stepsOf({ localSteps, tracks }: EventOf<'started'>['config']): string {
  return isLocal({ localSteps }) ? `${localSteps} steps of ${counted(tracks, 'track')}: ` : '';
}

/** The header of a run: model, corpus, plan, workers, and how to watch and join. */
export function describeStart(
  listening: EventOf<'listening'>,
  started: EventOf<'started'>,
  localWorkers: string,
  style: Style,
  width = 80,
): string {
  const { model, rounds, streams, window, optimizer, learningRate, seed, codec } = started.config;
  const { name, characters, train, validation } = started.corpus;
  const link = (label: string, text: string) => `  ${style('dim', label.padEnd(INDENT - 2))}${text}`;
  const field = (label: string, text: string) => link(label, wrapped(text, width - INDENT).join(`\n${' '.repeat(INDENT)}`));
  const size = [`${counted(model.layers, 'layer')} of ${counted(model.hidden, 'unit')}`, ...modelOptions(model)].join(', ');
  return [
    style(
      'bold',
      `${started.round > 0 ? `Continuing from round ${started.round}:` : 'Training'} a character ${CELL_NAMES[model.cell]} on ${name}`,
    ),
    field(
      'model',
      `${size}, ${compactCount(started.parameters)} parameters, vocabulary of ${counted(model.vocabulary, 'character')}`,
    ),
    field(
      'corpus',
      `${counted(characters, 'character')}: ${groupedCount(train)} to train on, ${groupedCount(validation)} for validation`,
    ),
    field(
      'plan',
      `${counted(rounds, 'round')} of ${stepsOf(started.config)}${streams} streams x ${window} characters, ${optimizer.kind}, learning rate ${learningRate}, seed ${seed}`,
    ),
    field('workers', `${localWorkers}; gradients are sent as ${codec}; losses are in nats/char`),
    field('out', listening.out),
    link('dashboard', listening.dashboard ?? listening.address.replace(/^ws/, 'http').replace('0.0.0.0', '127.0.0.1')),
    ...(listening.volunteer === undefined ? [] : [link('volunteers', listening.volunteer)]),
    // Other machines cannot reach a loopback address.
    listening.isLoopback
      ? field('others', 'only this machine can join; start with --host 0.0.0.0 to let others')
      : link('join with', listening.joinCommand),
  ].join('\n');
}

/** A sample between two lines; long lines are broken to fit. */
export function frameSample({ round, text, bestRound }: EventOf<'sample'>, width: number, style: Style): string {
  const wide = Math.min(width, 72);
  const title =
    bestRound === undefined ? `── sample at round ${round} ` : `── sample of the best model, from round ${bestRound} `;
  const body = text.replace(/\s+$/, '').split('\n');
  const lines = body.flatMap((line) => (line.length <= width - 2 ? [line] : wrapped(line, width - 2)));
  return [
    '',
    style('dim', title.padEnd(wide, '─')),
    ...lines.map((line) => `  ${line}`),
    style('dim', '─'.repeat(wide)),
    '',
  ].join('\n');
}

export function describeWorker({ name, change, reason, workers }: EventOf<'worker'>, style: Style): string {
  const why = reason === '' ? '' : `: ${reason}`;
  return style('dim', `worker ${name} ${change}${why} (${counted(workers, 'worker')})`);
}

export function describeNote({ level, text, remedy }: EventOf<'note'>, style: Style): string {
  const line = level === 'warn' ? style('yellow', `note: ${text}`) : style('dim', text);
  return remedy === undefined ? line : `${line}\n  ${remedy}`;
}

export interface Ending {
  readonly finished: EventOf<'finished'>;
  readonly program: string;
  /** Number of rounds in the run's config. */
  readonly rounds: number;
  /** The run's folder. */
  readonly out: string;
  readonly elapsedMs: number;
  /** Training losses of the rounds since the start, nats/char. */
  readonly losses: readonly number[];
}

/** How well the run did, where the result is, and commands to type next. */
export function describeEnd(ending: Ending, style: Style): string {
  const { finished, program, rounds, out, elapsedMs } = ending;
  const { round, reason, checkpoint, bestCheckpoint } = finished;
  const done =
    reason === 'completed' ? `Finished ${counted(round, 'round')}` : `Stopped and saved at round ${round} of ${rounds}`;
  const line = (label: string, text: string) => `  ${style('dim', label.padEnd(INDENT))}${text}`;
  const more = reason === 'completed' ? ` --rounds ${rounds * 2}` : '';
  return [
    style('bold', `${done} in ${clockTime(elapsedMs)}.`),
    ...lossLines(ending).map(([label, text]) => line(label, text)),
    ...(bestCheckpoint === undefined ? [] : [line('best model', shownPath(bestCheckpoint))]),
    line('last round', shownPath(checkpoint)),
    ...(round > 0 ? [line('report', shownPath(path.join(out, REPORT_FILE)))] : []),
    '',
    'Next:',
    line('write text', `${program} sample --checkpoint ${typedPath(bestCheckpoint ?? checkpoint)}`),
    // Without --corpus it finds the text of the run and its encoding.
    line('measure', `${program} eval --checkpoint ${typedPath(bestCheckpoint ?? checkpoint)}`),
    line(reason === 'completed' ? 'train longer' : 'continue', `${program} train --resume --out ${typedPath(out)}${more}`),
  ].join('\n');
}

const SPARK_WIDTH = 40;

/** The training loss as a curve, and the best and the last validation. */
function lossLines({ losses, finished }: Ending): (readonly [label: string, text: string])[] {
  const { bestValidationLoss: best, bestRound, bestIsAverage, round } = finished;
  const last =
    finished.validationLoss === undefined ? undefined : lossOf({ ...finished, validationLoss: finished.validationLoss });
  const curve = sparkline(losses, SPARK_WIDTH);
  const validations = [
    ...(best === undefined
      ? []
      : [`best ${best.toFixed(3)} nats/char, after round ${bestRound}${bestIsAverage ? ', with averaged parameters' : ''}`]),
    ...(last === undefined || (best !== undefined && bestRound === round) ? [] : [`last ${last.toFixed(3)}`]),
  ];
  return [
    ...(curve === '' ? [] : [['training', `${losses[0].toFixed(2)} ${curve} ${losses.at(-1)!.toFixed(2)} nats/char`] as const]),
    ...(validations.length === 0 ? [] : [['validation', validations.join('; ')] as const]),
  ];
}

/** What a finished run still offers. */
export function describeServing({ dashboard }: EventOf<'serving'>, lingers: boolean, style: Style, width: number): string {
  const close = lingers ? 'Ctrl-C closes them, and so does half an hour without a visitor.' : 'Ctrl-C closes them.';
  const text = `The pages stay open: the whole run on the dashboard, and the best model in its playground. ${close}`;
  return [...wrapped(text, width), `  ${style('dim', 'dashboard'.padEnd(INDENT - 2))}${dashboard}`].join('\n');
}

/** The path relative to the working folder, if the file is inside it. */
export function shownPath(file: string): string {
  const relative = path.relative('', file);
  return relative === '' || relative.startsWith('..') ? file : relative;
}

function typedPath(file: string): string {
  return shellQuote(shownPath(file));
}
