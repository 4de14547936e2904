/**
 * A path or name as one word of a command line that a person may paste into a POSIX shell. A word
 * that begins with a dash would be taken for a flag, so it gets `./` in front.
 */
export function shellQuote(word: string): string {
  const safe = word.startsWith('-') ? `./${word}` : word;
  return /^[\w./:=@%+,-]+$/.test(safe) ? safe : `'${safe.replaceAll("'", `'\\''`)}'`;
}
