/** A period as people type it: "90m", "12h", "7d", "4w". */
const UNIT_MS = { m: 60_000, h: 3_600_000, d: 86_400_000, w: 604_800_000 } as const;
const LONGEST_MS = 3_650 * UNIT_MS.d;

/** Says what `parsePeriod` accepts. */
export const PERIOD_IN_WORDS = 'a period such as 90m, 12h, 7d or 4w, at most 3650d';

/** @returns ms; undefined if the text is no period, or one that is too long */
export function parsePeriod(text: string): number | undefined {
  const [, digits, unit] = /^(\d{1,6})([mhdw])$/.exec(text) ?? [];
  if (digits === undefined) return undefined;
  const ms = Number(digits) * UNIT_MS[unit as keyof typeof UNIT_MS];
  return ms > 0 && ms <= LONGEST_MS ? ms : undefined;
}
