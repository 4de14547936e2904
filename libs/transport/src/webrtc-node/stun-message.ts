/** Messages of STUN (RFC 8489) and TURN (RFC 8656), as far as it takes to ask a server whether it serves this machine. */
import { createHash, createHmac } from 'node:crypto';

export const STUN = { binding: 0x0001, allocate: 0x0003, refresh: 0x0004 } as const;
const SUCCESS = 0x0100;
const FAILURE = 0x0110;

const ATTRIBUTE = {
  mappedAddress: 0x0001,
  username: 0x0006,
  messageIntegrity: 0x0008,
  errorCode: 0x0009,
  lifetime: 0x000d,
  realm: 0x0014,
  nonce: 0x0015,
  xorRelayedAddress: 0x0016,
  requestedTransport: 0x0019,
  xorMappedAddress: 0x0020,
} as const;

const COOKIE = 0x2112a442;
const HEADER_BYTES = 20;
const INTEGRITY_BYTES = 24;
const UDP = 17;
/** Bytes that make a request unlike any other. */
export const TRANSACTION_BYTES = 12;

/** What a request holds besides its kind. */
export interface StunRequest {
  readonly method: number;
  readonly transaction: Uint8Array;
  /** Seconds. 0 gives a relayed address back. */
  readonly lifetimeS?: number;
  readonly login?: StunLogin;
}

export interface StunLogin {
  readonly username: string;
  readonly credential: string;
  /** Both from the server. */
  readonly realm: string;
  readonly nonce: string;
}

export interface StunAnswer {
  readonly method: number;
  readonly isSuccess: boolean;
  readonly transaction: Uint8Array;
  /** "203.0.113.7:54321": from where the server sees this machine. */
  readonly mapped?: string;
  readonly relayed?: string;
  readonly error?: { readonly code: number; readonly reason: string };
  readonly realm?: string;
  readonly nonce?: string;
}

export function writeRequest({ method, transaction, lifetimeS, login }: StunRequest): Buffer {
  const attributes: Buffer[] = [];
  if (method === STUN.allocate) attributes.push(attribute(ATTRIBUTE.requestedTransport, Buffer.from([UDP, 0, 0, 0])));
  if (lifetimeS !== undefined) attributes.push(attribute(ATTRIBUTE.lifetime, uint32(lifetimeS)));
  if (login) {
    attributes.push(attribute(ATTRIBUTE.username, Buffer.from(login.username)));
    attributes.push(attribute(ATTRIBUTE.nonce, Buffer.from(login.nonce)), attribute(ATTRIBUTE.realm, Buffer.from(login.realm)));
  }
  const body = Buffer.concat(attributes);
  if (!login) return Buffer.concat([header(method, body.length, transaction), body]);
  // The length covers the signature, which covers all before it.
  const signed = Buffer.concat([header(method, body.length + INTEGRITY_BYTES, transaction), body]);
  const key = createHash('md5').update(`${login.username}:${login.realm}:${login.credential}`).digest();
  return Buffer.concat([signed, attribute(ATTRIBUTE.messageIntegrity, createHmac('sha1', key).update(signed).digest())]);
}

/** The length of the message at the beginning of `bytes`; undefined as long as that is not known. */
export function messageLength(bytes: Buffer): number | undefined {
  return bytes.length < 4 ? undefined : HEADER_BYTES + bytes.readUInt16BE(2);
}

/** Undefined: it is not an answer of STUN. */
export function readAnswer(bytes: Buffer): StunAnswer | undefined {
  if (bytes.length < HEADER_BYTES || bytes.readUInt32BE(4) !== COOKIE || messageLength(bytes) !== bytes.length) return undefined;
  const type = bytes.readUInt16BE(0);
  const [kind, method] = [type & FAILURE, type & ~FAILURE];
  if (kind !== SUCCESS && kind !== FAILURE) return undefined;
  const attributes = readAttributes(bytes);
  const transaction = bytes.subarray(8, HEADER_BYTES);
  const mapped = attributes.get(ATTRIBUTE.xorMappedAddress) ?? attributes.get(ATTRIBUTE.mappedAddress);
  const isXor = attributes.has(ATTRIBUTE.xorMappedAddress);
  return {
    method,
    isSuccess: kind === SUCCESS,
    transaction,
    ...present('mapped', readAddress(mapped, isXor, bytes)),
    ...present('relayed', readAddress(attributes.get(ATTRIBUTE.xorRelayedAddress), true, bytes)),
    ...present('error', readError(attributes.get(ATTRIBUTE.errorCode))),
    ...present('realm', attributes.get(ATTRIBUTE.realm)?.toString()),
    ...present('nonce', attributes.get(ATTRIBUTE.nonce)?.toString()),
  };
}

function present<K extends string, T>(key: K, value: T | undefined): { readonly [P in K]?: T } {
  return value === undefined ? {} : ({ [key]: value } as { [P in K]: T });
}

function header(method: number, length: number, transaction: Uint8Array): Buffer {
  const bytes = Buffer.alloc(HEADER_BYTES);
  bytes.writeUInt16BE(method, 0);
  bytes.writeUInt16BE(length, 2);
  bytes.writeUInt32BE(COOKIE, 4);
  bytes.set(transaction, 8);
  return bytes;
}

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

/** Padded to four bytes, which the length does not count. */
function attribute(type: number, value: Buffer): Buffer {
  const bytes = Buffer.alloc(4 + padded(value.length));
  bytes.writeUInt16BE(type, 0);
  bytes.writeUInt16BE(value.length, 2);
  bytes.set(value, 4);
  return bytes;
}

function padded(length: number): number {
  return Math.ceil(length / 4) * 4;
}

/** The first of each type counts. */
function readAttributes(bytes: Buffer): ReadonlyMap<number, Buffer> {
  const found = new Map<number, Buffer>();
  for (let at = HEADER_BYTES; at + 4 <= bytes.length;) {
    const [type, length] = [bytes.readUInt16BE(at), bytes.readUInt16BE(at + 2)];
    if (at + 4 + length > bytes.length) break;
    if (!found.has(type)) found.set(type, bytes.subarray(at + 4, at + 4 + length));
    at += 4 + padded(length);
  }
  return found;
}

const FAMILY_BYTES: Readonly<Record<number, number>> = { 1: 4, 2: 16 };

/** @param message the one that holds it, whose first bytes hide the address from routers that would rewrite it */
function readAddress(value: Buffer | undefined, isXor: boolean, message: Buffer): string | undefined {
  const length = value && FAMILY_BYTES[value[1]];
  if (value === undefined || length === undefined || value.length < 4 + length) return undefined;
  const mask = isXor ? message.subarray(4, HEADER_BYTES) : Buffer.alloc(HEADER_BYTES);
  const port = value.readUInt16BE(2) ^ mask.readUInt16BE(0);
  const address = value.subarray(4, 4 + length).map((byte, i) => byte ^ mask[i]);
  if (length === 4) return `${address.join('.')}:${port}`;
  const groups = Array.from({ length: 8 }, (_, i) => ((address[2 * i] << 8) | address[2 * i + 1]).toString(16));
  return `[${groups.join(':')}]:${port}`;
}

function readError(value: Buffer | undefined): StunAnswer['error'] {
  if (value === undefined || value.length < 4) return undefined;
  return { code: (value[2] & 7) * 100 + value[3], reason: value.subarray(4).toString() };
}
