/** The table of a launch: a row for each worker. Pure: events in, rows out. */
import { compactCount, counted, type Format, type Style } from '../terminal/style.js';
import { SLOT_STATES, type LaunchEvent, type SlotState } from './events.js';

export interface Row {
  readonly slot: string;
  readonly state: SlotState;
  readonly charsPerSecond?: number | undefined;
  /** The engine of one that runs, or what is wrong with one that does not. */
  readonly text: string;
  readonly remedy: string;
  /** The last progress since it runs: when, in ms, and characters so far. */
  readonly seen?: { readonly atMs: number; readonly credit: number } | undefined;
}

/** Slot -> its row, in the order of the hosts file. */
export type Board = ReadonlyMap<string, Row>;

/** Speeds are measured over this time at least. */
const SPEED_MS = 900;
/** The weight of the newest speed in the one shown. */
const NEWEST = 0.5;

export function createBoard(slots: readonly string[]): Board {
  return new Map(slots.map((slot) => [slot, { slot, state: 'waiting', text: '', remedy: '' }]));
}

export function advanceBoard(board: Board, event: LaunchEvent, nowMs: number): Board {
  if (event.event === 'note' || event.event === 'job') return board;
  const next = new Map(board);
  if (event.event === 'progress') {
    const row = board.get(event.slot);
    if (row !== undefined) next.set(row.slot, progressed(row, event.credit, nowMs));
    return next;
  }
  for (const slot of event.slots) {
    const row = board.get(slot);
    if (row !== undefined) next.set(slot, changed(row, event));
  }
  return next;
}

/** Another attempt does not hide why the last one failed. */
const RETRYING: ReadonlySet<SlotState> = new Set(['waiting', 'connecting']);

function changed(row: Row, { state, text, remedy }: Extract<LaunchEvent, { event: 'state' }>): Row {
  const { charsPerSecond, seen, ...rest } = row;
  const speed = state === 'running' && row.state === 'running' ? { charsPerSecond, seen } : {};
  const isRetry = text === undefined && RETRYING.has(state) && RETRYING.has(row.state);
  return isRetry ? { ...rest, state } : { ...rest, ...speed, state, text: text ?? '', remedy: remedy ?? '' };
}

function progressed(row: Row, credit: number, atMs: number): Row {
  const { seen, charsPerSecond } = row;
  if (seen === undefined) return { ...row, seen: { atMs, credit } };
  const ms = atMs - seen.atMs;
  if (ms < SPEED_MS) return row;
  const speed = ((credit - seen.credit) * 1000) / ms;
  const smooth = charsPerSecond === undefined ? speed : charsPerSecond + (speed - charsPerSecond) * NEWEST;
  return { ...row, charsPerSecond: smooth, seen: { atMs, credit } };
}

const FORMATS: Partial<Record<SlotState, Format>> = {
  running: 'green',
  failed: 'red',
  restarting: 'yellow',
  waiting: 'yellow',
  done: 'dim',
};
const STATE_WIDTH = Math.max(...SLOT_STATES.map((state) => state.length));
const SPEED_WIDTH = 'chars/s'.length;
const GAP = '  ';
const MOST_NAME = 32;
/** Rows that need a person first, if not all have room. */
const URGENCY: readonly SlotState[] = ['failed', 'restarting', 'waiting'];

/** The table: a heading, at most `height` - 2 rows, and a line that sums up. Each line has at most `width` characters without colours. */
export function renderBoard(board: Board, width: number, height: number, style: Style): string {
  const rows = [...board.values()];
  const name = Math.min(MOST_NAME, Math.max(4, ...rows.map(({ slot }) => slot.length)));
  const shown = pickRows(rows, Math.max(1, height - 2));
  const heading = ['slot'.padEnd(name), 'state'.padEnd(STATE_WIDTH), 'chars/s', ''].join(GAP);
  return [
    style('dim', cut(heading, width)),
    ...shown.map((row) => renderRow(row, name, width, style)),
    cut(summary(rows, shown.length), width),
  ].join('\n');
}

function pickRows(rows: readonly Row[], most: number): readonly Row[] {
  if (rows.length <= most) return rows;
  const rank = ({ state }: Row): number => (URGENCY.includes(state) ? URGENCY.indexOf(state) : URGENCY.length);
  const chosen = new Set([...rows].sort((a, b) => rank(a) - rank(b)).slice(0, most));
  return rows.filter((row) => chosen.has(row));
}

function renderRow({ slot, state, charsPerSecond, text, remedy }: Row, name: number, width: number, style: Style): string {
  const speed = charsPerSecond === undefined ? '' : compactCount(charsPerSecond);
  const start = `${cut(slot, name).padEnd(name)}${GAP}`;
  const rest = [speed.padStart(SPEED_WIDTH), [text, remedy].filter(Boolean).join('. ').replace(/\s+/g, ' ')].join(GAP);
  const format = FORMATS[state];
  const room = width - start.length - STATE_WIDTH - GAP.length;
  if (room < 0) return cut(`${start}${state}`, width);
  const shown = state.padEnd(STATE_WIDTH);
  return `${start}${format === undefined ? shown : style(format, shown)}${GAP}${cut(rest, room)}`;
}

/** "6 of 8 workers run, 12.3k chars/s together, 1 failed; 2 more rows". */
export function summary(rows: readonly Row[], shown = rows.length): string {
  const running = rows.filter(({ state }) => state === 'running');
  const failed = rows.filter(({ state }) => state === 'failed').length;
  const speed = running.reduce((sum, { charsPerSecond = 0 }) => sum + charsPerSecond, 0);
  const parts = [
    `${running.length} of ${counted(rows.length, 'worker')} ${rows.length === 1 ? 'runs' : 'run'}`,
    ...(speed > 0 ? [`${compactCount(speed)} chars/s together`] : []),
    ...(failed > 0 ? [`${failed} failed`] : []),
  ];
  const hidden = rows.length - shown;
  return parts.join(', ') + (hidden > 0 ? `; ${counted(hidden, 'more row')}` : '');
}

function cut(text: string, width: number): string {
  return text.length <= width ? text : `${text.slice(0, Math.max(0, width - 1))}…`;
}

/**
 * Whether an event tells a reader nothing new: the same trouble of the same host, the attempts between, and what a worker that runs
 * goes through.
 */
export function createRepeats(): (event: LaunchEvent) => boolean {
  const troubles = new Map<string, string>();
  const running = new Set<string>();
  return (event) => {
    if (event.event !== 'state') return false;
    const { who, state, text } = event;
    const [wasRunning, last] = [running.has(who), troubles.get(who)];
    if (state === 'running') running.add(who);
    else for (const name of [who, ...event.slots]) running.delete(name);
    if (state === 'running' && wasRunning) return true;
    if (state === 'connecting') return last !== undefined;
    if (state !== 'waiting') troubles.delete(who);
    else if (text !== undefined) troubles.set(who, text);
    return state === 'waiting' && last === text;
  };
}

/** An event as lines of a log; undefined if there is nothing to read. */
export function describeEvent(event: LaunchEvent, style: Style): string | undefined {
  if (event.event === 'progress') return undefined;
  if (event.event === 'note') return withRemedy(style('yellow', `note: ${event.text}`), event.remedy);
  if (event.event === 'job') return describeJob(event);
  const { who, state, text, remedy, retryInMs } = event;
  if (state === 'waiting' && text === undefined) return undefined;
  const format = FORMATS[state];
  const what = format === undefined ? state : style(format, state);
  const again = retryInMs === undefined ? '' : `; next attempt in ${(retryInMs / 1000).toFixed(1)} s`;
  return withRemedy(`${who}: ${what}${text ? `: ${text.replaceAll('\n', '\n  ')}` : ''}${again}`, remedy);
}

function describeJob({ id, tasks, isAdopted, script }: Extract<LaunchEvent, { event: 'job' }>): string {
  if (isAdopted)
    return `following Slurm job ${id} of an earlier launch, with ${counted(tasks, 'worker')}; to start another, first type: scancel ${id}`;
  return `submitted Slurm job ${id} for ${counted(tasks, 'worker')}; its script is ${script}`;
}

function withRemedy(line: string, remedy: string | undefined): string {
  return remedy ? `${line}\n  ${remedy}` : line;
}
