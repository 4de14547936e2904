/** Fetches by GET what the live link does not repeat. */
import type { Input } from '../state/state.js';
import type { Api } from './api.js';
import { RequestFailed } from './api.js';

/** Points of the whole run at once. */
const HISTORY_POINTS = 2_000;
/** Points of a zoomed range. */
export const DETAIL_POINTS = 2_000;

/** Each part stands for itself: one that fails leaves the others be. */
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
      // A coordinator that is going away is met again by the live link, with everything asked anew.
      if (!(result.reason instanceof RequestFailed)) throw result.reason;
    }
  }
}
