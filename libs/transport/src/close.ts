/** Close codes and reasons of WebSockets (RFC 6455), the same in Node and in browsers. */
import type { CloseInfo } from './connection.js';

const CLEAN_CODES = new Set([1000, 1001, 1005]);
/** A close frame holds a code and at most this many bytes of text (RFC 6455, 5.5). */
const CLOSE_REASON_BYTES = 123;

/** `reason`, cut between two characters to what a close frame holds. */
export function closeReason(reason: string): string {
  const encoder = new TextEncoder();
  let text = '';
  let bytes = 0;
  for (const character of reason) {
    bytes += encoder.encode(character).byteLength;
    if (bytes > CLOSE_REASON_BYTES) break;
    text += character;
  }
  return text;
}

/** What the end of a socket means for its link. */
export function closeInfo(code: number, reason: string): CloseInfo {
  if (CLEAN_CODES.has(code)) return { kind: 'clean', reason: reason || 'the other side closed' };
  if (code === 1006) return { kind: 'lost', reason: 'the connection broke off' };
  return { kind: 'lost', reason: `the other side closed it with code ${code}${reason && `: ${reason}`}` };
}
