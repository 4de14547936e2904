/** What this volunteer has computed on this device in all sessions. */
export interface Credit {
  readonly characters: number;
  readonly rounds: number;
}

export const NO_CREDIT: Credit = { characters: 0, rounds: 0 };

/** @param stored may be absent, of an older version, or tampered with */
export function parseCredit(stored: string | null): Credit {
  if (stored === null) return NO_CREDIT;
  try {
    const { characters, rounds } = JSON.parse(stored) as Partial<Record<keyof Credit, unknown>>;
    return { characters: whole(characters), rounds: whole(rounds) };
  } catch {
    return NO_CREDIT;
  }
}

function whole(value: unknown): number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0 ? value : 0;
}

export function addCredit(credit: Credit, characters: number, rounds: number): Credit {
  return { characters: credit.characters + characters, rounds: credit.rounds + rounds };
}
