/** The leaderboard, from what the coordinator says at /api/credits. The answer is not trusted: what has another shape is left out. */
import { creditedAs, type Credited, type NameCredit, type TeamCredit } from '@troupe/run/credits';

export interface CreditFacts {
  readonly characters: number;
  readonly anonymous: number;
  readonly named: number;
  /** The largest first. */
  readonly names: readonly NameCredit[];
  readonly teams: readonly Pick<TeamCredit, 'team' | 'characters'>[];
}

export interface BoardRow extends NameCredit {
  readonly rank: number;
  /** Of all characters that counted, 0 to 1. */
  readonly share: number;
  readonly isMe: boolean;
}

const MOST = 100;

/** @returns undefined when `json` is not an object */
export function readCredits(json: unknown): CreditFacts | undefined {
  if (typeof json !== 'object' || json === null || Array.isArray(json)) return undefined;
  const { characters, anonymous, named, names, teams } = json as Readonly<Record<string, unknown>>;
  return {
    characters: whole(characters),
    anonymous: whole(anonymous),
    named: whole(named),
    names: listOf(names).flatMap(({ name, team, characters: own }) => {
      const who = creditedAs(textOf(name), textOf(team));
      return who && whole(own) > 0 ? [{ ...who, characters: whole(own) }] : [];
    }),
    teams: listOf(teams).flatMap(({ team, characters: own }) => {
      const shown = creditedAs(textOf(team), '')?.name;
      return shown !== undefined && whole(own) > 0 ? [{ team: shown, characters: whole(own) }] : [];
    }),
  };
}

function listOf(value: unknown): Readonly<Record<string, unknown>>[] {
  if (!Array.isArray(value)) return [];
  return (value.slice(0, MOST) as unknown[]).filter(
    (one): one is Readonly<Record<string, unknown>> => typeof one === 'object' && one !== null,
  );
}

function textOf(value: unknown): string {
  return typeof value === 'string' ? value : '';
}

function whole(value: unknown): number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0 ? value : 0;
}

/**
 * The first `most` names, and after them the volunteer's own if it comes later.
 * @param me undefined: the volunteer is not named
 */
export function boardOf({ names, characters }: CreditFacts, me: Credited | undefined, most: number): BoardRow[] {
  const rows = names.map((one, i) => ({
    ...one,
    rank: i + 1,
    share: Math.min(1, one.characters / Math.max(1, characters)),
    isMe: me !== undefined && one.name === me.name && one.team === me.team,
  }));
  return rows.filter(({ rank, isMe }) => rank <= most || isMe);
}
