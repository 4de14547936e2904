/** What a run remembers of itself for whoever looks on: in memory within bounds, and line by line as it is kept on disk. */
import {
  POINT_FIELDS,
  type EvaluationPoint,
  type GradientFlow,
  type LoggedEvent,
  type PointColumns,
  type PointField,
  type RoundPoint,
  type RunHeader,
  type SamplePoint,
} from './view.js';

/** Rounds in memory at full detail; of more, the spikes and half the number stay. */
const MAX_ROUNDS = 131_072;
const MAX_EVALUATIONS = 16_384;
const MAX_SAMPLES = 512;
const MAX_FLOWS = 128;
/** Numbers of all of them together, about. */
const MAX_FLOW_VALUES = 1e6;
const MAX_EVENTS = 1_000;
/** Of the exponential mean, as the mean of 50 rounds has. */
const SMOOTHING = 2 / 51;
const DIGITS = 6;
/** Whose least and greatest values in a stretch of rounds are kept when rounds are left out. */
const SPIKY = ['trainLoss', 'gradientNorm', 'roundMs'] as const satisfies readonly PointField[];

export type HistoryEntry =
  | { readonly type: 'run'; readonly run: RunHeader }
  | { readonly type: 'round'; readonly point: RoundPoint }
  | { readonly type: 'evaluation'; readonly evaluation: EvaluationPoint }
  | { readonly type: 'sample'; readonly sample: SamplePoint }
  | { readonly type: 'flow'; readonly flow: GradientFlow }
  | { readonly type: 'event'; readonly event: LoggedEvent };

/** Rounds completed at the moment of the entry; -1 = before any. */
export function roundOf(entry: HistoryEntry): number {
  switch (entry.type) {
    case 'run':
      return -1;
    case 'round':
      return entry.point.round;
    case 'evaluation':
      return entry.evaluation.round;
    case 'sample':
      return entry.sample.round;
    case 'flow':
      return entry.flow.round;
    case 'event':
      return entry.event.round;
    default:
      return entry satisfies never;
  }
}

/** One line of JSON, without its end. Rounds, of which there are many, are bare lists in the order of POINT_FIELDS. */
export function encodeEntry(entry: HistoryEntry): string {
  return JSON.stringify(entry.type === 'round' ? POINT_FIELDS.map((field) => entry.point[field]) : entry);
}

/** @returns undefined for a line that was torn, or is of a kind that this release does not know */
export function decodeEntry(line: string): HistoryEntry | undefined {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    return undefined;
  }
  if (Array.isArray(value)) return decodePoint(value);
  if (typeof value !== 'object' || value === null) return undefined;
  const entry = value as HistoryEntry;
  return isEntry(entry) ? entry : undefined;
}

function decodePoint(values: readonly unknown[]): HistoryEntry | undefined {
  if (values.length !== POINT_FIELDS.length || !values.every(Number.isFinite)) return undefined;
  const point = Object.fromEntries(POINT_FIELDS.map((field, i) => [field, values[i]])) as unknown as RoundPoint;
  return { type: 'round', point };
}

/** As much as the reader relies on. */
function isEntry(entry: HistoryEntry): boolean {
  switch (entry.type) {
    case 'run':
      if (!isRecord(entry.run) || !isRecord(entry.run.config)) return false;
      return [entry.run.runId, entry.run.name, entry.run.model].every(isText);
    case 'evaluation':
      return isRound(entry.evaluation?.round) && Number.isFinite(entry.evaluation.validationLoss);
    case 'sample':
      return isRound(entry.sample?.round) && typeof entry.sample.text === 'string';
    case 'flow':
      return isRound(entry.flow?.round) && Array.isArray(entry.flow.layers) && entry.flow.layers.every(Array.isArray);
    case 'event':
      if (!isRound(entry.event?.round) || !isRound(entry.event.id)) return false;
      return Number.isFinite(entry.event.at) && isText(entry.event.text);
    default:
      return false;
  }
}

function isRecord(value: unknown): boolean {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isText(value: unknown): boolean {
  return typeof value === 'string';
}

function isRound(value: unknown): boolean {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

export interface RunHistory {
  readonly run: RunHeader | undefined;
  /** Rounds completed of the first and the last point; 0 without any. */
  readonly firstRound: number;
  readonly lastRound: number;
  readonly lastEvent: number;
  readonly latest: RoundPoint | undefined;
  /** Oldest first. */
  readonly evaluations: readonly EvaluationPoint[];
  readonly samples: readonly SamplePoint[];
  readonly flows: readonly GradientFlow[];
  readonly events: readonly LoggedEvent[];
  /** What was read back. Rounds must ascend: one that does not is left out. */
  add(entry: HistoryEntry): void;
  /** A round just completed. @returns it with its smoothed loss, all figures to six digits */
  addRound(point: Omit<RoundPoint, 'smoothedLoss'>): RoundPoint;
  /** Something just happened. @returns it with its id */
  addEvent(event: Omit<LoggedEvent, 'id'>): LoggedEvent;
  /** Rounds from..to, at most `most` (at least 8 are) of them: the first, the last, and those with the least and greatest values between. */
  points(from: number, to: number, most: number): { readonly points: PointColumns; readonly thinned: boolean };
}

export function createRunHistory(): RunHistory {
  return new MemoryHistory();
}

class MemoryHistory implements RunHistory {
  run: RunHeader | undefined;
  evaluations: EvaluationPoint[] = [];
  samples: SamplePoint[] = [];
  flows: GradientFlow[] = [];
  events: LoggedEvent[] = [];
  lastEvent = 0;
  readonly #columns = createColumns();
  #smoothed = 0;
  #weight = 0;
  /** Whether rounds were left out to make room. */
  #lossy = false;

  get #rounds(): number[] {
    return this.#columns.round;
  }

  get firstRound(): number {
    return this.#rounds[0] ?? 0;
  }

  get lastRound(): number {
    return this.#rounds.at(-1) ?? 0;
  }

  get latest(): RoundPoint | undefined {
    const last = this.#rounds.length - 1;
    if (last < 0) return undefined;
    return Object.fromEntries(POINT_FIELDS.map((field) => [field, this.#columns[field][last]])) as unknown as RoundPoint;
  }

  add(entry: HistoryEntry): void {
    switch (entry.type) {
      case 'run':
        this.run = entry.run;
        return;
      case 'round':
        this.addRound(entry.point);
        return;
      case 'evaluation':
        this.evaluations = bounded(this.evaluations, entry.evaluation, MAX_EVALUATIONS);
        return;
      case 'sample':
        this.samples = bounded(this.samples, entry.sample, MAX_SAMPLES);
        return;
      case 'flow':
        this.flows = bounded(this.flows, entry.flow, flowsKept(entry.flow));
        return;
      case 'event':
        this.#keepEvent(entry.event);
        return;
      default:
        entry satisfies never;
    }
  }

  addRound(point: Omit<RoundPoint, 'smoothedLoss'>): RoundPoint {
    this.#smoothed += (point.trainLoss - this.#smoothed) * SMOOTHING;
    this.#weight += (1 - this.#weight) * SMOOTHING;
    const whole = { ...point, smoothedLoss: this.#smoothed / this.#weight };
    const rounded = Object.fromEntries(POINT_FIELDS.map((field) => [field, shortened(field, whole[field])]));
    const kept = rounded as unknown as RoundPoint;
    if (this.#rounds.length > 0 && kept.round <= this.lastRound) return kept;
    for (const field of POINT_FIELDS) this.#columns[field].push(kept[field]);
    if (this.#rounds.length > MAX_ROUNDS) this.#halve();
    return kept;
  }

  addEvent(event: Omit<LoggedEvent, 'id'>): LoggedEvent {
    const kept = { ...event, id: this.lastEvent + 1 };
    this.#keepEvent(kept);
    return kept;
  }

  #keepEvent(event: LoggedEvent): void {
    if (event.id <= this.lastEvent) return;
    this.lastEvent = event.id;
    this.events.push(event);
    if (this.events.length > 2 * MAX_EVENTS) this.events = this.events.slice(-MAX_EVENTS);
  }

  #halve(): void {
    const rows = chooseRows(this.#columns, 0, this.#rounds.length, MAX_ROUNDS / 2);
    for (const field of POINT_FIELDS) this.#columns[field] = rows.map((row) => this.#columns[field][row]);
    this.#lossy = true;
  }

  points(from: number, to: number, most: number): { readonly points: PointColumns; readonly thinned: boolean } {
    const first = firstAtLeast(this.#rounds, from);
    const end = firstAtLeast(this.#rounds, to + 1);
    const rows = chooseRows(this.#columns, first, Math.max(first, end), most);
    const points = createColumns();
    for (const field of POINT_FIELDS) points[field] = rows.map((row) => this.#columns[field][row]);
    return { points, thinned: this.#lossy || rows.length < end - first };
  }
}

type Columns = Record<PointField, number[]>;

function createColumns(): Columns {
  return Object.fromEntries(POINT_FIELDS.map((field) => [field, []])) as unknown as Columns;
}

/** To what can be seen; a figure on disk or on the wire is then a few characters. */
function shortened(field: PointField, value: number): number {
  return field === 'round' || field === 'workers' ? value : Number(value.toPrecision(DIGITS));
}

/** With one more; of too many every second is left out, but not the first and the last. */
function bounded<T>(list: T[], item: T, most: number): T[] {
  list.push(item);
  return list.length <= most ? list : list.filter((_, i) => i % 2 === 0 || i === list.length - 1);
}

/** How many like this one. */
function flowsKept({ layers }: GradientFlow): number {
  const values = layers.reduce((sum, layer) => sum + layer.length, 0);
  return Math.max(2, Math.min(MAX_FLOWS, Math.floor(MAX_FLOW_VALUES / Math.max(values, 1))));
}

/** Index of the first of ascending `values` that is at least `least`. */
function firstAtLeast(values: readonly number[], least: number): number {
  let [low, high] = [0, values.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (values[middle] < least) low = middle + 1;
    else high = middle;
  }
  return low;
}

/**
 * At most `most` of the rows first..end-1: the ends, and of every stretch between the rows with the least and the greatest value of
 * each spiky column, so that no spike is lost to the eye.
 */
function chooseRows(columns: Columns, first: number, end: number, most: number): number[] {
  const count = end - first;
  if (count <= Math.max(most, 8)) return Array.from({ length: count }, (_, i) => first + i);
  const stretches = Math.max(1, Math.floor((Math.max(most, 8) - 2) / (2 * SPIKY.length)));
  const rows = [first];
  for (let k = 0; k < stretches; k++) {
    const from = first + Math.floor((k * count) / stretches);
    const to = first + Math.floor(((k + 1) * count) / stretches);
    const chosen = new Set(SPIKY.flatMap((field) => extremes(columns[field], from, to)));
    rows.push(...[...chosen].sort((a, b) => a - b));
  }
  rows.push(end - 1);
  return rows.filter((row, i) => i === 0 || row !== rows[i - 1]);
}

function extremes(values: readonly number[], from: number, to: number): [number, number] {
  let [least, greatest] = [from, from];
  for (let i = from + 1; i < to; i++) {
    if (values[i] < values[least]) least = i;
    if (values[i] > values[greatest]) greatest = i;
  }
  return [least, greatest];
}
