/** The speed that matters: characters that counted over all the time that passed, with rests, waits and work that others did faster. */
export interface SpeedWatch {
  /** The last contributions that counted, and the time that passed before each, ms. */
  readonly counted: readonly { readonly characters: number; readonly ms: number }[];
  /** Time since the last of them; undefined: none has counted yet. */
  readonly waitingMs: number | undefined;
}

export const NO_SPEED: SpeedWatch = { counted: [], waitingMs: undefined };

/** The speed is that of this time, and of at least so many contributions: a slow device needs minutes for one. */
const SPAN_MS = 20_000;
const LEAST = 3;

/** @param characters that counted in the last `elapsedMs` */
export function observeSpeed(watch: SpeedWatch, characters: number, elapsedMs: number): SpeedWatch {
  // When the first counts, nobody knows when it was begun.
  if (watch.waitingMs === undefined) return characters > 0 ? { counted: [], waitingMs: 0 } : watch;
  const ms = watch.waitingMs + elapsedMs;
  if (characters === 0) return { ...watch, waitingMs: ms };
  const counted = [...watch.counted, { characters, ms }];
  while (counted.length > LEAST && timeOf(counted) - counted[0].ms >= SPAN_MS) counted.shift();
  return { counted, waitingMs: 0 };
}

/** @returns characters per second; undefined until the second contribution counts */
export function speedOf({ counted, waitingMs = 0 }: SpeedWatch): number | undefined {
  if (counted.length === 0) return undefined;
  const characters = counted.reduce((sum, one) => sum + one.characters, 0);
  return (characters * 1000) / Math.max(1, timeOf(counted) + waitingMs);
}

function timeOf(counted: SpeedWatch['counted']): number {
  return counted.reduce((sum, { ms }) => sum + ms, 0);
}
