/** How fast a worker is, in its engine and on its links, and how much that varies. */

export interface Pace {
  /** In the engine. Running estimate; until it is measured, the speed that the worker reports. */
  readonly charsPerSecond: number;
  /**
   * From grant to counted without the time in the engine, ms: the update, the lease and the
   * contribution on their way, and the worker's own step. 0 until it is measured.
   */
  readonly transferMs: number;
  /** Mean deviation of the time that leases take, as a fraction of the expected time. */
  readonly deviation: number;
  /** Whether it comes from leases of this run. */
  readonly measured: boolean;
}

/** What a worker did between grant and counted. */
export interface Measurement {
  readonly characters: number;
  readonly tookMs: number;
  /** In the engine, as the worker reports it; more than `tookMs` counts as all of it. */
  readonly computeMs: number;
}

/** Speeds outside these bounds come from a broken clock or a dishonest worker. */
const MIN_CHARS_PER_SECOND = 1;
const MAX_CHARS_PER_SECOND = 1e12;
/** Assumed for a worker that reports no speed, until its first lease counts. */
const UNKNOWN_CHARS_PER_SECOND = 1_000;
/** Weight of the newest measurement. */
const SPEED_WEIGHT = 0.3;
/**
 * The same for the transfer, when that takes longer and when it takes less than before. Other traffic
 * makes a link slow for a moment, and nothing makes it fast for a moment.
 */
const LONGER_WEIGHT = 0.1;
const SHORTER_WEIGHT = 0.5;
/** As in TCP's retransmission timer (RFC 6298, 2.2 and 2.3). */
const DEVIATION_WEIGHT = 0.25;
const FIRST_DEVIATION = 0.5;
const DEVIATIONS = 4;
/** A measurement is at most this many times the expected time off: a machine that was suspended is not slow afterwards. */
const MOST_OFF = 10;
/** What a short lease may take beyond that, ms. */
const MOST_PAUSE_MS = 5_000;
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
    transferMs: 0,
    deviation: FIRST_DEVIATION,
    measured: false,
  };
}

/**
 * The pace of a worker of which this is the first measurement.
 * @param allowedMs what it was given
 */
export function firstPace(measurement: Measurement, allowedMs: number): Pace {
  const tookMs = Math.min(measurement.tookMs, MOST_OFF * allowedMs);
  return { ...ratesOf({ ...measurement, tookMs }), deviation: FIRST_DEVIATION, measured: true };
}

function ratesOf({ characters, tookMs, computeMs }: Measurement): Pick<Pace, 'charsPerSecond' | 'transferMs'> {
  const inEngineMs = Math.min(Math.max(computeMs, 0), tookMs);
  return { charsPerSecond: clampSpeed((characters * 1000) / Math.max(inEngineMs, 1)), transferMs: tookMs - inEngineMs };
}

/** The pace after one more measurement. */
export function measuredPace(pace: Pace, measurement: Measurement): Pace {
  if (!pace.measured) return firstPace(measurement, allowanceMs(pace, measurement.characters));
  const expected = expectedMs(pace, measurement.characters);
  const tookMs = Math.min(measurement.tookMs, expected * (1 + MOST_OFF) + MOST_PAUSE_MS);
  const { charsPerSecond, transferMs } = ratesOf({ ...measurement, tookMs });
  const off = Math.abs(tookMs / expected - 1);
  const weight = transferMs > pace.transferMs ? LONGER_WEIGHT : SHORTER_WEIGHT;
  return {
    charsPerSecond: pace.charsPerSecond * (1 - SPEED_WEIGHT) + charsPerSecond * SPEED_WEIGHT,
    transferMs: pace.transferMs * (1 - weight) + transferMs * weight,
    deviation: pace.deviation * (1 - DEVIATION_WEIGHT) + Math.min(off, MOST_OFF) * DEVIATION_WEIGHT,
    measured: true,
  };
}

/**
 * The pace of a worker that is not done with these characters yet: it cannot be faster than that.
 */
export function latePace(pace: Pace, characters: number, tookMs: number): Pace {
  const most = clampSpeed((characters * 1000) / Math.max(tookMs - pace.transferMs, 1));
  return { ...pace, charsPerSecond: Math.min(pace.charsPerSecond, most) };
}

export function expectedMs({ charsPerSecond, transferMs }: Pace, characters: number): number {
  return transferMs + (characters * 1000) / charsPerSecond;
}

/** How long a worker may take for these characters before it is late, ms. */
export function allowanceMs(pace: Pace, characters: number): number {
  const expected = expectedMs(pace, characters);
  const allowed = pace.measured
    ? expected * (1 + Math.max(MIN_SLACK, DEVIATIONS * pace.deviation)) + SLACK_MS
    : expected * UNMEASURED_FACTOR + UNMEASURED_MS;
  return Math.ceil(Math.min(allowed, MAX_ALLOWANCE_MS));
}
