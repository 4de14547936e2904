/** A run's history for viewers: in memory within bounds, and as lines for the file on disk. */
import { roundsOfWindows } from '@troupe/config';
import { addCredits, createCreditLedger, type CreditLedger, type Credits, type NameCredit } from './credits.js';
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

/** Rounds in memory. When there are more, half of them are dropped; spikes stay. */
const MAX_ROUNDS = 131_072;
const MAX_EVALUATIONS = 16_384;
const MAX_SAMPLES = 512;
const MAX_FLOWS = 128;
/** About this many numbers in all flows together. */
const MAX_FLOW_VALUES = 1e6;
const MAX_EVENTS = 1_000;
/** Windows over which the exponential moving average goes, and the least rounds. The newest of N rounds has a weight of 2 / (N + 1). */
const SMOOTHED_WINDOWS = 50;
const LEAST_SMOOTHED_ROUNDS = 5;
const DIGITS = 6;
/** When rounds are dropped, the minimum and maximum of these fields stay. */
const SPIKY = ['trainLoss', 'gradientNorm', 'roundMs'] as const satisfies readonly PointField[];

export type HistoryEntry =
  | { readonly type: 'run'; readonly run: RunHeader }
  | { readonly type: 'round'; readonly point: RoundPoint }
  | { readonly type: 'evaluation'; readonly evaluation: EvaluationPoint }
  | { readonly type: 'sample'; readonly sample: SamplePoint }
  | { readonly type: 'flow'; readonly flow: GradientFlow }
  | { readonly type: 'credits'; readonly credits: RoundCredits }
  | { readonly type: 'event'; readonly event: LoggedEvent };

/** Characters that counted since the entry before, up to `round`. */
export interface RoundCredits extends Credits {
  readonly round: number;
}

/** Rounds completed when the entry was made; -1 = before the first one. */
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
    case 'credits':
      return entry.credits.round;
    case 'event':
      return entry.event.round;
    default:
      return entry satisfies never;
  }
}

/**
 * One line of JSON without its line break. Rounds are the bulk, so they are bare lists in the order
 * of POINT_FIELDS.
 */
export function encodeEntry(entry: HistoryEntry): string {
  return JSON.stringify(entry.type === 'round' ? POINT_FIELDS.map((field) => entry.point[field]) : entry);
}

/** @returns undefined for an incomplete line, or one of a type that this release does not know */
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

const lossesOf = ({ validationLoss, averageLoss = validationLoss }: EvaluationPoint) => [validationLoss, averageLoss];

/** Checks only what readers rely on. */
function isEntry(entry: HistoryEntry): boolean {
  switch (entry.type) {
    case 'run':
      if (!isRecord(entry.run) || !isRecord(entry.run.config)) return false;
      return [entry.run.runId, entry.run.name, entry.run.model].every(isText);
    case 'evaluation':
      return isRound(entry.evaluation?.round) && lossesOf(entry.evaluation).every(Number.isFinite);
    case 'sample':
      return isRound(entry.sample?.round) && typeof entry.sample.text === 'string';
    case 'flow':
      return isRound(entry.flow?.round) && Array.isArray(entry.flow.layers) && entry.flow.layers.every(Array.isArray);
    case 'credits':
      return isCredits(entry.credits);
    case 'event':
      if (!isRound(entry.event?.round) || !isRound(entry.event.id)) return false;
      return Number.isFinite(entry.event.at) && isText(entry.event.text);
    default:
      return false;
  }
}

function isCredits(credits: RoundCredits | undefined): boolean {
  if (!isRound(credits?.round) || !isRound(credits?.anonymous) || !Array.isArray(credits?.names)) return false;
  const names = credits.names as readonly (Partial<NameCredit> | null)[];
  return names.every((one) => isText(one?.name) && isText(one?.team) && isRound(one?.characters));
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
  /** Rounds completed at the first and last point; 0 when there are none. */
  readonly firstRound: number;
  readonly lastRound: number;
  readonly lastEvent: number;
  readonly latest: RoundPoint | undefined;
  /** This and the lists below: oldest first. */
  readonly evaluations: readonly EvaluationPoint[];
  readonly samples: readonly SamplePoint[];
  readonly flows: readonly GradientFlow[];
  readonly events: readonly LoggedEvent[];
  /** Entries read from disk are added to it. A run that computes adds to it itself. */
  readonly credits: CreditLedger;
  /** Adds an entry that was read from disk. A round that is not after the last one is ignored. */
  add(entry: HistoryEntry): void;
  /**
   * Adds a round that has just completed.
   * @returns it with its smoothed loss, rounded to six digits
   */
  addRound(point: Omit<RoundPoint, 'smoothedLoss'>): RoundPoint;
  /** Adds an event that has just happened. @returns it with its id */
  addEvent(event: Omit<LoggedEvent, 'id'>): LoggedEvent;
  /**
   * At most `most` (but up to 8) of the rounds from..to: the first, the last, and minima and maxima
   * between them.
   */
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
  readonly credits = createCreditLedger();
  lastEvent = 0;
  readonly #columns = createColumns();
  #smoothed = 0;
  #weight = 0;
  /** Whether rounds were dropped to make room. */
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
        this.flows = bounded(this.flows, entry.flow, maxFlows(entry.flow));
        return;
      case 'credits':
        addCredits(this.credits, entry.credits);
        return;
      case 'event':
        this.#storeEvent(entry.event);
        return;
      default:
        entry satisfies never;
    }
  }

  addRound(point: Omit<RoundPoint, 'smoothedLoss'>): RoundPoint {
    const weight = 2 / (roundsOfWindows(this.run?.config ?? {}, SMOOTHED_WINDOWS, LEAST_SMOOTHED_ROUNDS) + 1);
    this.#smoothed += (point.trainLoss - this.#smoothed) * weight;
    this.#weight += (1 - this.#weight) * weight;
    const whole = { ...point, smoothedLoss: this.#smoothed / this.#weight };
    const rounded = Object.fromEntries(POINT_FIELDS.map((field) => [field, shortened(field, whole[field])]));
    const stored = rounded as unknown as RoundPoint;
    if (this.#rounds.length > 0 && stored.round <= this.lastRound) return stored;
    for (const field of POINT_FIELDS) this.#columns[field].push(stored[field]);
    if (this.#rounds.length > MAX_ROUNDS) this.#halve();
    return stored;
  }

  addEvent(event: Omit<LoggedEvent, 'id'>): LoggedEvent {
    const stored = { ...event, id: this.lastEvent + 1 };
    this.#storeEvent(stored);
    return stored;
  }

  #storeEvent(event: LoggedEvent): void {
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

/** Rounds to what charts can show, so that figures stay short on disk and on the wire. */
function shortened(field: PointField, value: number): number {
  return field === 'round' || field === 'workers' ? value : Number(value.toPrecision(DIGITS));
}

/** Adds one item. If there are then too many, every second one is dropped, but not the last. */
function bounded<T>(list: T[], item: T, most: number): T[] {
  list.push(item);
  return list.length <= most ? list : list.filter((_, i) => i % 2 === 0 || i === list.length - 1);
}

/** How many flows of this size to store. */
function maxFlows({ layers }: GradientFlow): number {
  const values = layers.reduce((sum, layer) => sum + layer.length, 0);
  return Math.max(2, Math.min(MAX_FLOWS, Math.floor(MAX_FLOW_VALUES / Math.max(values, 1))));
}

/** Index of the first value that is at least `least`; `values` ascend. */
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
 * At most `most` of the rows first..end-1: both ends, and from each stretch between them the
 * minimum and maximum of each spiky column.
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
