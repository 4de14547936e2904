import { isLocal } from '@troupe/config';
import { lossOf, type RunEvent } from '@troupe/run';
import { clockTime, compactCount, counted, type Format, type Style } from './style.js';

/** The figures in the status line. Losses are in nats/char; that of a validation is the better model's. */
export interface Progress {
  /** Number of completed rounds. */
  readonly round: number;
  readonly rounds: number;
  /** Of the next round, 0 to 1, if it takes long. */
  readonly part?: number;
  readonly workers: number;
  readonly trainLoss?: number;
  readonly validationLoss?: number;
  readonly charsPerSecond?: number;
  readonly gradientNorm?: number;
  /** The norm is of the mean difference of the parameters. */
  readonly isLocal?: boolean;
  readonly etaMs?: number;
  /** Shown instead of the figures while the run does not advance: "saving". */
  readonly phase?: string;
}

export const initialProgress: Progress = { round: 0, rounds: 0, workers: 0, phase: 'starting' };

/** The progress after an event. */
export function advance(progress: Progress, event: RunEvent): Progress {
  switch (event.event) {
    case 'started':
      return {
        ...progress,
        ...{ round: event.round, rounds: event.config.rounds, phase: 'waiting for workers' },
        isLocal: isLocal(event.config),
      };
    case 'worker':
      return { ...progress, workers: event.workers };
    case 'round': {
      const { phase: _over, part: _part, ...rest } = progress;
      const { round, rounds, workers, trainLoss, charsPerSecond, gradientNorm, etaMs } = event;
      return { ...rest, round, rounds, workers, trainLoss, charsPerSecond, gradientNorm, etaMs };
    }
    case 'progress': {
      const { phase: _waiting, ...rest } = progress;
      return { ...rest, round: event.round, part: event.fraction };
    }
    case 'evaluation':
      return { ...progress, validationLoss: lossOf(event) };
    case 'waiting':
      return { ...progress, phase: `waiting: ${event.reason}` };
    default:
      return progress;
  }
}

/** A progress bar followed by a text. Without the bar if the total is unknown. */
export function renderBar(done: number, total: number | undefined, text: string, width: number, style: Style): string {
  if (total === undefined || width < text.length + barLength(BAR.least)) return text.slice(0, width);
  return [bar(done, total, BAR.most < width - text.length - barLength(0) ? BAR.most : BAR.least, style), text].join(GAP);
}

type Part = 'count' | 'train' | 'val' | 'unit' | 'rate' | 'norm' | 'workers' | 'eta' | 'phase';

interface Segment {
  readonly part: Part;
  readonly text: string;
  readonly format?: Format;
}

/** Parts to drop from a line that is too long, first to last. */
const EXPENDABLE: readonly Part[] = ['unit', 'workers', 'norm', 'rate', 'eta', 'train'];
const GAP = '  ';
/** Width inside the brackets. */
const BAR = { least: 8, most: 24 };

/**
 * The status line, at most `width` characters wide without colour codes. The least important
 * figures are dropped first. The bar gets the remaining room.
 */
export function renderStatus(progress: Progress, width: number, style: Style): string {
  const all = segments(progress);
  let shown = all;
  for (let omitted = 1; omitted <= EXPENDABLE.length && lengthOf(shown) + barLength(BAR.least) > width; omitted++) {
    const left = EXPENDABLE.slice(0, omitted);
    shown = all.filter(({ part }) => !left.includes(part));
  }
  const room = width - lengthOf(shown) - barLength(0);
  if (room < BAR.least) return truncated(shown, width);
  return [
    bar(progress.round + (progress.part ?? 0), progress.rounds, Math.min(room, BAR.most), style),
    ...shown.map((segment) => painted(segment, style)),
  ].join(GAP);
}

/** All figures as one line of a log, without the bar. */
export function renderLogLine(progress: Progress): string {
  return `round ${segments(progress)
    .map(({ text }) => text)
    .join(GAP)}`;
}

function segments(progress: Progress): Segment[] {
  const { round, rounds, part, trainLoss, validationLoss, charsPerSecond, gradientNorm, workers, etaMs, phase } = progress;
  const norm = progress.isLocal ? '|D|' : '|g|';
  const more = part === undefined ? '' : ` +${Math.round(part * 100)} %`;
  const out: Segment[] = [{ part: 'count', text: `${round}/${rounds}${more}`, format: 'bold' }];
  if (phase !== undefined) return [...out, { part: 'phase', text: phase, format: 'yellow' }];
  if (trainLoss !== undefined) out.push({ part: 'train', text: `train ${trainLoss.toFixed(2)}` });
  if (validationLoss !== undefined) out.push({ part: 'val', text: `val ${validationLoss.toFixed(2)}`, format: 'green' });
  if (trainLoss !== undefined) out.push({ part: 'unit', text: 'nats/char', format: 'dim' });
  if (charsPerSecond !== undefined) out.push({ part: 'rate', text: `${compactCount(charsPerSecond)} chars/s` });
  if (gradientNorm !== undefined) out.push({ part: 'norm', text: `${norm} ${gradientNorm.toFixed(2)}` });
  out.push({ part: 'workers', text: counted(workers, 'worker') });
  if (etaMs !== undefined) out.push({ part: 'eta', text: `ETA ${clockTime(etaMs)}`, format: 'cyan' });
  return out;
}

function lengthOf(shown: readonly Segment[]): number {
  return shown.reduce((sum, { text }) => sum + text.length, GAP.length * (shown.length - 1));
}

/** Width of the bar with its brackets and the gap after it. */
function barLength(inside: number): number {
  return inside + 2 + GAP.length;
}

function bar(done: number, total: number, inside: number, style: Style): string {
  const fraction = total > 0 ? Math.min(1, done / total) : 0;
  const filled = Math.floor(fraction * inside);
  const head = filled > 0 && filled < inside ? '>' : '';
  const shaft = '='.repeat(filled - head.length) + head;
  return `[${style('green', shaft)}${' '.repeat(inside - filled)}]`;
}

function painted({ text, format }: Segment, style: Style): string {
  return format === undefined ? text : style(format, text);
}

function truncated(shown: readonly Segment[], width: number): string {
  const line = shown.map(({ text }) => text).join(GAP);
  return line.length <= width ? line : line.slice(0, Math.max(0, width));
}
