/** How long rounds of the run take, by the answers of its coordinator. */
import type { RunFacts } from './run-facts.js';

/** The answers of the last minute, oldest first; `atMs` by the clock of this page. */
export type RoundWatch = readonly { readonly round: number; readonly atMs: number }[];

const SPAN_MS = 60_000;
/** Over less time than this, the moment of an answer matters too much. */
const LEAST_MS = 3_000;

/** A run that pauses, waits or was resumed from a checkpoint is measured afresh. */
export function observeRound(watch: RoundWatch, { round, phase }: Pick<RunFacts, 'round' | 'phase'>, atMs: number): RoundWatch {
  if (round === undefined || phase !== undefined) return [];
  const last = watch.at(-1);
  if (last && round < last.round) return [{ round, atMs }];
  return [...watch.filter((one) => atMs - one.atMs <= SPAN_MS), { round, atMs }];
}

/** @returns undefined while too little is known */
export function roundMsOf(watch: RoundWatch): number | undefined {
  const [first, last] = [watch.at(0), watch.at(-1)];
  if (!first || !last || last.round <= first.round || last.atMs - first.atMs < LEAST_MS) return undefined;
  return (last.atMs - first.atMs) / (last.round - first.round);
}
