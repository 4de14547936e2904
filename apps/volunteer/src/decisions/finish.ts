/** What the page says when the run is finished, also to those who come later. */
import type { RunFacts } from './run-facts.js';
import { isRunOver, type Status } from './status.js';

/** How the run ended. `stopped`: before its last round. */
export type Finish = 'completed' | 'stopped' | 'diverged';

/** @returns undefined while the run goes on, as far as this page knows */
export function finishOf(status: Status, facts: RunFacts | undefined): Finish | undefined {
  const { phase } = status;
  if (phase.at === 'over' && phase.code !== undefined && phase.code !== 'dismissed') return phase.code;
  if (facts?.phase !== 'over') return undefined;
  return (facts.round ?? 0) >= (facts.rounds ?? Infinity) ? 'completed' : 'stopped';
}

/** The facts of a run whose coordinator may have ended before it could tell that the last round is complete. */
export function factsAtEnd(status: Status, facts: RunFacts | undefined): RunFacts | undefined {
  if (!facts || !isRunOver(status)) return facts;
  const isComplete = status.phase.at === 'over' && status.phase.code === 'completed';
  return { ...facts, phase: 'over', ...(isComplete && facts.rounds !== undefined ? { round: facts.rounds } : {}) };
}

/** The characters that this device has computed for one run. */
export interface RunCredit {
  readonly runId: string;
  readonly characters: number;
}

/** @param stored may be absent, of another run, or tampered with */
export function parseRunCredit(stored: string | null, runId: string): RunCredit {
  const none = { runId, characters: 0 };
  if (stored === null) return none;
  try {
    const { runId: of, characters } = JSON.parse(stored) as Partial<Record<keyof RunCredit, unknown>>;
    return of === runId && Number.isSafeInteger(characters) && (characters as number) > 0
      ? { runId, characters: characters as number }
      : none;
  } catch {
    return none;
  }
}

/**
 * The part of the run's characters that this device has computed, 0 to 1; undefined if it has none, or the run does not say its size. A run that
 * was resumed from a checkpoint computes rounds again, so it is an estimate.
 */
export function shareOf({ characters }: RunCredit, { round, roundCharacters, earlier }: RunFacts): number | undefined {
  if (characters <= 0 || !round || !roundCharacters) return undefined;
  const all = round < earlier.rounds ? (round * earlier.characters) / earlier.rounds : earlier.characters;
  return Math.min(1, characters / (all + Math.max(0, round - earlier.rounds) * roundCharacters));
}
