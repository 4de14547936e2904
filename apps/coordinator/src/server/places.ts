/** How the ports of a coordinator share the sockets that its process may have. */
import { placesOfThisProcess } from '@troupe/process';
import { LIMITS } from '@troupe/protocol';

/** How many sockets may be open. */
export interface Places {
  /** At the server. */
  readonly server: number;
  /** At each reducer in a thread of this process, which has a port of its own. */
  readonly reducer: number;
}

/** Two links for each worker, and the rest for viewers and requests. */
const MOST_OF_SERVER = 2 * LIMITS.workers + 2_000;
/** A link for each worker. */
const MOST_OF_REDUCER = LIMITS.workers;

/**
 * Call it once, before anything listens: what is open later counts for the port that has it.
 * @param available how many of `most` the process may have
 */
export function dividePlaces(reducers: number, available: (most: number) => number = placesOfThisProcess): Places {
  const most = MOST_OF_SERVER + reducers * MOST_OF_REDUCER;
  const all = available(most);
  const reducer = Math.max(1, Math.floor((all * MOST_OF_REDUCER) / most));
  return { server: Math.max(1, all - reducers * reducer), reducer };
}
