/** Pure functions that turn the events of a run into text. */
import path from 'node:path';
import { CELL_NAMES, modelOptions, shellQuote } from '@troupe/config';
import type { RunEvent } from '@troupe/run';
import { clockTime, compactCount, counted, groupedCount, type Style } from './style.js';

type EventOf<K extends RunEvent['event']> = Extract<RunEvent, { event: K }>;

/** The header of a run: model, corpus, plan, workers, and how to watch and join. */
export function describeStart(
  listening: EventOf<'listening'>,
  started: EventOf<'started'>,
  localWorkers: string,
  style: Style,
): string {
  const { model, rounds, streams, window, optimizer, learningRate, seed, codec } = started.config;
  const { name, characters, train, validation } = started.corpus;
  const field = (label: string, text: string) => `  ${style('dim', label.padEnd(12))}${text}`;
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
      `${counted(rounds, 'round')} of ${streams} streams x ${window} characters, ${optimizer.kind}, learning rate ${learningRate}, seed ${seed}`,
    ),
    field('workers', `${localWorkers}; gradients are sent as ${codec}; losses are in nats/char`),
    field('out', listening.out),
    field('dashboard', listening.dashboard ?? listening.address.replace(/^ws/, 'http').replace('0.0.0.0', '127.0.0.1')),
    field('join with', listening.joinCommand),
    ...(listening.volunteer === undefined ? [] : [field('volunteers', listening.volunteer)]),
  ].join('\n');
}

/** A sample between two lines. */
export function frameSample({ round, text }: EventOf<'sample'>, width: number, style: Style): string {
  const wide = Math.min(width, 72);
  const title = `── sample at round ${round} `;
  const body = text.replace(/\s+$/, '').split('\n');
  return ['', style('dim', title.padEnd(wide, '─')), ...body.map((line) => `  ${line}`), style('dim', '─'.repeat(wide)), ''].join(
    '\n',
  );
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
}

/** Where the result is, and commands to type next. */
export function describeEnd({ finished, program, rounds, out, elapsedMs }: Ending, style: Style): string {
  const { round, reason, checkpoint, bestCheckpoint, validationLoss, bestRound, bestValidationLoss } = finished;
  const done =
    reason === 'completed' ? `Finished ${counted(round, 'round')}` : `Stopped and saved at round ${round} of ${rounds}`;
  const loss = validationLoss === undefined ? '' : `; validation ${validationLoss.toFixed(3)} nats/char in the last round`;
  const bestLoss =
    bestValidationLoss === undefined ? '' : `, ${bestValidationLoss.toFixed(3)} nats/char after round ${bestRound}`;
  const best = bestCheckpoint ?? checkpoint;
  const more = reason === 'completed' ? ` --rounds ${rounds * 2}` : '';
  const hint = (label: string, command: string) => `  ${style('dim', label.padEnd(14))}${program} ${command}`;
  return [
    style('bold', `${done} in ${clockTime(elapsedMs)}${loss}.`),
    `Checkpoint: ${shownPath(checkpoint)}${best === checkpoint ? '' : ` (best: ${shownPath(best)}${bestLoss})`}`,
    '',
    'Next:',
    hint('write text', `sample --checkpoint ${typedPath(best)}`),
    // Without --corpus it finds the text of the run and its encoding.
    hint('measure', `eval --checkpoint ${typedPath(best)}`),
    hint(reason === 'completed' ? 'train longer' : 'continue', `train --resume --out ${typedPath(out)}${more}`),
  ].join('\n');
}

/** The path relative to the working folder, if the file is inside it. */
export function shownPath(file: string): string {
  const relative = path.relative('', file);
  return relative === '' || relative.startsWith('..') ? file : relative;
}

function typedPath(file: string): string {
  return shellQuote(shownPath(file));
}
