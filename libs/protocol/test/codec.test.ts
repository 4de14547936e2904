import { Packr } from 'msgpackr/pack';
import { describe, expect, it } from 'vitest';
import {
  LIMITS,
  MESSAGE_SCHEMAS,
  PROTOCOL_VERSION,
  ProtocolError,
  decodeMessage,
  encodeMessage,
  selectVersion,
  type Message,
  type MessageType,
} from '../src/index.js';
import { EXAMPLES } from './examples.js';

const packr = new Packr({ useRecords: false, variableMapSize: true });
const pack = (value: unknown): Uint8Array => packr.pack(value);
const raw = (...parts: (number | string | readonly number[])[]) =>
  Uint8Array.from(parts.flatMap((part) => (typeof part === 'string' ? [...Buffer.from(part)] : part)));
const types = Object.keys(MESSAGE_SCHEMAS) as MessageType[];

function refusalOf(action: () => unknown): ProtocolError {
  try {
    action();
  } catch (error) {
    if (error instanceof ProtocolError && error.remedy !== '') return error;
    throw error;
  }
  return expect.fail('was accepted');
}
const decodeRefusal = (bytes: Uint8Array) => refusalOf(() => decodeMessage(bytes));

/** Lists that say something when they are empty; the others may not be. */
const MAY_BE_EMPTY: ReadonlySet<string> = new Set([
  ...[
    'received.ranges',
    'reducer.addresses',
    'iceServers.servers',
    'linked.reducers',
    'joined.ranges',
    'partition.ranges',
    'update.ranges',
    'host.reducers',
    'peers.candidates',
    'peers.reducers',
  ],
]);
/** Fields that may be absent. */
const OPTIONAL: ReadonlySet<string> = new Set(['grant.mostNorm', 'counted.norm', 'audit.norm', 'held.squares']);
const isEmptyList = (value: unknown): boolean => Array.isArray(value) && value.length === 0;

describe('every message', () => {
  it.each(types)('%s survives the round trip', (type) => {
    expect(decodeMessage(encodeMessage(EXAMPLES[type]))).toEqual(EXAMPLES[type]);
  });

  it.each(types)('%s is refused with a missing or an extra field', (type) => {
    for (const field of Object.keys(EXAMPLES[type]).filter((name) => name !== 'type')) {
      const { [field]: _, ...rest } = EXAMPLES[type] as Record<string, unknown>;
      if (OPTIONAL.has(`${type}.${field}`)) {
        expect(decodeMessage(pack(rest))).toEqual(rest);
        continue;
      }
      const refusal = decodeRefusal(pack(rest));
      expect(refusal.code).toBe('invalid_message');
      expect(refusal.message).toBe(`${type}: field "${field}" is missing`);
    }
    expect(decodeRefusal(pack({ ...EXAMPLES[type], extra: 1 })).message).toContain('unknown field "extra"');
  });

  it.each(types)('%s is refused with a wrong value in any field, nested fields included', (type) => {
    const wrong: unknown[] = [
      null,
      true,
      [],
      {},
      [[[]]],
      { length: 3 },
      NaN,
      Infinity,
      -1,
      'x'.repeat(40_000),
      new Uint8Array(3),
    ];
    for (const path of leavesOf(EXAMPLES[type])) {
      const right = path.reduce<unknown>((at, name) => (at as Record<string, unknown>)[name], EXAMPLES[type]);
      const mayBeEmpty = MAY_BE_EMPTY.has(`${type}.${path.join('.')}`);
      const isRight = (candidate: unknown) =>
        (typeof candidate === 'boolean' && typeof right === 'boolean') || (mayBeEmpty && isEmptyList(candidate));
      for (const value of wrong.filter((candidate) => !isRight(candidate))) {
        const refusal = decodeRefusal(pack(withValue(EXAMPLES[type], path, value)));
        expect(['invalid_message', 'malformed_frame']).toContain(refusal.code);
        expect(refusal.message.length).toBeLessThan(400);
      }
    }
  });

  it('names the field and the expected value in its refusal, and never repeats the value', () => {
    const secret = 'S'.repeat(LIMITS.tokenLength + 1);
    const tooLong = decodeRefusal(pack({ ...EXAMPLES.hello, token: secret }));
    expect(tooLong.message).toBe('hello: field "token" must be <=256');
    const { config } = EXAMPLES.welcome;
    const nested = decodeRefusal(pack({ ...EXAMPLES.welcome, config: { ...config, model: { ...config.model, layers: 0 } } }));
    expect(nested.message).toBe('welcome: field "config.model.layers" must be >=1');
    const untied = decodeRefusal(pack({ ...EXAMPLES.welcome, config: { ...config, model: { ...config.model, tied: true } } }));
    expect(untied.message).toBe('welcome: field "config.model.embedding" must be as large as hidden when tied');
  });

  it('is refused by the sender too', () => {
    const wrong = { ...EXAMPLES.contribution, lossSum: Number.NaN };
    expect(refusalOf(() => encodeMessage(wrong)).message).toContain('"lossSum"');
  });
});

it('a lease of the largest number of streams fits into a message', () => {
  const streams = Array.from({ length: LIMITS.streams }, (_, i) => i);
  const lease: Message = { ...EXAMPLES.lease, leaseId: 'l'.repeat(64), streams, states: 'g'.repeat(LIMITS.streams) };
  const bytes = encodeMessage(lease);
  expect(decodeMessage(bytes)).toEqual(lease);
  expect(LIMITS.messageBytes).toBeLessThan(LIMITS.frameBytes - 16);
});

/**
 * The msgpack of a `bye` with this many unknown keys. Written by hand, because a packer needs
 * seconds for a large object.
 */
function byeWithKeys(keys: number): Uint8Array {
  const head = pack({ type: 'bye', reason: '' }).subarray(1);
  const keyBytes = 9;
  const bytes = Buffer.alloc(5 + head.length + keys * keyBytes);
  bytes[0] = 0xdf; // a map with 32 bits of length
  bytes.writeUInt32BE(keys + 2, 1);
  bytes.set(head, 5);
  for (let i = 0, at = 5 + head.length; i < keys; i++, at += keyBytes) {
    bytes[at] = 0xa7; // a text of 7 characters; the value behind it stays 0
    bytes.write(String(i).padStart(7, '0'), at + 1, 'latin1');
  }
  return bytes;
}

describe('bytes that are no message', () => {
  const deep = (type: number) => raw(...Array.from({ length: 50_000 }, () => type), 0xc0);
  it.each<[string, Uint8Array]>([
    ['nothing', raw()],
    ['a number', raw(7)],
    ['an array', pack([1, 2])],
    ['nil', raw(0xc0)],
    ['a map without a type', pack({ round: 1 })],
    ['an unknown type', pack({ type: 'shutdown' })],
    ['a type from Object.prototype', pack({ type: 'toString' })],
    ['a type that is not text', pack({ type: 3 })],
    ['bytes after the end', raw([...encodeMessage(EXAMPLES.bye)], 0xc0)],
    ['deep arrays', deep(0x91)],
    ['deep maps', deep(0x81)],
    ['an array that claims 4 billion items', raw(0xdd, 0xff, 0xff, 0xff, 0xff, 1, 2)],
    ['a map that claims 4 billion keys', raw(0xdf, 0xff, 0xff, 0xff, 0xff, 0xa1, 'a', 1)],
    ['text that claims 4 GB', raw(0xdb, 0xff, 0xff, 0xff, 0xff, 'abc')],
    ['a map with number keys', raw(0x81, 1, 2)],
    ['text that is not UTF-8', raw(0x81, 0xa4, 'type', 0xa2, 0xc3, 0x28)],
    ['a key that is not UTF-8', raw(0x81, 0xa1, 0xff, 1)],
    ['a __proto__ key', raw(0x82, 0xa4, 'type', 0xa3, 'bye', 0xa9, '__proto__', 0x81, 0xa6, 'reason', 0xa0)],
    ['binary', raw(0x81, 0xa4, 'type', 0xc4, 3, 'bye')],
    ['a timestamp', raw(0xd6, 0xff, 0, 0, 0, 0)],
    ['an extension', raw(0xc7, 1, 0x70, 0)],
    ['a record definition', raw(0xd4, 0x72, 0x40, 0x91, 0xa1, 'a', 1)],
    ['the type byte that msgpack never uses', raw(0xc1)],
    ['a bundled string', raw(0x81, 0xa4, 'type', 0xc1, 3)],
  ])('are refused: %s', (_, bytes) => {
    expect(decodeRefusal(bytes).code).toBe('malformed_frame');
    expect(({} as { reason?: string }).reason).toBeUndefined();
  });

  it('are refused by size before they are read, such as a map of a million keys', () => {
    expect(decodeRefusal(byeWithKeys(1_000_000)).code).toBe('limit_exceeded');
    expect(decodeRefusal(byeWithKeys(20_000)).code).toBe('invalid_message');
  });

  it('are refused when truncated anywhere', () => {
    for (const type of types) {
      const bytes = encodeMessage(EXAMPLES[type]);
      for (let length = 0; length < bytes.byteLength; length++) {
        expect(decodeRefusal(bytes.slice(0, length)).code).toBe('malformed_frame');
      }
    }
  });

  it('cause no error other than ProtocolError, over seeded mutations of every message', () => {
    const random = seededRandom(1609);
    let refused = 0;
    for (let trial = 0; trial < 20_000; trial++) {
      const bytes = encodeMessage(EXAMPLES[types[trial % types.length]]).slice();
      for (let flips = 1 + random(4); flips > 0; flips--) bytes[random(bytes.byteLength)] = random(256);
      const message = decodeOrUndefined(bytes);
      if (!message) refused++;
      else expect(decodeMessage(encodeMessage(message))).toEqual(message);
    }
    expect(refused).toBeGreaterThan(10_000);
  });

  it('cause no error other than ProtocolError, over seeded random bytes', () => {
    const random = seededRandom(1623);
    for (let trial = 0; trial < 20_000; trial++) {
      const bytes = Uint8Array.from({ length: random(64) }, () => random(256));
      expect(decodeOrUndefined(bytes)).toBeUndefined();
    }
  });
});

describe('selectVersion', () => {
  it('takes the version that both sides speak', () => {
    expect(selectVersion([0, PROTOCOL_VERSION, PROTOCOL_VERSION + 5])).toBe(PROTOCOL_VERSION);
  });

  it('says which side to update when there is no common version', () => {
    const older = refusalOf(() => selectVersion([0]));
    expect(older).toMatchObject({ code: 'version_mismatch', remedy: expect.stringContaining('worker') });
    expect(older.message).toMatch(new RegExp(`version 0.*speaks ${PROTOCOL_VERSION}`));
    expect(refusalOf(() => selectVersion([PROTOCOL_VERSION + 1, PROTOCOL_VERSION + 2])).remedy).toContain('coordinator');
  });
});

function decodeOrUndefined(bytes: Uint8Array): Message | undefined {
  try {
    return decodeMessage(bytes);
  } catch (error) {
    if (error instanceof ProtocolError) return undefined;
    throw error;
  }
}

it('decodes without native code of others, even where npm has installed some', () => {
  decodeMessage(encodeMessage(EXAMPLES.bye));
  const { sharedObjects } = process.report.getReport() as unknown as { readonly sharedObjects: readonly string[] };
  expect(sharedObjects.filter((file) => file.includes('msgpackr'))).toEqual([]);
});

type Path = readonly (string | number)[];

/** The paths of all values in a message except its type. */
function leavesOf(value: unknown, path: Path = []): Path[] {
  if (typeof value !== 'object' || value === null) return [path];
  const below = Object.entries(value)
    .filter(([key]) => path.length > 0 || key !== 'type')
    .flatMap(([key, inner]) => leavesOf(inner, [...path, Array.isArray(value) ? Number(key) : key]));
  return path.length === 0 ? below : [path, ...below];
}

function withValue(value: unknown, [key, ...rest]: Path, wrong: unknown): unknown {
  if (key === undefined) return wrong;
  const copy: Record<string | number, unknown> = Array.isArray(value) ? ([...value] as never) : { ...(value as object) };
  copy[key] = withValue(copy[key], rest, wrong);
  return copy;
}

/** mulberry32: whole numbers below `most`. */
function seededRandom(seed: number): (most: number) => number {
  let state = seed;
  return (most) => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return Math.floor((((t ^ (t >>> 14)) >>> 0) / 4294967296) * most);
  };
}
