import { LIMITS } from '@troupe/config';

/** How often a link was too slow for a run, and until when its worker rests because of that; ms. */
export interface SlowRest {
  readonly times: number;
  readonly untilMs: number;
}

export const NO_REST: SlowRest = { times: 0, untilMs: 0 };

/** It was too slow once more. */
export function nextSlowRest({ times: before, untilMs }: SlowRest, nowMs: number): SlowRest {
  const times = nowMs - untilMs < LIMITS.slowLinkMostRestMs ? before : 0;
  const restMs = Math.min(LIMITS.slowLinkRestMs * 2 ** times, LIMITS.slowLinkMostRestMs);
  return { times: times + 1, untilMs: nowMs + restMs };
}
