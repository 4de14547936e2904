/** What a machine asks STUN and TURN servers, with the vectors of RFC 5769 and servers made up for the test. */
import { createSocket, type Socket } from 'node:dgram';
import { createServer, type AddressInfo } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { placeOfIceUrl, probeIceServer, type IceAnswer } from '../src/webrtc-node/index.js';
import { messageLength, readAnswer, STUN, writeRequest } from '../src/webrtc-node/stun-message.js';

const hex = (text: string): Buffer => Buffer.from(text.replaceAll(/\s/g, ''), 'hex');

describe('a message of STUN', () => {
  it('is signed with long-term credentials as in RFC 5769, 2.4', () => {
    const request = writeRequest({
      method: STUN.binding,
      transaction: hex('78ad3433c6ad72c029da412e'),
      login: { username: 'マトリックス', credential: 'TheMatrIX', realm: 'example.org', nonce: 'f//499k954d6OL34oL9FSTvy64sA' },
    });
    expect(request.toString('hex')).toBe(
      hex(`0001 0060 2112a442 78ad3433c6ad72c029da412e
        0006 0012 e3839ee38388e383aae38383e382afe382b9 0000
        0015 001c 662f2f3439396b393534643 64f4c33346f4c39465354767936347341
        0014 000b 6578616d706c652e6f7267 00
        0008 0014 f67024656dd64a3e02b8e0712e85c9a28ca89666`).toString('hex'),
    );
  });

  it.each([
    ['192.0.2.1:32853', '0020 0008 0001 a147 e112a643'],
    ['[2001:db8:1234:5678:11:2233:4455:6677]:32853', '0020 0014 0002 a147 0113a9faa5d3f179bc25f4b5bed2b9d9'],
    ['192.0.2.1:32853', '0001 0008 0001 8055 c0000201'],
  ])('tells the address %s', (address, attribute) => {
    const body = hex(attribute);
    const head = Buffer.concat([hex('0101'), Buffer.from([0, body.length]), hex('2112a442 b7e7a701bc34d686fa87dfae')]);
    const message = Buffer.concat([head, body]);
    expect(messageLength(message)).toBe(message.length);
    expect(readAnswer(message)).toMatchObject({ method: STUN.binding, isSuccess: true, mapped: address });
  });

  it('is nothing when it is cut, has no cookie, or is a request', () => {
    const answer = hex('0101 0000 2112a442 b7e7a701bc34d686fa87dfae');
    expect(readAnswer(answer)).toBeDefined();
    expect(readAnswer(answer.subarray(0, 19))).toBeUndefined();
    expect(readAnswer(Buffer.concat([answer, hex('00')]))).toBeUndefined();
    expect(readAnswer(hex('0101 0000 2112a443 b7e7a701bc34d686fa87dfae'))).toBeUndefined();
    expect(readAnswer(hex('0001 0000 2112a442 b7e7a701bc34d686fa87dfae'))).toBeUndefined();
    // An attribute that is longer than its message.
    expect(readAnswer(hex('0101 0004 2112a442 b7e7a701bc34d686fa87dfae 00200008'))).not.toHaveProperty('mapped');
  });
});

it.each([
  ['stun:relay.example', { host: 'relay.example', port: 3478, isTurn: false, transport: 'udp' }],
  ['turn:10.0.0.1:99?transport=tcp', { host: '10.0.0.1', port: 99, isTurn: true, transport: 'tcp' }],
  ['turns:relay.example', { host: 'relay.example', port: 5349, isTurn: true, transport: 'tls' }],
  ['turns:relay.example?transport=udp', { host: 'relay.example', port: 5349, isTurn: true, transport: 'dtls' }],
  ['stun:[::1]:5', { host: '::1', port: 5, isTurn: false, transport: 'udp' }],
])('the address %s is understood', (url, place) => expect(placeOfIceUrl(url)).toEqual(place));

const closing: (() => void)[] = [];
afterEach(() => closing.splice(0).forEach((close) => close()));

/** @param answer undefined: none */
async function server(
  answer: (request: Buffer, turn: number) => Buffer | undefined,
): Promise<{ port: number; requests: Buffer[] }> {
  const requests: Buffer[] = [];
  const socket: Socket = createSocket('udp4', (request, { port, address }) => {
    requests.push(request);
    const bytes = answer(request, requests.length);
    if (bytes) socket.send(bytes, port, address);
  });
  await new Promise<void>((resolve) => socket.bind(0, '127.0.0.1', resolve));
  closing.push(() => socket.close());
  return { port: socket.address().port, requests };
}

function answerTo(request: Buffer, type: number, ...attributes: Buffer[]): Buffer {
  const body = Buffer.concat(attributes);
  const head = Buffer.alloc(4);
  head.writeUInt16BE(type, 0);
  head.writeUInt16BE(body.length, 2);
  return Buffer.concat([head, request.subarray(4, 20), body]);
}

const SEEN = hex('0001 0008 0001 8055 c0000201');
const error = (code: number): Buffer => Buffer.concat([hex('0009 0004 0000'), Buffer.from([Math.floor(code / 100), code % 100])]);
const NONCE = hex('0015 0004 6e6f6e63');
const REALM = hex('0014 0004 7265616c');

const probe = (port: number, isTurn: boolean, more: { timeoutMs?: number; signal?: AbortSignal } = {}): Promise<IceAnswer> =>
  probeIceServer(
    { host: '127.0.0.1', port, transport: 'udp', isTurn },
    { username: 'u', credential: 'c' },
    { signal: new AbortController().signal, nowMs: () => performance.now(), ...more },
  );

describe('a server that is asked', () => {
  it('tells the address, even when the first request is lost and another answer comes before', async () => {
    const { port, requests } = await server((request, turn) => {
      if (turn === 1) return undefined;
      const other = Buffer.from(request);
      other[10] ^= 1;
      return answerTo(turn === 2 ? other : request, 0x0101, SEEN);
    });
    expect(await probe(port, false)).toMatchObject({ kind: 'answered', seenAs: '192.0.2.1:32853' });
    expect(requests).toHaveLength(3);
  });

  it('is silent when it does not answer in time', async () => {
    const { port } = await server(() => undefined);
    expect(await probe(port, false, { timeoutMs: 200 })).toEqual({ kind: 'silent' });
  });

  it('is given up when the caller gives up', async () => {
    const { port } = await server(() => undefined);
    const stop = new AbortController();
    const asked = probe(port, false, { signal: stop.signal });
    stop.abort(new Error('enough'));
    await expect(asked).rejects.toThrow('enough');
  });

  it('gives a relay, also after a nonce that was too old, and gets it back', async () => {
    const relay = hex('0016 0008 0001 a147 e112a643');
    const { port, requests } = await server((request, turn) => {
      if (request.readUInt16BE(0) === STUN.refresh) return answerTo(request, 0x0104);
      const code = [401, 438][turn - 1];
      return code === undefined ? answerTo(request, 0x0103, SEEN, relay) : answerTo(request, 0x0113, error(code), NONCE, REALM);
    });
    expect(await probe(port, true)).toMatchObject({ kind: 'answered', seenAs: '192.0.2.1:32853', relay: '192.0.2.1:32853' });
    expect(requests.map((request) => request.readUInt16BE(0))).toEqual([
      STUN.allocate,
      STUN.allocate,
      STUN.allocate,
      STUN.refresh,
    ]);
    // Without a time of zero the server would keep it.
    expect(requests[3].toString('hex')).toContain('000d000400000000');
  });

  it.each([
    ['refused', 401, [401, 401]],
    ['refused', 403, [401, 403]],
    ['failed', 486, [401, 486]],
    ['failed', 438, [401, 438, 438]],
  ] as const)('has %s with %s', async (kind, code, codes) => {
    const { port, requests } = await server((request, turn) => answerTo(request, 0x0113, error(codes[turn - 1]), NONCE, REALM));
    expect(await probe(port, true)).toMatchObject({ kind, code });
    expect(requests).toHaveLength(codes.length);
  });

  it('answers over TCP in pieces, and is unreachable when it closes or is not there', async () => {
    const stream = createServer((socket) => {
      socket.once('data', (request) => {
        const answer = answerTo(request, 0x0101, SEEN);
        socket.write(answer.subarray(0, 3));
        setTimeout(() => socket.write(answer.subarray(3)), 20);
      });
    });
    await new Promise<void>((resolve) => stream.listen(0, '127.0.0.1', resolve));
    const { port } = stream.address() as AddressInfo;
    const ask = () =>
      probeIceServer(
        { host: '127.0.0.1', port, transport: 'tcp', isTurn: false },
        {},
        {
          signal: new AbortController().signal,
          nowMs: () => 0,
        },
      );
    expect(await ask()).toEqual({ kind: 'answered', ms: 0, seenAs: '192.0.2.1:32853' });
    await new Promise((resolve) => stream.close(resolve));
    expect(await ask()).toMatchObject({ kind: 'unreachable', reason: expect.stringContaining('ECONNREFUSED') });
    const nameless = { host: 'no-such-host.invalid', port, transport: 'udp', isTurn: false } as const;
    const options = { signal: new AbortController().signal, nowMs: () => 0 };
    expect(await probeIceServer(nameless, {}, options)).toMatchObject({ kind: 'unreachable' });
  });
});
