import { LIMITS } from './limits.js';

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
