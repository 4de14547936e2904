import type { NameCredit, TeamCredit } from '@troupe/run';

export interface CreditLine {
  readonly who: string;
  /** Of a name; empty: none. */
  readonly team: string;
  readonly characters: number;
  /** Of all characters that counted, 0 to 1. */
  readonly share: number;
}

/** The first `most` names or teams, which come largest first. @param all characters that counted, of all workers */
export function creditLines(of: readonly (NameCredit | TeamCredit)[], all: number, most: number): CreditLine[] {
  return of.slice(0, most).map((one) => ({
    who: 'name' in one ? one.name : one.team,
    team: 'name' in one ? one.team : '',
    characters: one.characters,
    share: Math.min(1, one.characters / Math.max(1, all)),
  }));
}
