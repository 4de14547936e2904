/**
 * Frames. Little-endian, with a 16-byte header so that the payload stays aligned:
 *
 *     u8 kind | u8 frame version | u16 0 | u32 transfer | u64 number | payload
 *
 * kind 1, message: number = bytes of the body that follows, payload = the message in msgpack.
 * kind 2, chunk: number = offset of the chunk in the body, payload = body bytes, never empty.
 */
import { encodeMessage } from './codec.js';
import { ProtocolError } from './errors.js';
import { LIMITS, type Limits } from '@troupe/config/limits';
import type { Message } from './messages.js';
import { malformed } from './msgpack.js';

const MESSAGE = 1;
const CHUNK = 2;
const FRAME_VERSION = 1;
export const HEADER_BYTES = 16;

/**
 * A channel numbers its own transfers below this, and shared transfers start here, so their numbers
 * never collide.
 */
export const SHARED_TRANSFERS = 2 ** 31;

export type Body = Uint8Array | readonly Uint8Array[];

export interface Frame {
  readonly kind: 'message' | 'chunk';
  readonly transfer: number;
  /** Bytes of the body (message), or offset in the body (chunk). */
  readonly number: number;
  readonly payload: Uint8Array;
}

let sharedTransfers = 0;

/**
 * The frames of one message, to be sent in order. Encode once, then send to many channels with
 * `Channel.sendEncoded`.
 * @param body one block of bytes, or several that are sent as one; copied
 * @throws ProtocolError `invalid_message` or `limit_exceeded`
 */
export function encodeFrames(message: Message, body: Body = [], limits: Limits = LIMITS): Uint8Array[] {
  return encodeTransfer(nextSharedTransfer(), message, body, limits);
}

function nextSharedTransfer(): number {
  const transfer = SHARED_TRANSFERS + sharedTransfers;
  sharedTransfers = (sharedTransfers + 1) % SHARED_TRANSFERS;
  return transfer;
}

/**
 * A message whose body leaves in pieces, as they become ready. Send `head` first, then every chunk, in
 * order and to the last byte of the body; the same frames may go to many channels.
 */
export interface OpenTransfer {
  readonly head: Uint8Array;
  /** The next `bytes` of the body: write them to `payload`, then send `frame`. */
  chunk(bytes: number): { readonly frame: Uint8Array; readonly payload: Uint8Array };
}

/** @throws ProtocolError `invalid_message` or `limit_exceeded` */
export function openTransfer(message: Message, bodyBytes: number, limits: Limits = LIMITS): OpenTransfer {
  const transfer = nextSharedTransfer();
  let offset = 0;
  return {
    head: encodeHead(transfer, message, bodyBytes, limits),
    chunk(bytes) {
      const frame = newFrame(CHUNK, transfer, offset, bytes);
      offset += bytes;
      return { frame, payload: frame.subarray(HEADER_BYTES) };
    },
  };
}

function encodeHead(transfer: number, message: Message, bodyBytes: number, limits: Limits): Uint8Array {
  if (bodyBytes > limits.bodyBytes) throw bodyTooLarge(message.type, bodyBytes, limits);
  const packed = encodeMessage(message, limits);
  const frame = newFrame(MESSAGE, transfer, bodyBytes, packed.byteLength);
  frame.set(packed, HEADER_BYTES);
  return frame;
}

/** Like `encodeFrames`, with a transfer number from the caller. */
export function encodeTransfer(transfer: number, message: Message, body: Body, limits: Limits): Uint8Array[] {
  const parts = body instanceof Uint8Array ? [body] : body;
  const bodyBytes = parts.reduce((sum, part) => sum + part.byteLength, 0);
  const head = encodeHead(transfer, message, bodyBytes, limits);
  return [head, ...encodeChunks(transfer, parts, bodyBytes, Math.min(limits.chunkBytes, limits.frameBytes - HEADER_BYTES))];
}

function encodeChunks(transfer: number, parts: readonly Uint8Array[], bodyBytes: number, chunkBytes: number): Uint8Array[] {
  const frames: Uint8Array[] = [];
  for (let offset = 0; offset < bodyBytes; offset += chunkBytes) {
    frames.push(newFrame(CHUNK, transfer, offset, Math.min(chunkBytes, bodyBytes - offset)));
  }
  let position = 0;
  for (const part of parts) {
    for (let from = 0; from < part.byteLength;) {
      const at = position % chunkBytes;
      const count = Math.min(part.byteLength - from, chunkBytes - at);
      frames[(position - at) / chunkBytes].set(part.subarray(from, from + count), HEADER_BYTES + at);
      from += count;
      position += count;
    }
  }
  return frames;
}

function newFrame(kind: number, transfer: number, number: number, payloadBytes: number): Uint8Array {
  const frame = new Uint8Array(HEADER_BYTES + payloadBytes);
  const header = new DataView(frame.buffer);
  header.setUint8(0, kind);
  header.setUint8(1, FRAME_VERSION);
  header.setUint32(4, transfer, true);
  header.setUint32(8, number % 2 ** 32, true);
  header.setUint32(12, Math.floor(number / 2 ** 32), true);
  return frame;
}

/**
 * @throws ProtocolError `malformed_frame`; `limit_exceeded`; `version_mismatch` for an unknown
 * frame version
 */
export function decodeFrame(frame: Uint8Array, limits: Limits): Frame {
  if (frame.byteLength > limits.frameBytes) {
    const message = `a frame of ${frame.byteLength} bytes is over the limit of ${limits.frameBytes}`;
    throw new ProtocolError('limit_exceeded', message, 'Run the same version of Troupe on both sides.');
  }
  if (frame.byteLength < HEADER_BYTES) throw malformed(`a frame of ${frame.byteLength} bytes, shorter than its header`);
  const header = new DataView(frame.buffer, frame.byteOffset, frame.byteLength);
  const kind = header.getUint8(0);
  if (kind !== MESSAGE && kind !== CHUNK) throw malformed(`a frame of the unknown kind ${kind}`);
  const version = header.getUint8(1);
  if (version !== FRAME_VERSION) {
    const message = `the other side writes frames of version ${version}, this side reads ${FRAME_VERSION}`;
    throw new ProtocolError(
      'version_mismatch',
      message,
      `Update Troupe on ${version < FRAME_VERSION ? 'the other' : 'this'} side.`,
    );
  }
  if (header.getUint16(2, true) !== 0) throw malformed('a frame whose reserved bytes are not zero');
  if (kind === CHUNK && frame.byteLength === HEADER_BYTES) throw malformed('an empty chunk');
  return {
    kind: kind === MESSAGE ? 'message' : 'chunk',
    transfer: header.getUint32(4, true),
    number: header.getUint32(8, true) + header.getUint32(12, true) * 2 ** 32,
    payload: frame.subarray(HEADER_BYTES),
  };
}

export function bodyTooLarge(type: string, bodyBytes: number, limits: Limits): ProtocolError {
  const message = `${type}: a body of ${bodyBytes} bytes is over the limit of ${limits.bodyBytes}`;
  return new ProtocolError('limit_exceeded', message, 'Train a smaller model, or lease fewer streams at once.');
}
