import { printableLines, sentence } from '@troupe/protocol';
import { complaintOf } from '../errors.js';
import { isDebugging, type Shell } from '../shell.js';
import { styleFor } from './style.js';

/**
 * Writes an error as two lines to standard error: what happened and what to do. With `json` also as
 * an `error` event to standard output.
 */
export function writeComplaint(shell: Shell, error: unknown, json: boolean): void {
  const { code, message, remedy } = complaintOf(error);
  if (json) shell.stdout.write(`${JSON.stringify({ event: 'error', code, message, remedy })}\n`);
  const style = styleFor(shell.stderr, shell.env);
  shell.stderr.write(`${style('red', 'error:')} ${printableLines(sentence(message))}\n${printableLines(remedy)}\n`);
  if (isDebugging(shell.env) && error instanceof Error && error.stack !== undefined) shell.stderr.write(`${error.stack}\n`);
}
