/**
 * What travels through the data channel. Each message is one byte that says its kind, and then its content. A frame of the protocol is cut
 * into messages of 64 KiB, which every implementation of WebRTC carries.
 */
import { TransportError } from '../connection.js';

/** The largest message, with its first byte. */
export const MESSAGE_BYTES = 64 * 1024;
const CONTENT_BYTES = MESSAGE_BYTES - 1;

export const KIND = {
  /** A piece of a frame, as long as a message may be; more follow. */
  part: 0,
  /** The last piece of a frame, or a whole one. */
  last: 1,
  /** The first message of each side: version, flags. Later versions may append to it. */
  hello: 2,
  /** A sign of life. */
  alive: 3,
  /** Nothing follows: the reason, in UTF-8. */
  close: 4,
  /** The answer to `close`: everything has arrived. */
  closed: 5,
} as const;

const VERSION = 1;
const FLAGS = { restartsIce: 1 };

export interface Hello {
  /** Whether this side can restart ICE. */
  readonly restartsIce: boolean;
}

export function writeHello({ restartsIce }: Hello): Uint8Array {
  return Uint8Array.of(VERSION, restartsIce ? FLAGS.restartsIce : 0);
}

/** @throws TransportError `refused` */
export function readHello(content: Uint8Array): Hello {
  const [version, flags] = content;
  if (content.byteLength < 2 || version !== VERSION) throw violation('the other side speaks another version of this transport');
  return { restartsIce: (flags & FLAGS.restartsIce) !== 0 };
}

/** The peer broke the rules of this transport. */
export function violation(message: string): TransportError {
  return new TransportError('refused', message, 'Check that both sides run the same version of Troupe.');
}

export function message(kind: number, content: Uint8Array): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(1 + content.byteLength);
  bytes[0] = kind;
  bytes.set(content, 1);
  return bytes;
}

/** The number of bytes of a frame in its next message. */
export function pieceBytes(left: number): number {
  return Math.min(left, CONTENT_BYTES);
}

/** Puts frames together from their pieces. All but the last are of full length, so their number is bounded too. */
export function createReassembly(frameBytes: number): (kind: number, content: Uint8Array) => Uint8Array | undefined {
  let parts: Uint8Array[] = [];
  let bytes = 0;
  return (kind, content) => {
    bytes += content.byteLength;
    if (bytes > frameBytes) throw violation(`the other side sent a frame larger than this link's ${frameBytes} bytes`);
    if (kind === KIND.part && content.byteLength !== CONTENT_BYTES)
      throw violation('the other side sent a piece of the wrong length');
    if (kind === KIND.part) {
      parts.push(content);
      return undefined;
    }
    const frame = parts.length === 0 ? content : join([...parts, content], bytes);
    parts = [];
    bytes = 0;
    return frame;
  };
}

function join(pieces: readonly Uint8Array[], bytes: number): Uint8Array {
  const whole = new Uint8Array(bytes);
  let at = 0;
  for (const piece of pieces) {
    whole.set(piece, at);
    at += piece.byteLength;
  }
  return whole;
}
