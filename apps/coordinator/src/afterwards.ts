/** What a coordinator does when its run is finished: it ends, or its pages stay open for those who come later. */
import { setTimeout as sleep } from 'node:timers/promises';

/** `linger`: until nobody has looked for a while, as fits a command in a terminal · `serve`: until it is told to stop. */
export type WhenDone = 'exit' | 'linger' | 'serve';

/** A command that somebody forgot in a terminal ends after this time. */
export const LINGER_MS = 30 * 60_000;
const LOOK_MS = 1_000;

/** @param isTerminal a person reads what the process prints */
export function whenDoneOf(given: ReadonlyMap<string, string>, isTerminal: boolean): WhenDone {
  if (given.has('--exit-when-done')) return 'exit';
  if (given.has('--keep-serving')) return 'serve';
  if (given.has('--linger')) return 'linger';
  return isTerminal ? 'serve' : 'exit';
}

export interface Company {
  /** When somebody last looked at a page of the run. */
  lastLookMs(): number;
  nowMs(): number;
}

/** Resolves when the pages may close: `signal` aborts, or a lingering one is left alone. Never rejects. */
export async function keepOpen(how: 'linger' | 'serve', { lastLookMs, nowMs }: Company, signal: AbortSignal): Promise<void> {
  const startMs = nowMs();
  const isLeftAlone = (): boolean => how === 'linger' && nowMs() - Math.max(startMs, lastLookMs()) >= LINGER_MS;
  while (!signal.aborted && !isLeftAlone()) await sleep(LOOK_MS, undefined, { signal }).catch(() => undefined);
}
