/** The WebRTC transport on peers and a clock that the test controls. */
import { getEventListeners } from 'node:events';
import { describe, expect, it } from 'vitest';
import { LIMITS } from '@troupe/config/limits';
import { DEFAULT_FRAME_BYTES } from '../src/index.js';
import { answerRtc, offerRtc, type RtcOptions, type Signal } from '../src/webrtc/index.js';
import { connectPeers, createClock, createFakeRtc, FakeChannel, SDP, settle, type FakePeer } from './fake-rtc.js';
import { createSignallingPair } from './signalling.js';

const CANDIDATE = 'candidate:1 1 udp 2113937151 192.168.1.7 50000 typ host';
const candidate = (text: string, generation = 1): Signal => ({
  type: 'candidate',
  generation,
  candidate: text,
  sdpMid: '0',
  sdpMLineIndex: 0,
});
const [PART, LAST, HELLO, CLOSE, CLOSED] = [0, 1, 2, 4, 5];
const greeting = Uint8Array.of(HELLO, 1, 1);

type Settings = Partial<Pick<RtcOptions, 'iceServers' | 'iceTransportPolicy' | 'signal' | 'frameBytes' | 'unreadBytes'>> & {
  readonly restartsIce?: boolean;
};

/** One real side, as the offerer or the answerer, and the signalling of the other side, which the test plays. */
function openOne(
  role: 'offerer' | 'answerer',
  { restartsIce = true, ...options }: Settings = {},
  onReceive: (abort: AbortSignal) => void = () => {},
) {
  const clock = createClock();
  const rtc = createFakeRtc(clock, { restartsIce });
  const [signalling, other] = createSignallingPair();
  const { receive } = signalling;
  signalling.receive = (abort) => {
    onReceive(abort);
    return receive(abort);
  };
  const open = role === 'offerer' ? offerRtc : answerRtc;
  const opening = open({ rtc, signalling, remote: 'worker-3', ...options });
  // Tests look at it later.
  opening.catch(() => {});
  return { clock, opening, signalling, other, peer: rtc.peers[0] };
}

/** Both sides, connected. */
async function openBoth(options: Settings = {}, farOptions: Settings = options) {
  const clock = createClock();
  const [nearRtc, farRtc] = [options, farOptions].map(({ restartsIce = true }) => createFakeRtc(clock, { restartsIce }));
  const [nearSignalling, farSignalling] = createSignallingPair();
  const near = offerRtc({ rtc: nearRtc, signalling: nearSignalling, remote: 'far', ...options });
  const far = answerRtc({ rtc: farRtc, signalling: farSignalling, remote: 'near', ...farOptions });
  await settle();
  const [nearPeer, farPeer] = [nearRtc.peers[0], farRtc.peers[0]];
  connectPeers(nearPeer, farPeer);
  return { clock, nearSignalling, farSignalling, nearPeer, farPeer, near: await near, far: await far };
}

/** An offerer's link whose other end is a channel that the test plays. */
async function openAgainst(options: Settings = {}, onReceive?: (abort: AbortSignal) => void) {
  const one = openOne('offerer', options, onReceive);
  await settle();
  one.other.send({ type: 'answer', generation: 1, sdp: SDP });
  await settle();
  const channel = one.peer.channel!;
  const wire = new FakeChannel('troupe');
  [wire.other, channel.other] = [channel, wire];
  wire.readyState = 'open';
  one.peer.change('connected');
  channel.open();
  const send = async (...messages: (Uint8Array | string)[]): Promise<void> => {
    for (const data of messages) channel.onmessage?.({ data: typeof data === 'string' ? data : data.slice().buffer });
    await settle();
  };
  return { ...one, channel, wire, send };
}

async function greeted(options: Settings = {}, onReceive?: (abort: AbortSignal) => void) {
  const one = await openAgainst(options, onReceive);
  await one.send(greeting);
  return { ...one, link: await one.opening };
}

/** Opens the channel at the side that answers, as the other side would. */
function answerGreeted(peer: FakePeer): void {
  const channel = new FakeChannel('troupe');
  peer.ondatachannel?.({ channel });
  channel.open();
  channel.onmessage?.({ data: greeting.slice().buffer });
}

/** Neither messages nor a close arrive. */
function cutSilently(...peers: FakePeer[]): void {
  for (const peer of peers) peer.other = peer.channel!.other = undefined;
}

const lost = (reason: RegExp) => ({ kind: 'lost', reason: expect.stringMatching(reason) });

describe('opening a link', () => {
  it('resolves on both sides once both have spoken, and then needs no timer but the heartbeat', async () => {
    const { near, far, clock } = await openBoth();
    near.send(Uint8Array.of(5));
    expect(await far.receive()).toEqual(Uint8Array.of(5));
    expect(clock.waiting).toBe(2);
  });

  it.each(['offerer', 'answerer'] as const)('as the %s it times out when the other side does not signal', async (role) => {
    const { clock, opening, peer } = openOne(role);
    await clock.advance(15_000);
    await expect(opening).rejects.toMatchObject({ code: 'timeout', message: expect.stringMatching(/worker-3 .* 15 s/) });
    expect(peer.closed).toBe(true);
    expect(clock.waiting).toBe(0);
  });

  it('is unreachable when there is no path, and names the remedy', async () => {
    const { clock, opening, other } = openOne('offerer');
    other.send({ type: 'answer', generation: 1, sdp: SDP });
    await clock.advance(15_000);
    await expect(opening).rejects.toMatchObject({
      code: 'unreachable',
      remedy: expect.stringMatching(/TURN server: see deploy/),
    });
  });

  it('does not wait for the deadline when the platform gives up', async () => {
    const { opening, other, peer } = openOne('offerer');
    other.send({ type: 'answer', generation: 1, sdp: SDP });
    await settle();
    peer.change('failed');
    await expect(opening).rejects.toMatchObject({ code: 'unreachable' });
  });

  it('times out when the channel never opens, and when it opens and says nothing', async () => {
    for (const open of [false, true]) {
      const { clock, opening, other, peer } = openOne('offerer');
      other.send({ type: 'answer', generation: 1, sdp: SDP });
      await settle();
      peer.change('connected');
      if (open) peer.channel!.open();
      await clock.advance(15_000);
      await expect(opening).rejects.toMatchObject({ code: 'timeout', message: expect.stringMatching(/was reached/) });
      expect(peer.closed).toBe(true);
    }
  });

  it('ends when aborted, before and after it has begun', async () => {
    const controller = new AbortController();
    const { opening, peer, clock } = openOne('offerer', { signal: controller.signal });
    await settle();
    controller.abort();
    await expect(opening).rejects.toMatchObject({ code: 'aborted' });
    expect([peer.closed, clock.waiting]).toEqual([true, 0]);
    await expect(openOne('offerer', { signal: controller.signal }).opening).rejects.toMatchObject({ code: 'aborted' });
  });

  it('leaves nothing behind: no listener while the link is open, and no wait for signals after its end', async () => {
    const { signal } = new AbortController();
    const aborts: AbortSignal[] = [];
    const { link, signalling, clock } = await greeted({ signal }, (abort) => aborts.push(abort));
    expect(getEventListeners(signal, 'abort')).toEqual([]);
    expect(aborts.at(-1)!.aborted).toBe(false);
    link.close('done');
    await clock.advance(5_000);
    expect(aborts.at(-1)!.aborted).toBe(true);
    expect(signalling.sent.map(({ type }) => type)).toEqual(['offer']);
  });

  it.each(['offerer', 'answerer'] as const)('as the %s it says so when the signalling is lost on the way', async (role) => {
    const { opening, signalling, peer } = openOne(role);
    await settle();
    signalling.cut();
    await expect(opening).rejects.toMatchObject({
      code: 'lost',
      message: expect.stringMatching(/signalling ended.*coordinator/),
    });
    expect(peer.closed).toBe(true);
  });

  it('says so when the link ends before it is ready', async () => {
    const { opening, channel } = await openAgainst();
    channel.close();
    await expect(opening).rejects.toMatchObject({ code: 'lost', message: expect.stringMatching(/before it was ready/) });
  });

  it('says so when the two sides do not agree on encryption', async () => {
    const { opening, peer } = openOne('offerer');
    peer.iceConnectionState = 'connected';
    peer.oniceconnectionstatechange?.();
    peer.connectionState = 'failed';
    peer.onconnectionstatechange?.();
    await expect(opening).rejects.toMatchObject({ code: 'refused', message: expect.stringMatching(/encrypted/) });
  });

  it('refuses a second data channel, one of another name, and one at the side that makes it', async () => {
    const link = await openBoth();
    link.farPeer.ondatachannel?.({ channel: new FakeChannel('troupe') });
    expect(await link.far.closed).toEqual(lost(/a data channel too many/));
    for (const role of ['offerer', 'answerer'] as const) {
      const { opening, peer } = openOne(role);
      peer.ondatachannel?.({ channel: new FakeChannel('files') });
      await expect(opening).rejects.toMatchObject({ code: 'refused' });
      expect(peer.closed).toBe(true);
    }
  });
});

describe('TURN servers', () => {
  const iceServers = [{ urls: 'turn:turn.example.org', username: '1:w', credential: 'c' }];

  it('are passed to the platform', () => {
    const { peer } = openOne('offerer', { iceServers, iceTransportPolicy: 'relay' });
    expect(peer.config).toEqual({ iceServers, iceTransportPolicy: 'relay' });
  });

  it('are named when they refuse the credentials', async () => {
    const { opening, peer } = openOne('offerer', { iceServers, iceTransportPolicy: 'relay' });
    peer.onicecandidateerror?.({ errorCode: 401, url: 'turn:turn.example.org' });
    peer.iceGatheringState = 'complete';
    peer.onicegatheringstatechange?.();
    await expect(opening).rejects.toMatchObject({
      code: 'unreachable',
      message: expect.stringMatching(/turn:turn.example.org refuses the credentials/),
      remedy: expect.stringMatching(/clocks/),
    });
  });

  it('that give no address end the wait when no other path is allowed', async () => {
    const { opening, peer } = openOne('answerer', { iceServers, iceTransportPolicy: 'relay' });
    peer.iceGatheringState = 'complete';
    peer.onicegatheringstatechange?.();
    await expect(opening).rejects.toMatchObject({ code: 'unreachable', message: expect.stringMatching(/no TURN server gave/) });
  });

  it('that cannot be reached are not said to refuse', async () => {
    const { opening, peer } = openOne('offerer', { iceServers, iceTransportPolicy: 'relay' });
    peer.onicecandidateerror?.({ errorCode: 701, url: 'turn:turn.example.org' });
    peer.iceGatheringState = 'complete';
    peer.onicegatheringstatechange?.();
    await expect(opening).rejects.toMatchObject({ message: expect.stringMatching(/out of reach over UDP/) });
  });

  it.each([
    ['other paths are allowed', 'all', 'host'],
    ['one gives an address', 'relay', 'relay'],
  ] as const)('do not end the wait when %s', async (_, iceTransportPolicy, type) => {
    const { clock, opening, peer } = openOne('offerer', { iceServers, iceTransportPolicy });
    await settle();
    peer.localDescription = { type: 'offer', sdp: `${SDP}a=${CANDIDATE.replace('host', type)}\r\n` };
    peer.iceGatheringState = 'complete';
    peer.onicegatheringstatechange?.();
    await clock.advance(15_000);
    await expect(opening).rejects.toMatchObject({ code: 'timeout' });
  });

  it('that give an address but no path are said to be closed', async () => {
    const { opening, other, peer, clock } = openOne('offerer', { iceServers });
    other.send({ type: 'answer', generation: 1, sdp: SDP });
    await settle();
    peer.localDescription = { type: 'offer', sdp: `${SDP}a=${CANDIDATE.replace('host', 'relay')}\r\n` };
    await clock.advance(15_000);
    await expect(opening).rejects.toMatchObject({ code: 'unreachable', remedy: expect.stringMatching(/denied-peer-ip/) });
  });
});

describe('signals', () => {
  const sdp = (...lines: string[]): string => `${SDP}${lines.join('\r\n')}\r\n`;
  const answer = (text: string): unknown => ({ type: 'answer', generation: 1, sdp: text });
  const of = (text: string): unknown => candidate(text);

  it.each<[string, unknown, RegExp]>([
    ['nothing', null, /not an object/],
    ['an unknown type', { type: 'rollback' }, /unknown type/],
    ['no generation', { type: 'answer', sdp: SDP }, /generation/],
    ['SDP over the limit', answer(sdp('a=x'.padEnd(LIMITS.signalBytes, 'x'))), /more than 16384 bytes/],
    ['SDP that is not text', answer(sdp('a=\u0000')), /not SDP/],
    ['SDP with a media section', answer(sdp('m=video 9 UDP/TLS/RTP/SAVPF 96')), /more than a data channel/],
    ['SDP without a fingerprint', answer(SDP.replace(/a=fingerprint.*\r\n/, '')), /incomplete/],
    ['SDP with a malformed candidate', answer(sdp('a=candidate:what')), /malformed candidate/],
    ['SDP that the platform refuses', answer(sdp('a=unusable')), /cannot be used: no such thing/],
    ['a candidate that is not text', { ...candidate(''), candidate: 7 }, /without text/],
    ['a malformed candidate', of('candidate:1 1 udp x'), /malformed/],
    ['a candidate of a thousand characters', of(CANDIDATE.padEnd(1000, ' x')), /more than 512/],
    ['a candidate with a line break', of(`${CANDIDATE}\r\na=setup:active`), /malformed/],
    ['a candidate with a port over 65535', of(CANDIDATE.replace('50000', '65536')), /malformed/],
    ['a candidate with a host name', of(CANDIDATE.replace('192.168.1.7', 'intranet.example.org')), /host name intranet/],
    ['a candidate with a wrong address', of(CANDIDATE.replace('192.168.1.7', '192.168.1.700')), /host name/],
    ['a candidate of another section', { ...candidate(CANDIDATE), sdpMLineIndex: 3 }, /another section/],
    ['an offer to the side that offers', { type: 'offer', generation: 1, sdp: SDP }, /has to answer/],
    ['an answer to an offer that was not made', { type: 'answer', generation: 2, sdp: SDP }, /without an offer/],
    ['a request to restart what is not connected', { type: 'restart', generation: 1 }, /before its answer/],
  ])('with %s are refused', async (_, signal, message) => {
    const { opening, other, peer } = openOne('offerer');
    await settle();
    other.inject(signal);
    await expect(opening).rejects.toMatchObject({
      code: 'refused',
      message: expect.stringMatching(message),
      remedy: expect.stringMatching(/version/),
    });
    expect(peer.closed).toBe(true);
  });

  it.each<[string, unknown[]]>([
    ['an answer', [{ type: 'answer', generation: 1, sdp: SDP }]],
    ['a request to restart', [{ type: 'restart', generation: 1 }]],
    ['a second offer of the same generation', Array(2).fill({ type: 'offer', generation: 1, sdp: SDP })],
  ])('refuses %s as the answerer', async (_, signals) => {
    const { opening, other } = openOne('answerer');
    for (const signal of signals) other.inject(signal);
    await expect(opening).rejects.toMatchObject({ code: 'refused' });
  });

  it('refuses a second answer', async () => {
    const { opening, other } = openOne('offerer');
    for (let i = 0; i < 2; i++) other.inject({ type: 'answer', generation: 1, sdp: SDP });
    await expect(opening).rejects.toMatchObject({ code: 'refused' });
  });

  it('holds candidates back until the description they belong to is in place', async () => {
    const { other, peer } = openOne('answerer');
    other.send(candidate(CANDIDATE));
    await settle();
    expect(peer.candidates).toEqual([]);
    other.send({ type: 'offer', generation: 1, sdp: SDP });
    await settle();
    expect(peer.candidates).toEqual([CANDIDATE]);
  });

  it('ignores candidates that only the platform cannot use, mDNS names and the end of the candidates', async () => {
    const { opening, other, peer } = openOne('answerer');
    other.send({ type: 'offer', generation: 1, sdp: SDP });
    const hidden = CANDIDATE.replace('192.168.1.7', '7c3f04a2-1d5e-4a52-9d1c-0e51b1f2a3c4.local');
    for (const text of [`${CANDIDATE} unusable`, hidden, '', CANDIDATE.replace('192.168.1.7', '2001:db8::7')])
      other.send(candidate(text));
    await settle();
    expect(peer.candidates).toHaveLength(3);
    answerGreeted(peer);
    await expect(opening).resolves.toMatchObject({ remote: 'webrtc:worker-3' });
  });

  it.each([
    ['candidates', candidate(CANDIDATE)],
    ['candidates of offers to come', candidate(CANDIDATE, 9)],
  ])('refuses a flood of %s', async (_, signal) => {
    const { opening, other } = openOne('answerer');
    for (let i = 0; i <= LIMITS.signalsPerLink; i++) other.inject(signal);
    await expect(opening).rejects.toMatchObject({ code: 'refused', message: expect.stringMatching(/256 signals/) });
  });

  it('refuses a flood of offers on an open link, which is lost', async () => {
    const { opening, other, peer } = openOne('answerer');
    other.send({ type: 'offer', generation: 1, sdp: SDP });
    await settle();
    answerGreeted(peer);
    const link = await opening;
    for (let i = 2; i <= LIMITS.signalsPerLink + 1; i++) other.send({ type: 'offer', generation: i, sdp: SDP });
    expect(await link.closed).toEqual(lost(/256 signals/));
    expect(peer.remote).toHaveLength(LIMITS.signalsPerLink);
  });

  it('may come in full number again after each connection, but do not pile up', async () => {
    const { opening, other, peer } = openOne('answerer');
    other.send({ type: 'offer', generation: 1, sdp: SDP });
    await settle();
    answerGreeted(peer);
    const link = await opening;
    const flood = async (generation: number): Promise<void> => {
      peer.change('connected');
      for (let i = 0; i < LIMITS.signalsPerLink - 1; i++) other.inject(candidate(CANDIDATE, generation));
      await settle();
    };
    for (let i = 0; i < 3; i++) await flood(1);
    expect(peer.candidates).toHaveLength(3 * (LIMITS.signalsPerLink - 1));
    for (let i = 0; i < 2; i++) await flood(2);
    expect(await link.closed).toEqual(lost(/too many candidates before/));
  });

  it('of a later offer wait for it, and not for the one before', async () => {
    const { other, peer } = openOne('answerer');
    const later = CANDIDATE.replace('192.168.1.7', '192.168.1.8');
    for (const signal of [candidate(later, 2), candidate(CANDIDATE)]) other.send(signal);
    other.send({ type: 'offer', generation: 1, sdp: SDP });
    await settle();
    expect(peer.candidates).toEqual([CANDIDATE]);
    other.send({ type: 'offer', generation: 2, sdp: SDP });
    await settle();
    expect(peer.candidates).toEqual([CANDIDATE, later]);
  });

  it('that break the rules end an open link', async () => {
    const { near, far, nearSignalling } = await openBoth();
    nearSignalling.inject({ type: 'answer', generation: 1, sdp: SDP });
    expect(await far.closed).toEqual(lost(/"answer"/));
    expect(await near.closed).toEqual(lost(/broke off/));
  });
});

describe('messages', () => {
  const piece = (kind: number, bytes: number): Uint8Array => new Uint8Array(1 + bytes).fill(kind, 0, 1);
  const FULL = 64 * 1024 - 1;

  it.each<[string, (Uint8Array | string)[], RegExp]>([
    ['text', ['hello'], /text/],
    ['an empty message', [new Uint8Array(0)], /empty message/],
    ['a message over 64 KiB', [piece(LAST, FULL + 1)], /more than 65536/],
    ['an unknown kind', [Uint8Array.of(77)], /unknown kind \(77\)/],
    ['a second greeting', [greeting], /twice/],
    ['a short piece with more to come', [piece(PART, 10)], /wrong length/],
    ['pieces of a frame over the limit', Array<Uint8Array>(5).fill(piece(PART, FULL)), /larger than this link's 262144/],
    [
      'a last piece over the limit',
      [...Array<Uint8Array>(4).fill(piece(PART, FULL)), piece(LAST, 5)],
      /larger than this link's 262144/,
    ],
  ])('with %s end the link', async (_, messages, reason) => {
    const { link, peer, send } = await greeted();
    await send(...messages);
    expect(await link.closed).toEqual(lost(reason));
    expect(peer.closed).toBe(true);
  });

  it.each<[string, Uint8Array, RegExp]>([
    ['a frame', Uint8Array.of(LAST, 1), /did not introduce/],
    ['another version', Uint8Array.of(HELLO, 2, 0), /another version/],
    ['half a greeting', Uint8Array.of(HELLO, 1), /another version/],
  ])('that begin with %s refuse the link', async (_, first, message) => {
    const { opening, send } = await openAgainst();
    await send(first);
    await expect(opening).rejects.toMatchObject({ message: expect.stringMatching(message) });
  });

  it('are 64 KiB at most, and as few as possible', async () => {
    const { link, channel } = await greeted();
    const sent = channel.messages.length;
    link.send(new Uint8Array(DEFAULT_FRAME_BYTES));
    await settle();
    link.send(new Uint8Array(FULL));
    const sizes = channel.messages.slice(sent).map((message) => [message[0], message.byteLength]);
    expect(sizes).toEqual([...Array<[number, number]>(4).fill([PART, FULL + 1]), [LAST, 5], [LAST, FULL + 1]]);
  });

  it('of a frame that waits leave before the close, whose reason the other side learns', async () => {
    const { near, far, clock } = await openBoth();
    const frame = new Uint8Array(DEFAULT_FRAME_BYTES).map((_, i) => i * 7);
    for (let i = 0; i < 4; i++) near.send(frame);
    near.close('done');
    for (let i = 0; i < 4; i++) expect(Buffer.compare(await far.receive(), frame)).toBe(0);
    expect(await far.closed).toEqual({ kind: 'clean', reason: 'done' });
    expect(await near.closed).toEqual({ kind: 'clean', reason: 'done' });
    expect(clock.waiting).toBe(0);
  });

  it('that wait are dropped when the other side closes, whose close is answered', async () => {
    const { link, channel, send, clock } = await greeted();
    channel.held = true;
    for (let i = 0; i < 10; i++) link.send(new Uint8Array(DEFAULT_FRAME_BYTES));
    await send(Uint8Array.of(CLOSE, 120));
    expect(link.bufferedBytes).toBe(256 * 1024);
    channel.flush();
    expect(channel.messages.at(-1)).toEqual(Uint8Array.of(CLOSED));
    channel.flush();
    expect(link.bufferedBytes).toBe(0);
    await clock.advance(5_000);
    expect(await link.closed).toEqual({ kind: 'clean', reason: 'x' });
  });

  it('say once that the link is closed, with a reason that is cut', async () => {
    const { link, channel } = await greeted();
    link.close('y'.repeat(2_000));
    link.close('again');
    const closes = channel.messages.filter(([kind]) => kind === CLOSE);
    expect(closes).toEqual([Uint8Array.of(CLOSE, ...Buffer.from('y'.repeat(LIMITS.reasonLength)))]);
  });

  it('cut a reason that is too long', async () => {
    const { link, send, clock } = await greeted();
    await send(Uint8Array.of(CLOSE, ...Buffer.from('x'.repeat(2_000))));
    link.close('too late');
    await clock.advance(5_000);
    expect(await link.closed).toEqual({ kind: 'clean', reason: 'x'.repeat(LIMITS.reasonLength) });
  });

  it('that nobody takes end the link', async () => {
    const { link, send } = await greeted({ unreadBytes: 1_000 });
    await send(piece(LAST, 600), piece(LAST, 600));
    expect(await link.closed).toEqual(lost(/more came in/));
    expect((await link.receive()).byteLength).toBe(600);
  });
});

describe('the buffer of the channel', () => {
  it('is filled to 256 KiB and no further; the rest waits and is counted', async () => {
    const { link, channel } = await greeted();
    channel.held = true;
    for (let i = 0; i < 100; i++) link.send(new Uint8Array(DEFAULT_FRAME_BYTES));
    expect(channel.mostBuffered).toBe(256 * 1024);
    expect(link.bufferedBytes).toBeGreaterThanOrEqual(100 * DEFAULT_FRAME_BYTES);
    let drained = false;
    const waiting = link.drained(0).then(() => (drained = true));
    while (link.bufferedBytes > 0) {
      await settle();
      expect(drained).toBe(false);
      channel.flush(1);
    }
    await waiting;
    expect(channel.mostBuffered).toBe(256 * 1024);
    expect(channel.messages.filter(([kind]) => kind === LAST)).toHaveLength(100);
  });

  it('is filled again although its thread passed the threshold before that was set', async () => {
    const { link, channel } = await greeted();
    channel.held = true;
    let threshold = 0;
    // The buffer empties, without an event, in the moment in which the threshold is set.
    Object.defineProperty(channel, 'bufferedAmountLowThreshold', {
      get: () => threshold,
      set: (bytes: number) => {
        if (threshold === 0 && bytes > 0) channel.bufferedAmount = 0;
        threshold = bytes;
      },
    });
    for (let i = 0; i < 2; i++) link.send(new Uint8Array(DEFAULT_FRAME_BYTES));
    expect(channel.messages.filter(([kind]) => kind === LAST)).toHaveLength(2);
  });

  it('that takes no message ends the link', async () => {
    const { link, channel } = await greeted();
    channel.send = () => {
      throw new Error('the queue is full');
    };
    link.send(Uint8Array.of(1));
    expect(await link.closed).toEqual(lost(/the queue is full/));
  });
});

describe('silence', () => {
  it('loses a link after 20 to 25 s, on both sides', async () => {
    const { near, far, clock, nearPeer, farPeer } = await openBoth();
    cutSilently(nearPeer, farPeer);
    await clock.advance(19_000);
    near.send(Uint8Array.of(1));
    await clock.advance(6_000);
    expect(await near.closed).toEqual(lost(/no sign of life for 20 s/));
    expect(await far.closed).toEqual(lost(/no sign of life for 20 s/));
    expect(clock.waiting).toBe(0);
  });

  it('never befalls a link that is whole', async () => {
    const { near, far, clock } = await openBoth();
    await clock.advance(120_000);
    near.send(Uint8Array.of(1));
    expect(await far.receive()).toEqual(Uint8Array.of(1));
  });

  it('of a peer that takes nothing ends a close', async () => {
    const { link, channel, clock, peer } = await greeted();
    channel.held = true;
    link.close('leaving');
    await clock.advance(5_000);
    expect(await link.closed).toEqual({ kind: 'clean', reason: 'leaving' });
    expect([peer.closed, clock.waiting]).toEqual([true, 0]);
  });

  it('does not end a close while a slow peer takes what was sent', async () => {
    const { near, far, clock, nearPeer } = await openBoth();
    nearPeer.channel!.held = true;
    for (let i = 0; i < 4; i++) near.send(new Uint8Array(DEFAULT_FRAME_BYTES));
    near.close('leaving');
    for (let i = 0; i < 30; i++) {
      await clock.advance(4_000);
      nearPeer.channel!.flush(1);
    }
    for (let i = 0; i < 4; i++) expect((await far.receive()).byteLength).toBe(DEFAULT_FRAME_BYTES);
    expect(await far.closed).toEqual({ kind: 'clean', reason: 'leaving' });
  });
});

describe('a path that breaks', () => {
  const offers = (signals: readonly Signal[]): number => signals.filter(({ type }) => type === 'offer').length;
  const breakPath = async (peer: FakePeer, state = 'disconnected'): Promise<void> => {
    peer.change(state);
    await settle();
  };

  it('is replaced by a restart that the offerer begins, and the link goes on', async () => {
    const { near, far, nearPeer, farPeer, nearSignalling, farSignalling } = await openBoth();
    await breakPath(nearPeer);
    expect(nearPeer.restarts).toBe(1);
    expect(nearSignalling.sent.at(-1)).toMatchObject({ type: 'offer', generation: 2 });
    expect(farSignalling.sent.at(-1)).toMatchObject({ type: 'answer', generation: 2 });
    for (const peer of [nearPeer, farPeer]) peer.change('connected');
    near.send(Uint8Array.of(1));
    expect(await far.receive()).toEqual(Uint8Array.of(1));
  });

  it('that only the answerer notices is replaced too', async () => {
    const { farPeer, nearPeer, farSignalling } = await openBoth();
    await breakPath(farPeer, 'failed');
    expect(farSignalling.sent.map(({ type }) => type)).toContain('restart');
    expect(nearPeer.restarts).toBe(1);
  });

  it('is restarted once when both sides notice, and again when that does not help', async () => {
    const { nearPeer, farPeer, nearSignalling } = await openBoth();
    for (const peer of [nearPeer, farPeer]) peer.change('disconnected');
    await settle();
    expect(offers(nearSignalling.sent)).toBe(2);
    await breakPath(nearPeer, 'failed');
    expect(offers(nearSignalling.sent)).toBe(3);
  });

  it('is not looked for again while the answer of the other side is due', async () => {
    const { peer, signalling, other } = await greeted();
    for (const state of ['disconnected', 'failed', 'disconnected']) await breakPath(peer, state);
    expect(offers(signalling.sent)).toBe(2);
    other.send({ type: 'answer', generation: 2, sdp: SDP });
    other.send({ type: 'restart', generation: 1 });
    await settle();
    expect(offers(signalling.sent)).toBe(2);
    other.send({ type: 'restart', generation: 2 });
    await settle();
    expect(offers(signalling.sent)).toBe(3);
  });

  it('counts as a sign of life when it is found again', async () => {
    const { near, nearPeer, farPeer, clock } = await openBoth();
    cutSilently(nearPeer, farPeer);
    await clock.advance(24_000);
    nearPeer.change('connected');
    await clock.advance(19_000);
    expect(await Promise.race([near.closed, settle()])).toBe(undefined);
    await clock.advance(6_000);
    expect(await near.closed).toEqual(lost(/no sign of life/));
  });

  it('ends the link when the platform closes', async () => {
    const { near, nearPeer } = await openBoth();
    nearPeer.change('closed');
    expect(await near.closed).toEqual(lost(/broke off/));
  });

  it('is waited for until the silence ends the link', async () => {
    const { near, nearPeer, farPeer, clock } = await openBoth();
    cutSilently(nearPeer, farPeer);
    await breakPath(nearPeer);
    await breakPath(nearPeer, 'failed');
    await clock.advance(19_000);
    expect(await Promise.race([near.closed, settle()])).toBe(undefined);
    await clock.advance(6_000);
    expect(await near.closed).toEqual(lost(/no sign of life/));
  });

  it.each([
    ['this side', { restartsIce: false }, {}],
    ['the other side', {}, { restartsIce: false }],
  ])('cannot be replaced when %s has no restart', async (_, nearOptions, farOptions) => {
    const { near, nearPeer, nearSignalling } = await openBoth(nearOptions, farOptions);
    await breakPath(nearPeer);
    expect(offers(nearSignalling.sent)).toBe(1);
    expect(await Promise.race([near.closed, settle()])).toBe(undefined);
    await breakPath(nearPeer, 'failed');
    expect(await near.closed).toEqual(lost(/path to the other side is gone/));
  });

  it('cannot be replaced without signalling, which a link that is whole does not need', async () => {
    const { near, far, nearPeer, nearSignalling } = await openBoth();
    nearSignalling.cut();
    await settle();
    near.send(Uint8Array.of(1));
    expect(await far.receive()).toEqual(Uint8Array.of(1));
    await breakPath(nearPeer, 'failed');
    expect(await near.closed).toEqual(lost(/path to the other side is gone/));
  });

  it('ignores what belongs to an offer that is no longer the latest', async () => {
    const { near, nearPeer, farSignalling } = await openBoth();
    await breakPath(nearPeer);
    farSignalling.inject({ type: 'answer', generation: 1, sdp: SDP });
    farSignalling.inject(candidate(CANDIDATE, 1));
    await settle();
    expect(nearPeer.candidates).toEqual([]);
    expect(await Promise.race([near.closed, settle()])).toBe(undefined);
  });
});
