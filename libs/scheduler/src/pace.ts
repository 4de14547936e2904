/** How fast a worker is, as seen from here: from lease to counted, link time included; and how far it can be relied on. */

export interface Pace {
  /** Running estimate; only a worker's own word until it is measured. */
  readonly charsPerSecond: number;
  /** Mean deviation of what leases took from what was expected of them, as a fraction of it. */
  readonly deviation: number;
  /** Whether any of it comes from leases of this run. */
  readonly measured: boolean;
}

/** Speeds outside are nobody's: they come from a broken clock or a liar. */
const MIN_CHARS_PER_SECOND = 1;
const MAX_CHARS_PER_SECOND = 1e12;
/** Assumed for a worker that measured nothing, until its first lease counts. */
const UNKNOWN_CHARS_PER_SECOND = 1_000;
/** Weight of the newest measurement. */
const SPEED_WEIGHT = 0.3;
/** As of the round-trip timer of TCP (RFC 6298, 2.2 and 2.3), whose estimate of deviation this is. */
const DEVIATION_WEIGHT = 0.25;
const FIRST_DEVIATION = 0.5;
const DEVIATIONS = 4;
/** Less is no sign of trouble on machines that do other things too. */
const MIN_SLACK = 0.5;
/** For what does not grow with a lease: a collection of garbage, a busy moment of the host. */
const SLACK_MS = 250;
/** A worker that was never measured may have measured itself in a better moment, or start cold. */
const UNMEASURED_FACTOR = 4;
const UNMEASURED_MS = 5_000;
const MAX_ALLOWANCE_MS = 3_600_000;

function clampSpeed(charsPerSecond: number): number {
  return Math.min(Math.max(charsPerSecond, MIN_CHARS_PER_SECOND), MAX_CHARS_PER_SECOND);
}

/** `told`: chars/s by its own word, 0 = it measured nothing. */
export function startingPace(reported: number): Pace {
  return {
    charsPerSecond: clampSpeed(reported > 0 ? reported : UNKNOWN_CHARS_PER_SECOND),
    deviation: FIRST_DEVIATION,
    measured: false,
  };
}

/** So many characters took so long, and nothing else is known. */
export function firstPace(characters: number, tookMs: number): Pace {
  return { charsPerSecond: clampSpeed((characters * 1000) / Math.max(tookMs, 1)), deviation: FIRST_DEVIATION, measured: true };
}

/** So many characters took so long. */
export function measuredPace(pace: Pace, characters: number, tookMs: number): Pace {
  if (!pace.measured) return firstPace(characters, tookMs);
  const rate = clampSpeed((characters * 1000) / Math.max(tookMs, 1));
  const deviation = Math.min(Math.abs(pace.charsPerSecond / rate - 1), 10);
  return {
    charsPerSecond: pace.charsPerSecond * (1 - SPEED_WEIGHT) + rate * SPEED_WEIGHT,
    deviation: pace.deviation * (1 - DEVIATION_WEIGHT) + deviation * DEVIATION_WEIGHT,
    measured: true,
  };
}

/** So many characters are not done after so long: it cannot be faster than that, whatever was measured before. */
export function latePace(pace: Pace, characters: number, tookMs: number): Pace {
  const most = clampSpeed((characters * 1000) / Math.max(tookMs, 1));
  return { ...pace, charsPerSecond: Math.min(pace.charsPerSecond, most) };
}

export function expectedMs({ charsPerSecond }: Pace, characters: number): number {
  return (characters * 1000) / charsPerSecond;
}

/** How long after its lease a worker may take for so many characters before it counts as late, ms. */
export function allowanceMs(pace: Pace, characters: number): number {
  const expected = expectedMs(pace, characters);
  const allowed = pace.measured
    ? expected * (1 + Math.max(MIN_SLACK, DEVIATIONS * pace.deviation)) + SLACK_MS
    : expected * UNMEASURED_FACTOR + UNMEASURED_MS;
  return Math.ceil(Math.min(allowed, MAX_ALLOWANCE_MS));
}
