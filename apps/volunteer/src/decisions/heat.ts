/**
 * A page cannot read a thermometer. What it can see is that the same work takes markedly longer than it did at its best in this session:
 * the processor has lowered its clock, or something else needs it. Either way the volunteer's machine asks for less.
 */

export interface HeatWatch {
  /** By kind of work (see `kindOf`): speed now and at its best, chars/s. Small leases and fewer threads are slower for other reasons. */
  readonly speeds: ReadonlyMap<number, { readonly now: number; readonly best: number; readonly samples: number }>;
  /** What the person's share is multiplied by: 1 while all is well. */
  readonly factor: number;
  /** Since when it has been slow, or well, without a break; ms. */
  readonly slowSinceMs: number | undefined;
  readonly wellSinceMs: number | undefined;
}

export const COOL: HeatWatch = { speeds: new Map(), factor: 1, slowSinceMs: undefined, wellSinceMs: undefined };

/** A gradient, without the rest before it. */
export interface WorkSample {
  readonly characters: number;
  readonly busyMs: number;
  readonly threads: number;
  readonly nowMs: number;
}

/** Markedly slower is below this part of the best speed; well is above that. */
const SLOW = 0.65;
const WELL = 0.85;
/** A page that loads or a film that starts is over by then. */
const SLOW_MS = 20_000;
const WELL_MS = 120_000;
const STEP = 0.7;
const MIN_FACTOR = 0.25;
/** Weight of the newest sample. */
const WEIGHT = 0.2;
/** Before, code is still being compiled. */
const MIN_SAMPLES = 5;

export function observeWork(watch: HeatWatch, sample: WorkSample): HeatWatch {
  const { characters, busyMs, nowMs } = sample;
  const kind = kindOf(sample);
  const rate = (characters * 1000) / Math.max(busyMs, 0.1);
  const known = watch.speeds.get(kind) ?? { now: rate, best: 0, samples: 0 };
  const now = known.now + WEIGHT * (rate - known.now);
  const samples = known.samples + 1;
  const best = samples < MIN_SAMPLES ? 0 : Math.max(known.best, now);
  const speeds = new Map(watch.speeds).set(kind, { now, best, samples });
  const slowSinceMs = now < SLOW * best ? (watch.slowSinceMs ?? nowMs) : undefined;
  const wellSinceMs = best > 0 && now > WELL * best ? (watch.wellSinceMs ?? nowMs) : undefined;
  return adjust({ ...watch, speeds, slowSinceMs, wellSinceMs }, nowMs);
}

/** Each step down, or back up, is given time to show before the next. */
function adjust(watch: HeatWatch, nowMs: number): HeatWatch {
  const { factor, slowSinceMs, wellSinceMs } = watch;
  if (slowSinceMs !== undefined && nowMs - slowSinceMs >= SLOW_MS && factor > MIN_FACTOR) {
    return { ...watch, factor: Math.max(MIN_FACTOR, factor * STEP), slowSinceMs: nowMs };
  }
  if (wellSinceMs !== undefined && nowMs - wellSinceMs >= WELL_MS && factor < 1) {
    return { ...watch, factor: Math.min(1, factor / STEP), wellSinceMs: nowMs };
  }
  return watch;
}

/** As many threads, and a size within a factor of two. */
function kindOf({ characters, threads }: WorkSample): number {
  return 64 * threads + Math.floor(Math.log2(Math.max(1, characters)));
}
