/**
 * Rests of workers that give leases back. Each refusal makes others compute what was lent, so a worker that refuses at will could hold up
 * every round. One that refuses now and then, as healthy ones do, rests for a moment; each further time it rests twice as long.
 */

export interface Refusals {
  /** How often it has refused lately. */
  strikes: number;
  /** When it last did. */
  lastMs: number;
  /** The last round to which it contributed. */
  workedRound: number;
  /** Until then it gets no lease, whatever it reports, unless nobody else can compute. */
  untilMs: number;
}

interface Refusing {
  readonly refusals: Refusals;
}

/** The rest after each of the first refusals; after that it doubles. */
const FIRST_REST_MS = 250;
const FREE = 2;
const MAX_REST_MS = 600_000;
/** A refusal is forgotten after the worker has contributed to this many rounds. */
const ROUNDS_TO_FORGET = 32;

export function createRefusals(): Refusals {
  return { strikes: 0, lastMs: -Infinity, workedRound: -1, untilMs: 0 };
}

/**
 * The worker gives back a lease, or answers it in a way that is of no use. Several at once count as one.
 * @param mayKnowMore the update may be under way that made its lease useless: it rests only if that happens again and again
 */
export function noteRefusal({ refusals }: Refusing, nowMs: number, mayKnowMore = false): void {
  if (nowMs - refusals.lastMs < FIRST_REST_MS) return;
  refusals.lastMs = nowMs;
  refusals.strikes++;
  const doublings = refusals.strikes - FREE;
  if (mayKnowMore && doublings <= 0) return;
  refusals.untilMs = nowMs + Math.min(FIRST_REST_MS * 2 ** Math.max(0, doublings), MAX_REST_MS);
}

/** A result of the worker counts. */
export function noteWork({ round }: { readonly round: number }, { refusals }: Refusing): void {
  if (refusals.workedRound === round) return;
  refusals.workedRound = round;
  refusals.strikes = Math.max(0, refusals.strikes - 1 / ROUNDS_TO_FORGET);
}

export function isResting({ refusals }: Refusing, nowMs: number): boolean {
  return nowMs < refusals.untilMs;
}
