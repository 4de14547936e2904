import type { ScheduleConfig } from './config.js';

/**
 * Learning rate of `round` (from 0) in a run of `rounds`. Only the coordinator calls it and sends
 * the value with each round, because Math.cos and ** may differ in the last bit between hosts.
 */
export function learningRateAt(schedule: ScheduleConfig, peak: number, round: number, rounds: number): number {
  switch (schedule.kind) {
    case 'constant':
      return peak;
    case 'step':
      return peak * schedule.factor ** Math.floor(round / schedule.everyRounds);
    case 'cosine': {
      const { warmupRounds, finalFraction, decayRounds } = schedule;
      const last = (decayRounds || rounds) - 1;
      // The rate of round 0 is above 0; the last round of the warm-up reaches the peak.
      if (round < warmupRounds) return (peak * (round + 1)) / warmupRounds;
      const progress = Math.min(1, (round - warmupRounds) / Math.max(1, last - warmupRounds));
      return peak * (finalFraction + (1 - finalFraction) * 0.5 * (1 + Math.cos(Math.PI * progress)));
    }
    default:
      return schedule satisfies never;
  }
}

/**
 * Factor that reduces a gradient of global L2 norm `norm` to `clip`; 1 if the norm is below that,
 * or if clip is 0.
 */
export function clipScale(norm: number, clip: number): number {
  return clip > 0 && norm > clip ? clip / norm : 1;
}
