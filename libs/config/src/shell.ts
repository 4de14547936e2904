/**
 * A path or name as one word of a command line that a person may paste into a POSIX shell. A word
 * that begins with a dash would be taken for a flag, so it gets `./` in front.
 */
export function shellQuote(word: string): string {
  return quoted(word.startsWith('-') ? `./${word}` : word);
}

/** A variable in front of a command. Its value is no word of the command, so a dash means nothing. */
export function shellAssignment(name: string, value: string): string {
  return `${name}=${quoted(value)}`;
}

function quoted(text: string): string {
  return /^[\w./:=@%+,-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}
