/** Who computed what of a run, in characters that counted: by name and team for those who want to be named, in sum for all others. */
import { LIMITS } from '@troupe/config/limits';
import { printable } from '@troupe/protocol/text';

/** A name, and perhaps a team, that a worker wants to be credited with. Nobody checks that it is theirs. */
export interface Credited {
  readonly name: string;
  /** Empty: none. */
  readonly team: string;
}

export interface NameCredit extends Credited {
  readonly characters: number;
}

/** A part of the credits of a run, such as that of the rounds since the last entry of its history. */
export interface Credits {
  readonly anonymous: number;
  readonly names: readonly NameCredit[];
}

/** `GET /api/credits`. */
export interface CreditsView {
  /** Characters that counted so far, of all workers: the sum of `anonymous` and of all names, shown or not. */
  readonly characters: number;
  readonly anonymous: number;
  /** How many names there are. */
  readonly named: number;
  /** At most LIMITS.creditsShown, the largest first; of equal ones, in the order in which they came. */
  readonly names: readonly NameCredit[];
  /** The same for teams. */
  readonly teams: readonly TeamCredit[];
}

export interface TeamCredit {
  readonly team: string;
  readonly names: number;
  readonly characters: number;
}

/** Adds up credits within a bound. */
export interface CreditLedger {
  readonly characters: number;
  readonly anonymous: number;
  /** Undefined: nobody in particular. */
  add(who: Credited | undefined, characters: number): void;
  /** In the order in which they came. */
  names(): NameCredit[];
  /** @returns everything, and starts again from nothing */
  take(): Credits;
}

/** Marks that stand on one letter: more of them run over the lines above and below. */
const PILED_MARKS = /(\p{M}{3})\p{M}+/gu;
const VISIBLE = /[\p{L}\p{N}\p{P}\p{S}]/u;

/** One line without control characters, cut to LIMITS.creditNameLength; empty if nothing of it can be seen. */
function cleaned(text: string): string {
  const line = printable(text.normalize('NFC')).replaceAll('\u{fffd}', ' ').replaceAll(PILED_MARKS, '$1');
  const words = [...line.replaceAll(/\s+/g, ' ').trim()].slice(0, LIMITS.creditNameLength).join('').trim();
  return VISIBLE.test(words) ? words : '';
}

/** @returns undefined if nothing of the name can be seen */
export function creditedAs(name: string, team: string): Credited | undefined {
  const shown = cleaned(name);
  return shown === '' ? undefined : { name: shown, team: cleaned(team) };
}

/**
 * @param mostNames with one more, the smallest tenth is added to the anonymous ones: made-up names push out earlier made-up names, and not
 * the names of people who have computed more
 */
export function createCreditLedger(mostNames: number = LIMITS.creditedNames): CreditLedger {
  let anonymous = 0;
  let characters = 0;
  const names = new Map<string, { readonly who: Credited; characters: number }>();
  const makeRoom = (): void => {
    const smallest = [...names].sort(([, a], [, b]) => a.characters - b.characters).slice(0, Math.ceil(mostNames / 10));
    for (const [key, one] of smallest) {
      anonymous += one.characters;
      names.delete(key);
    }
  };
  return {
    get characters() {
      return characters;
    },
    get anonymous() {
      return anonymous;
    },
    add(who, more) {
      characters += more;
      if (!who) {
        anonymous += more;
        return;
      }
      const key = `${who.name}\n${who.team}`;
      const known = names.get(key);
      if (known) known.characters += more;
      else {
        if (names.size >= mostNames) makeRoom();
        names.set(key, { who, characters: more });
      }
    },
    names: () => [...names.values()].map(({ who, characters: sum }) => ({ ...who, characters: sum })),
    take() {
      const taken = { anonymous, names: this.names() };
      [anonymous, characters] = [0, 0];
      names.clear();
      return taken;
    },
  };
}

/** Adds what was taken from another ledger. */
export function addCredits(ledger: CreditLedger, { anonymous, names }: Credits): void {
  ledger.add(undefined, anonymous);
  for (const { name, team, characters } of names) ledger.add({ name, team }, characters);
}

/** The same credits in parts of at most `most` names; none if nobody has computed anything. */
export function partsOf({ anonymous, names }: Credits, most: number = LIMITS.creditsInEntry): Credits[] {
  const parts: Credits[] = [];
  for (let at = 0; at < names.length; at += most) parts.push({ anonymous: 0, names: names.slice(at, at + most) });
  if (anonymous === 0) return parts;
  const [first = { names: [] }, ...rest] = parts;
  return [{ anonymous, names: first.names }, ...rest];
}

export function creditsView(ledger: CreditLedger, most: number = LIMITS.creditsShown): CreditsView {
  const { characters, anonymous } = ledger;
  const names = ledger.names();
  const largest = <T extends { readonly characters: number }>(list: readonly T[]): T[] =>
    [...list].sort((a, b) => b.characters - a.characters).slice(0, most);
  return { characters, anonymous, named: names.length, names: largest(names), teams: largest(teamsOf(names)) };
}

function teamsOf(names: readonly NameCredit[]): TeamCredit[] {
  const teams = new Map<string, TeamCredit>();
  for (const { team, characters } of names) {
    if (team === '') continue;
    const known = teams.get(team) ?? { team, names: 0, characters: 0 };
    teams.set(team, { team, names: known.names + 1, characters: known.characters + characters });
  }
  return [...teams.values()];
}
