/**
 * A page cannot read a thermometer. It can see that the same work takes much longer than at its best in this session: the CPU has
 * lowered its clock, or another program needs it. In both cases the page lowers the share of the machine.
 */

export interface HeatWatch {
  /** By kind of work (see `kindOf`), chars/s. Small leases and fewer threads are slower for other reasons. */
  readonly speeds: ReadonlyMap<number, { readonly now: number; readonly best: number; readonly samples: number }>;
  /** The volunteer's share is multiplied by this: 1 while the machine is fast. */
  readonly factor: number;
  /** Since when it has been slow, or fast, without a break; ms. */
  readonly slowSinceMs: number | undefined;
  readonly fastSinceMs: number | undefined;
}

export const COOL: HeatWatch = { speeds: new Map(), factor: 1, slowSinceMs: undefined, fastSinceMs: undefined };

/** One gradient, without the rest before it. */
export interface WorkSample {
  readonly characters: number;
  readonly busyMs: number;
  readonly threads: number;
  readonly nowMs: number;
}

/** A machine is slow below this fraction of its best speed ... */
const SLOW = 0.65;
/** ... and fast above this one. */
const FAST = 0.85;
/** A page that loads, or a film that starts, is over by then. */
const SLOW_MS = 20_000;
const FAST_MS = 120_000;
const STEP = 0.7;
const MIN_FACTOR = 0.25;
/** Weight of the newest sample. */
const WEIGHT = 0.2;
/** Before that, code is still being compiled. */
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
  const fastSinceMs = best > 0 && now > FAST * best ? (watch.fastSinceMs ?? nowMs) : undefined;
  return adjust({ ...watch, speeds, slowSinceMs, fastSinceMs }, nowMs);
}

/** After each step down or up there is time for its effect to show. */
function adjust(watch: HeatWatch, nowMs: number): HeatWatch {
  const { factor, slowSinceMs, fastSinceMs } = watch;
  if (slowSinceMs !== undefined && nowMs - slowSinceMs >= SLOW_MS && factor > MIN_FACTOR) {
    return { ...watch, factor: Math.max(MIN_FACTOR, factor * STEP), slowSinceMs: nowMs };
  }
  if (fastSinceMs !== undefined && nowMs - fastSinceMs >= FAST_MS && factor < 1) {
    return { ...watch, factor: Math.min(1, factor / STEP), fastSinceMs: nowMs };
  }
  return watch;
}

/** Work is of the same kind with as many threads and a size within a factor of two. */
function kindOf({ characters, threads }: WorkSample): number {
  return 64 * threads + Math.floor(Math.log2(Math.max(1, characters)));
}
