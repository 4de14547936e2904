/** What the page knows of the run: a pure function of the messages from the live link and the API. */
import type {
  ApiError,
  EvaluationPoint,
  EventsView,
  FlowView,
  GradientFlow,
  HistoryView,
  LiveMessage,
  LoggedEvent,
  PastRun,
  PointColumns,
  RunsView,
  RunView,
  SamplePoint,
  SamplesView,
} from '@troupe/run';
import { append, between, lastRound, NO_POINTS } from './columns.js';

export type Link =
  | { readonly at: 'connecting' }
  | { readonly at: 'live' }
  /** The coordinator does not answer. The next attempt is at `retryAt`, a moment in ms since 1970. */
  | { readonly at: 'away'; readonly retryAt: number }
  /** The coordinator refused the token. */
  | { readonly at: 'refused'; readonly error: ApiError };

/** The rounds that the charts show; `last` follows the run. */
export type Range = 'all' | { readonly last: number } | { readonly from: number; readonly to: number };

/** Finer points of a zoomed range. */
export interface Detail {
  readonly range: Range;
  readonly points: PointColumns;
}

export interface DashboardState {
  readonly link: Link;
  readonly view: RunView | undefined;
  /** Points of the whole run, thinned when there are many. */
  readonly points: PointColumns;
  readonly detail: Detail | undefined;
  readonly range: Range;
  /** Oldest first, like samples, events and flows. */
  readonly evaluations: readonly EvaluationPoint[];
  readonly samples: readonly SamplePoint[];
  readonly events: readonly LoggedEvent[];
  readonly flows: readonly GradientFlow[];
  /** Undefined until they are fetched. */
  readonly runs: readonly PastRun[] | undefined;
}

export type Input =
  | LiveMessage
  | { readonly type: 'connecting' }
  | { readonly type: 'lost'; readonly retryAt: number }
  | { readonly type: 'history'; readonly history: HistoryView }
  | { readonly type: 'samples'; readonly samples: SamplesView }
  | { readonly type: 'events'; readonly events: EventsView }
  | { readonly type: 'flows'; readonly flows: FlowView }
  | { readonly type: 'runs'; readonly runs: RunsView }
  | { readonly type: 'range'; readonly range: Range }
  | { readonly type: 'detail'; readonly range: Range; readonly history: HistoryView };

const MAX_EVENTS = 500;
const MAX_SAMPLES = 1_000;
const MAX_FLOWS = 200;

export const EMPTY: DashboardState = {
  link: { at: 'connecting' },
  view: undefined,
  points: NO_POINTS,
  detail: undefined,
  range: 'all',
  evaluations: [],
  samples: [],
  events: [],
  flows: [],
  runs: undefined,
};

export function reduce(state: DashboardState, input: Input): DashboardState {
  switch (input.type) {
    case 'connecting':
      // An error message, or a form that the person fills in, stays until there is an answer.
      return state.link.at === 'live' ? { ...state, link: { at: 'connecting' } } : state;
    case 'lost':
      return { ...state, link: { at: 'away', retryAt: input.retryAt } };
    case 'refused':
      return { ...state, link: { at: 'refused', error: input } };
    case 'hello':
      return onHello(state, input);
    case 'update':
      return onUpdate(state, input);
    case 'history':
      return onHistory(state, input.history);
    case 'samples':
      return { ...state, samples: merge(state.samples, input.samples.samples, byRound, MAX_SAMPLES) };
    case 'events':
      return { ...state, events: merge(state.events, input.events.events, byId, MAX_EVENTS) };
    case 'flows':
      return { ...state, flows: merge(state.flows, input.flows.flows, byRound, MAX_FLOWS) };
    case 'runs':
      return { ...state, runs: input.runs.runs };
    case 'range':
      return { ...state, range: input.range, detail: undefined };
    case 'detail':
      // The charts show another range by now.
      if (input.range !== state.range) return state;
      return { ...state, detail: { range: input.range, points: append(input.history.points, state.points) } };
    default:
      return input satisfies never;
  }
}

/** A coordinator that is back may have another run, or the same run at an earlier checkpoint. */
function onHello(state: DashboardState, hello: Extract<LiveMessage, { type: 'hello' }>): DashboardState {
  const { view, lastRound: last, lastEvent } = hello;
  const link = { at: 'live' } as const;
  if (state.view && state.view.runId !== view.runId) return { ...EMPTY, link, view };
  const upTo = <T extends { round: number }>(entries: readonly T[]): readonly T[] => entries.filter(({ round }) => round <= last);
  return {
    ...state,
    link,
    view,
    points: between(state.points, 0, last),
    detail: undefined,
    evaluations: upTo(state.evaluations),
    samples: upTo(state.samples),
    flows: upTo(state.flows),
    events: state.events.filter(({ id }) => id <= lastEvent),
  };
}

function onUpdate(state: DashboardState, update: Extract<LiveMessage, { type: 'update' }>): DashboardState {
  const { view, points, evaluations, samples, events, flow } = update;
  const { detail } = state;
  return {
    ...state,
    view: view ?? state.view,
    points: points ? append(state.points, points) : state.points,
    detail: points && detail ? { ...detail, points: append(detail.points, points) } : detail,
    evaluations: evaluations ? merge(state.evaluations, evaluations, byRound) : state.evaluations,
    samples: samples ? merge(state.samples, samples, byRound, MAX_SAMPLES) : state.samples,
    events: events ? merge(state.events, events, byId, MAX_EVENTS) : state.events,
    flows: flow ? merge(state.flows, [flow], byRound, MAX_FLOWS) : state.flows,
  };
}

/** Points that arrived during the request stay. Evaluations are replaced: a resumed run may have computed their rounds again. */
function onHistory(state: DashboardState, { points, evaluations }: HistoryView): DashboardState {
  return { ...state, points: append(points, state.points), evaluations: merge(state.evaluations, evaluations, byRound) };
}

const byRound = ({ round }: { readonly round: number }): number => round;
const byId = ({ id }: { readonly id: number }): number => id;

/** Merges both in the order of `key`, and keeps the last `max` entries. Of two with the same key, the one of `second` stays. */
function merge<T>(first: readonly T[], second: readonly T[], key: (entry: T) => number, max = Infinity): readonly T[] {
  const entries = new Map([...first, ...second].map((entry) => [key(entry), entry]));
  const merged = [...entries.values()].sort((a, b) => key(a) - key(b));
  return merged.length > max ? merged.slice(-max) : merged;
}

/** The rounds that the charts show, and the points to draw. */
export interface Window {
  readonly from: number;
  readonly to: number;
  readonly points: PointColumns;
}

export function shownWindow({ points, detail, range }: DashboardState): Window {
  const last = lastRound(points);
  const first = points.round[0] ?? 0;
  if (range === 'all') return { from: first, to: Math.max(last, first + 1), points };
  const [from, to] = 'last' in range ? [Math.max(first, last - range.last), Math.max(last, first + 1)] : [range.from, range.to];
  return { from, to, points: detail?.points ?? points };
}

/** The range after zooming by `factor` around the middle: below 1 zooms in, to 10 rounds at least. */
export function zoomed(state: DashboardState, factor: number): Range {
  const { from, to } = shownWindow(state);
  const first = state.points.round[0] ?? 0;
  const last = lastRound(state.points);
  const half = Math.max(5, ((to - from) / 2) * factor);
  const middle = (from + to) / 2;
  const range = { from: Math.max(first, Math.floor(middle - half)), to: Math.min(last, Math.ceil(middle + half)) };
  return range.from <= first && range.to >= last ? 'all' : range;
}

/** The rounds to fetch, when the range shown lacks points that the API has; undefined: none. */
export function missingRounds(state: DashboardState): { from: number; to: number } | undefined {
  if (state.range === 'all' || state.detail) return undefined;
  const { from, to, points } = shownWindow(state);
  const have = between(points, from, to).round.length;
  return have < Math.min(to, lastRound(points)) - from ? { from, to } : undefined;
}

export const isAdmin = ({ view }: DashboardState): boolean => view?.access.includes('admin') ?? false;
