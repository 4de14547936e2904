/** How fast a worker is, from grant to counted with the link included, and how much that varies. */

export interface Pace {
  /** Running estimate; until it is measured, the speed that the worker reports. */
  readonly charsPerSecond: number;
  /** Mean deviation of the time that leases take, as a fraction of the expected time. */
  readonly deviation: number;
  /** Whether it comes from leases of this run. */
  readonly measured: boolean;
}

/** Speeds outside these bounds come from a broken clock or a dishonest worker. */
const MIN_CHARS_PER_SECOND = 1;
const MAX_CHARS_PER_SECOND = 1e12;
/** Assumed for a worker that reports no speed, until its first lease counts. */
const UNKNOWN_CHARS_PER_SECOND = 1_000;
/** Weight of the newest measurement. */
const SPEED_WEIGHT = 0.3;
/** As in TCP's retransmission timer (RFC 6298, 2.2 and 2.3). */
const DEVIATION_WEIGHT = 0.25;
const FIRST_DEVIATION = 0.5;
const DEVIATIONS = 4;
/** Machines that do other work as well often take this much longer. */
const MIN_SLACK = 0.5;
/** For delays that do not grow with a lease, such as garbage collection. */
const SLACK_MS = 250;
/** A worker may have measured itself under better conditions, or may start cold. */
const UNMEASURED_FACTOR = 4;
const UNMEASURED_MS = 5_000;
const MAX_ALLOWANCE_MS = 3_600_000;

function clampSpeed(charsPerSecond: number): number {
  return Math.min(Math.max(charsPerSecond, MIN_CHARS_PER_SECOND), MAX_CHARS_PER_SECOND);
}

/** @param reported chars/s as the worker reports it; 0 = it reports none */
export function startingPace(reported: number): Pace {
  return {
    charsPerSecond: clampSpeed(reported > 0 ? reported : UNKNOWN_CHARS_PER_SECOND),
    deviation: FIRST_DEVIATION,
    measured: false,
  };
}

/** The pace of a worker of which this is the first measurement. */
export function firstPace(characters: number, tookMs: number): Pace {
  return { charsPerSecond: clampSpeed((characters * 1000) / Math.max(tookMs, 1)), deviation: FIRST_DEVIATION, measured: true };
}

/** The pace after one more measurement. */
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

/**
 * The pace of a worker that is not done with these characters yet: it cannot be faster than that.
 */
export function latePace(pace: Pace, characters: number, tookMs: number): Pace {
  const most = clampSpeed((characters * 1000) / Math.max(tookMs, 1));
  return { ...pace, charsPerSecond: Math.min(pace.charsPerSecond, most) };
}

export function expectedMs({ charsPerSecond }: Pace, characters: number): number {
  return (characters * 1000) / charsPerSecond;
}

/** How long a worker may take for these characters before it is late, ms. */
export function allowanceMs(pace: Pace, characters: number): number {
  const expected = expectedMs(pace, characters);
  const allowed = pace.measured
    ? expected * (1 + Math.max(MIN_SLACK, DEVIATIONS * pace.deviation)) + SLACK_MS
    : expected * UNMEASURED_FACTOR + UNMEASURED_MS;
  return Math.ceil(Math.min(allowed, MAX_ALLOWANCE_MS));
}
