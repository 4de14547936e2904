/** Fetches what the live link does not repeat. */
import type { Input } from '../state/state.js';
import type { Api } from './api.js';
import { RequestFailed } from './api.js';

/** At most this many points for the whole run. */
const HISTORY_POINTS = 2_000;
/** At most this many points for a zoomed range. */
export const DETAIL_POINTS = 2_000;

/** Requests are independent: one that fails does not affect the others. */
export async function catchUp(api: Api, dispatch: (input: Input) => void, signal: AbortSignal): Promise<void> {
  const parts: Promise<void>[] = [
    api.history(undefined, HISTORY_POINTS, signal).then((history) => dispatch({ type: 'history', history })),
    api.samples(signal).then((samples) => dispatch({ type: 'samples', samples })),
    api.events(0, signal).then((events) => dispatch({ type: 'events', events })),
    api.flows(signal).then((flows) => dispatch({ type: 'flows', flows })),
    api.runs(signal).then((runs) => dispatch({ type: 'runs', runs })),
  ];
  for (const result of await Promise.allSettled(parts)) {
    if (result.status === 'rejected' && !signal.aborted) {
      // When the coordinator went away, the live link reconnects, and everything is fetched again.
      if (!(result.reason instanceof RequestFailed)) throw result.reason;
    }
  }
}
