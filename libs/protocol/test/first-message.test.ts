import { describe, expect, it } from 'vitest';
import {
  createChannel,
  encodeFrames,
  LIMITS,
  MESSAGE_SCHEMAS,
  PROTOCOL_VERSION,
  type FrameLink,
  type Message,
} from '../src/index.js';
import { pack, typeIn, unpack } from '../src/msgpack.js';
import { EXAMPLES } from './examples.js';

const HELLO: Message = {
  type: 'hello',
  versions: [PROTOCOL_VERSION],
  token: 't',
  name: '',
  kind: 'node',
  credited: false,
  team: '',
};

/** A channel that a stranger sends these frames to, and that only a hello may open. */
function channelFor(...frames: Uint8Array[]) {
  const link: FrameLink = {
    ...{ remote: 'stranger', bufferedBytes: 0, send: () => undefined, close: () => undefined },
    drained: () => Promise.resolve(),
    receive: () => Promise.resolve(frames.shift()!),
    closed: new Promise(() => undefined),
  };
  const first = { hello: LIMITS.firstFrameBytes };
  return createChannel(link, { accepts: ['hello', 'resync', 'contribution'], first, bodyBytes: () => 0 });
}

/** A frame of a message with this msgpack. */
function frameOf(payload: Uint8Array): Uint8Array {
  const frame = new Uint8Array(16 + payload.length);
  frame.set([1, 1]);
  frame.set(payload, 16);
  return frame;
}

/** An array of empty maps, as the field "x" of a message. */
function emptyMaps(count: number): Uint8Array {
  const bytes = new Uint8Array(8 + count).fill(0x80);
  bytes.set([0x81, 0xa1, 0x78, 0xdd]);
  new DataView(bytes.buffer).setUint32(4, count);
  return bytes;
}

describe('the first message of a stranger', () => {
  it('is read, and later ones may be longer', async () => {
    const resync: Message = { type: 'resync', reason: 'r'.repeat(400), round: 0, fromPeers: false };
    const streams = Array.from({ length: 4_000 }, (_, i) => i);
    const contribution = {
      type: 'contribution',
      runId: 'r',
      leaseId: 'l',
      round: 0,
      streams,
      tokens: 1,
      lossSum: 1,
      computeMs: 1,
    };
    const long = { ...contribution, parametersDigest: '0'.repeat(16) } as Message;
    const channel = channelFor(...encodeFrames(HELLO), ...encodeFrames(resync), ...encodeFrames(long));
    expect((await channel.receive()).message).toEqual(HELLO);
    expect((await channel.receive()).message).toEqual(resync);
    expect((await channel.receive()).message).toEqual(long);
  });

  it('is refused by its type before anything else of it is looked at', async () => {
    const broken = pack({ type: 'resync', reason: 5 });
    await expect(channelFor(frameOf(broken)).receive()).rejects.toMatchObject({ code: 'unexpected_message' });
  });

  it('is refused if it is longer than 4 KiB, whatever it says', async () => {
    const long = pack({ ...HELLO, name: 'n'.repeat(LIMITS.firstFrameBytes) });
    await expect(channelFor(frameOf(long)).receive()).rejects.toMatchObject({ code: 'limit_exceeded' });
    await expect(channelFor(frameOf(emptyMaps(100_000))).receive()).rejects.toMatchObject({ code: 'limit_exceeded' });
  });

  it('is refused if it has many small parts', async () => {
    await expect(channelFor(frameOf(emptyMaps(LIMITS.firstMessageItems + 1))).receive()).rejects.toMatchObject({
      code: 'limit_exceeded',
    });
  });
});

it('no message may have more entries than a lease of all streams', () => {
  expect(() => unpack(emptyMaps(LIMITS.messageItems + 1))).toThrow(/more than 40000 entries/);
  expect(unpack(pack({ streams: Array.from({ length: LIMITS.streams }, (_, i) => i) }))).toMatchObject({
    streams: expect.any(Array),
  });
});

it.each(Object.keys(MESSAGE_SCHEMAS) as (keyof typeof EXAMPLES)[])('the type of %s is read from its first bytes', (type) => {
  const [frame] = encodeFrames(EXAMPLES[type]);
  expect(typeIn(frame.subarray(16))).toBe(type);
});

it.each([[[]], [[0x81]], [[0x81, 0xa4, 0x74]], [[0x81, 0xa4, 0x74, 0x79, 0x70, 0x65, 0xbf, 0x41]], [[0xde, 0, 1]], [[0x90]]])(
  'no type is read from %j',
  (bytes) => expect(typeIn(Uint8Array.from(bytes))).toBeUndefined(),
);
