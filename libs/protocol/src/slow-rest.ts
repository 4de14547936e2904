import { LIMITS } from '@troupe/config';

/** How often a link was too slow for a run, and until when its worker rests because of that; ms. */
export interface SlowRest {
  readonly times: number;
  readonly untilMs: number;
}

export const NO_REST: SlowRest = { times: 0, untilMs: 0 };

/** It was too slow once more. */
export function nextSlowRest({ times: before, untilMs }: SlowRest, nowMs: number): SlowRest {
  const { slowLinkRestMs, slowLinkMostRestMs } = LIMITS;
  const times = nowMs - untilMs < slowLinkMostRestMs ? before : 0;
  return { times: times + 1, untilMs: nowMs + Math.min(slowLinkRestMs * 2 ** times, slowLinkMostRestMs) };
}
