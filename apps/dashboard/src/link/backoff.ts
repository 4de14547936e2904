import type { BackoffOptions } from '@troupe/transport';

/** How long the page waits before it tries to reach the coordinator again. */
export const RECONNECT: BackoffOptions = { firstMs: 500, longestMs: 15_000, jitter: [0.75, 1.25] };
