/**
 * The part of msgpack that messages use: maps with text keys, arrays, text, numbers, booleans and
 * nil. Bytes with anything else are refused before the decoder sees them, so a peer cannot make it
 * build, run or allocate more.
 */
import { LIMITS } from '@troupe/config/limits';
import type * as Msgpackr from 'msgpackr';
// Not 'msgpackr', which in Node loads a native decoder of text if one is installed: bytes from strangers meet no C++ here.
import * as packing from 'msgpackr/pack';
import * as unpacking from 'msgpackr/unpack';
import { ProtocolError } from './errors.js';

// The declarations of these two modules lead nowhere under Node's way to resolve them.
const { Packr } = packing as unknown as Pick<typeof Msgpackr, 'Packr'>;
const { Unpackr } = unpacking as unknown as Pick<typeof Msgpackr, 'Unpackr'>;
/** The deepest message, `welcome`, has depth 3. */
const DEPTH = 8;
// With records, msgpackr would compile code at run time, which a strict content security policy
// forbids.
const PLAIN = { useRecords: false, mapsAsObjects: true, moreTypes: false, int64AsType: 'number' } as const;
const packr = new Packr({ ...PLAIN, variableMapSize: true });
const unpackr = new Unpackr(PLAIN);
const utf8 = new TextDecoder('utf-8', { fatal: true });

export function malformed(what: string, options?: ErrorOptions): ProtocolError {
  return new ProtocolError(
    'malformed_frame',
    what,
    'Check that the other side is a Troupe process of the same version.',
    options,
  );
}

export function pack(value: object): Uint8Array {
  return packr.pack(value) as Uint8Array;
}

/**
 * @param mostItems entries that all maps and arrays may have together
 * @throws ProtocolError `malformed_frame`, `limit_exceeded`
 */
export function unpack(bytes: Uint8Array, mostItems: number = LIMITS.messageItems): unknown {
  checkPlain(bytes, mostItems);
  try {
    return unpackr.unpack(bytes);
  } catch (error) {
    throw malformed('bytes that msgpack cannot read', { cause: error });
  }
}

/** Built in their thousands, small values cost far more time and memory than their bytes. */
function tooManyItems(most: number): ProtocolError {
  const message = `a message with more than ${most} entries in its maps and arrays`;
  return new ProtocolError('limit_exceeded', message, 'Run the same version of Troupe on both sides.');
}

const TYPE_KEY = new TextEncoder().encode('type');

/**
 * The field `type` of a packed message, if it comes first and is short, as in all that we send. Nothing else is looked at.
 * @returns undefined if it does not come first
 */
export function typeIn(bytes: Uint8Array): string | undefined {
  const [map] = bytes;
  const at = map === 0xde ? 3 : 1;
  if (!((map >= 0x80 && map <= 0x8f) || map === 0xde)) return undefined;
  if (bytes[at] !== 0xa0 + TYPE_KEY.length || !TYPE_KEY.every((byte, i) => bytes[at + 1 + i] === byte)) return undefined;
  const from = at + 2 + TYPE_KEY.length;
  const length = bytes[from - 1] - 0xa0;
  return length >= 0 && length < 32 && from + length <= bytes.byteLength
    ? String.fromCharCode(...bytes.subarray(from, from + length))
    : undefined;
}

/** Number of bytes after the type byte of a number. */
const NUMBER_BYTES: Readonly<Record<number, number>> = {
  0xca: 4, // float32
  0xcb: 8, // float64
  0xcc: 1, // uint8 ... uint64
  0xcd: 2,
  0xce: 4,
  0xcf: 8,
  0xd0: 1, // int8 ... int64
  0xd1: 2,
  0xd2: 4,
  0xd3: 8,
};

/**
 * Checks one value without building it. No length may exceed the bytes that are left, so the
 * decoder never over-allocates.
 */
function checkPlain(bytes: Uint8Array, mostItems: number): void {
  let itemsLeft = mostItems;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let at = 0;
  const skip = (count: number): number => {
    if (count > bytes.byteLength - at) throw malformed('a truncated msgpack value');
    at += count;
    return at - count;
  };
  /** A big-endian length of 1, 2 or 4 bytes. */
  const length = (size: number): number => {
    const from = skip(size);
    return size === 1 ? view.getUint8(from) : size === 2 ? view.getUint16(from) : view.getUint32(from);
  };
  const text = (count: number): string => {
    const from = skip(count);
    try {
      return utf8.decode(bytes.subarray(from, at));
    } catch (error) {
      throw malformed('text that is not UTF-8', { cause: error });
    }
  };
  const textLength = (type: number): number | undefined => {
    if (type >= 0xa0 && type <= 0xbf) return type - 0xa0;
    return type >= 0xd9 && type <= 0xdb ? length(1 << (type - 0xd9)) : undefined;
  };
  const key = () => {
    const count = textLength(length(1));
    if (count === undefined) throw malformed('a map key that is not text');
    if (text(count) === '__proto__') throw malformed('a map key "__proto__"');
  };
  const items = (count: number, depth: number, isMap: boolean) => {
    if (depth >= DEPTH) throw malformed(`msgpack nested deeper than ${DEPTH}`);
    if (count > bytes.byteLength - at) throw malformed('a msgpack array or map longer than its bytes');
    if ((itemsLeft -= count) < 0) throw tooManyItems(mostItems);
    for (let i = 0; i < count; i++) {
      if (isMap) key();
      value(depth + 1);
    }
  };
  const value = (depth: number): void => {
    const type = length(1);
    if (type <= 0x7f || type >= 0xe0 || type === 0xc0 || type === 0xc2 || type === 0xc3) return;
    if (type <= 0x8f) return items(type - 0x80, depth, true);
    if (type <= 0x9f) return items(type - 0x90, depth, false);
    if (type >= 0xdc) return items(length(type % 2 === 0 ? 2 : 4), depth, type >= 0xde);
    const count = textLength(type);
    if (count !== undefined) return void text(count);
    const numberBytes = NUMBER_BYTES[type];
    if (numberBytes === undefined) throw malformed(`msgpack type 0x${type.toString(16)}, which no message uses`);
    skip(numberBytes);
  };
  value(0);
  if (at < bytes.byteLength) throw malformed('bytes after the msgpack value');
}
