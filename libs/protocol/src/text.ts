import { LIMITS } from '@troupe/config/limits';

/**
 * The text cut to `length` UTF-16 units, by default the longest reason that a message may carry. It
 * never splits a character.
 */
export function brief(text: string, length: number = LIMITS.reasonLength): string {
  if (text.length <= length) return text;
  const end = /[\ud800-\udbff]/.test(text[length - 2] ?? '') ? length - 2 : length - 1;
  return `${text.slice(0, Math.max(0, end))}…`;
}

/** Compares a secret with the expected one in time that depends only on the lengths. */
export function sameText(given: string, expected: string): boolean {
  let difference = given.length ^ expected.length;
  for (let i = 0; i < given.length; i++) {
    difference |= given.charCodeAt(i) ^ expected.charCodeAt(i % Math.max(1, expected.length));
  }
  return difference === 0;
}

/**
 * Characters that can control the terminal or page that shows a text: C0 and C1 controls (Cc), line
 * and paragraph separators (Zl, Zp), marks and overrides of the writing direction, and lone
 * surrogates (Cs), which are no characters. Joiners, soft hyphens and private-use characters stay:
 * several scripts and emoji need them, and they control nothing.
 */
const CONTROL = /[\p{Cc}\p{Cs}\p{Zl}\p{Zp}\p{Bidi_Control}]/gu;
const CONTROL_BUT_LINES = /[^\P{Cc}\n\t]|[\p{Cs}\p{Zl}\p{Zp}\p{Bidi_Control}]/gu;
const REPLACEMENT = '\u{fffd}';

/**
 * A name or reason from a peer, safe for one line of a log, page or terminal: each control
 * character becomes U+FFFD.
 */
export function printable(text: string): string {
  return text.replace(CONTROL, REPLACEMENT);
}

/** Like `printable`, for text of several lines such as a sample: line feeds and tabs stay. */
export function printableLines(text: string): string {
  return text.replace(CONTROL_BUT_LINES, REPLACEMENT);
}

/** A message as a sentence: a text of one line gets a full stop if it has no end. */
export function sentence(text: string): string {
  return /\n|[.!?:…]\s*$/.test(text) ? text : `${text}.`;
}
