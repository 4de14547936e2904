/**
 * The form of a text in which it is trained on and written with: without a byte order mark at its
 * start, and with LF for CRLF. One text edited on two systems is so one corpus.
 */
export function normalizeText(text: string): string {
  return lineFeeds(text.startsWith('\ufeff') ? text.slice(1) : text);
}

/** CRLF becomes LF in a text that arrives in pieces, which may be cut within a CRLF. */
export interface Normalizer {
  add(piece: string): string;
  /** What was held back, at the end. */
  finish(): string;
}

export function createNormalizer(): Normalizer {
  // A CR at the end of a piece, whose LF may follow.
  let held = '';
  return {
    add(piece) {
      if (piece === '') return '';
      const text = held + piece;
      held = text.endsWith('\r') ? '\r' : '';
      return lineFeeds(held === '' ? text : text.slice(0, -1));
    },
    finish() {
      const rest = held;
      held = '';
      return rest;
    },
  };
}

function lineFeeds(text: string): string {
  return text.includes('\r') ? text.replaceAll('\r\n', '\n') : text;
}
