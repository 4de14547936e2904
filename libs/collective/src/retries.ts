/** Pauses before another attempt to have a link, or a thread, that was lost. */
import type { BackoffOptions } from '@troupe/transport';

/** What lasted for this long was good, also if nobody had a use for it: the next attempt comes after the shortest pause. */
export const STEADY_MS = 60_000;
/** Of a worker, for its links to reducers and for its offer to sum. */
export const WORKER_BACKOFF: BackoffOptions = { firstMs: 1_000, longestMs: 30_000, jitter: [1, 1] };
/** Of the service that decides, for its reducers. */
export const SERVICE_BACKOFF: BackoffOptions = { firstMs: 500, longestMs: 10_000, jitter: [1, 1] };
