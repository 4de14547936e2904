/** Looks up in the run's history what a dashboard has not been sent yet. */
import type { Access, LiveMessage, RunHistory } from '@troupe/run';
import { eventsFor } from './redact.js';

/** Entries of each kind in one message. */
const MAX_POINTS = 500;
const MAX_EVENTS = 200;
const MAX_SAMPLES = 8;

/** What a dashboard has been sent: the last entry of each kind. */
export interface Place {
  readonly round: number;
  /** Id of an event. */
  readonly event: number;
  /** Rounds of a validation, a sample and a gradient flow; -1 before the first. */
  readonly evaluation: number;
  readonly sample: number;
  readonly flow: number;
}

export interface News {
  /** An update as JSON; undefined = nothing is new. */
  readonly text: string | undefined;
  /** It reports an order of a person, who wants to see its effect at once. */
  readonly urgent: boolean;
}

/** The place of a dashboard that has been sent everything. */
export function newestPlace({ lastRound, lastEvent, evaluations, samples, flows }: RunHistory): Place {
  return {
    round: lastRound,
    event: lastEvent,
    evaluation: evaluations.at(-1)?.round ?? -1,
    sample: samples.at(-1)?.round ?? -1,
    flow: flows.at(-1)?.round ?? -1,
  };
}

/** If there are many, it has only the newest events and samples, and a selection of the rounds. */
export function newsSince(history: RunHistory, place: Place, access: readonly Access[]): News {
  const { lastRound } = history;
  const points = lastRound > place.round ? history.points(place.round + 1, lastRound, MAX_POINTS).points : undefined;
  const evaluations = newest(history.evaluations, ({ round }) => round > place.evaluation);
  const flow = history.flows.at(-1);
  const events = newest(history.events, ({ id }) => id > place.event).slice(-MAX_EVENTS);
  const samples = newest(history.samples, ({ round }) => round > place.sample).slice(-MAX_SAMPLES);
  const news = {
    ...(points ? { points } : {}),
    ...(evaluations.length > 0 ? { evaluations } : {}),
    ...(flow && flow.round > place.flow ? { flow } : {}),
    ...(events.length > 0 ? { events: eventsFor(access, events) } : {}),
    ...(samples.length > 0 ? { samples } : {}),
  };
  const isNew = Object.keys(news).length > 0;
  return {
    text: isNew ? JSON.stringify({ type: 'update', ...news } satisfies LiveMessage) : undefined,
    urgent: events.some(({ kind }) => kind === 'control'),
  };
}

function newest<T>(list: readonly T[], isNew: (item: T) => boolean): readonly T[] {
  let first = list.length;
  while (first > 0 && isNew(list[first - 1])) first--;
  return list.slice(first);
}
