import { LIMITS } from '@troupe/config/limits';

/** The text as far as a reason in a message may be long; cut where a character ends. */
export function brief(text: string, length: number = LIMITS.reasonLength): string {
  if (text.length <= length) return text;
  const end = /[\ud800-\udbff]/.test(text[length - 2] ?? '') ? length - 2 : length - 1;
  return `${text.slice(0, Math.max(0, end))}…`;
}

/** Whether a secret is the one expected, in time that depends on the lengths alone. */
export function sameText(given: string, expected: string): boolean {
  let difference = given.length ^ expected.length;
  for (let i = 0; i < given.length; i++) {
    difference |= given.charCodeAt(i) ^ expected.charCodeAt(i % Math.max(1, expected.length));
  }
  return difference === 0;
}

/**
 * Characters that can steer whatever shows a text: C0 and C1 controls (Cc), line and paragraph separators (Zl, Zp), marks and
 * overrides of the writing direction, and lone surrogates (Cs), which are no characters. Joiners, soft hyphens and private-use
 * characters stay: several scripts and emoji need them, and they steer nothing.
 */
const STEERING = /[\p{Cc}\p{Cs}\p{Zl}\p{Zp}\p{Bidi_Control}]/gu;
const STEERING_BUT_LINES = /[^\P{Cc}\n\t]|[\p{Cs}\p{Zl}\p{Zp}\p{Bidi_Control}]/gu;
const REPLACEMENT = '\u{fffd}';

/** A name or a reason that a peer chose, for one line of a log, a page or a terminal: each steering character becomes U+FFFD. */
export function printable(text: string): string {
  return text.replace(STEERING, REPLACEMENT);
}

/** The same for text of several lines, such as a sample: line feeds and tabs stay. */
export function printableLines(text: string): string {
  return text.replace(STEERING_BUT_LINES, REPLACEMENT);
}
