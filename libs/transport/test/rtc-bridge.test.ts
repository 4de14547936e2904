/** Links that a worker has through its page, with both ends of the bridge in this thread and a channel in between. */
import { afterEach, describe, expect, it } from 'vitest';
import { bridgeRtcLinks, serveRtcBridge, type BridgePort } from '../src/browser/index.js';
import { DEFAULT_FRAME_BYTES, tap, TransportError, type Connection } from '../src/index.js';
import { createMemoryPair } from '../src/memory.js';
import { createRtcLinks, type RtcLinks, type RtcRequest, type Signal, type Signalling } from '../src/webrtc/index.js';
import { describeTransport } from './conformance.js';
import { connectPeers, createClock, createFakeRtc, settle, type FakePeer } from './fake-rtc.js';
import { createSignallingPair } from './signalling.js';

const MIB = 1024 * 1024;
const ports: BridgePort[] = [];
afterEach(() => {
  for (const port of ports.splice(0)) port.close();
});

/** A bridge to these links. */
function build(pageLinks: RtcLinks) {
  const { port1, port2 } = new MessageChannel();
  const [pagePort, workerPort] = [port1, port2] as unknown as BridgePort[];
  ports.push(pagePort, workerPort);
  return { bridge: serveRtcBridge(pagePort, pageLinks), links: bridgeRtcLinks(workerPort), workerPort };
}

const [signalling] = createSignallingPair();
const requestOf = (given: Partial<RtcRequest> = {}): RtcRequest => ({
  ...{ remote: 'far', signalling, iceServers: [], signal: new AbortController().signal },
  ...given,
});

const restart = (generation: number): Signal => ({ type: 'restart', generation });

/** Links that open as the test says. */
const linksBy = (open: (request: RtcRequest) => Promise<Connection>): RtcLinks => ({ offer: open, answer: open });

/** A bridged link, and its other end, over a link in memory. */
async function openOverMemory(watch: (link: Connection) => Connection = (link) => link) {
  const [inner, far] = createMemoryPair();
  const built = build(linksBy(async () => watch(inner)));
  return { ...built, inner, far, near: await built.links.offer(requestOf()) };
}

/** Both ends bridged, each by its own page, over WebRTC on a clock that the test moves. */
async function openOverRtc() {
  const clock = createClock();
  const [nearRtc, farRtc] = [createFakeRtc(clock), createFakeRtc(clock)];
  const [nearSignalling, farSignalling] = createSignallingPair();
  const waits: AbortSignal[] = [];
  const { receive } = nearSignalling;
  nearSignalling.receive = (abort) => {
    waits.push(abort);
    return receive(abort);
  };
  const [atNear, atFar] = [build(createRtcLinks(nearRtc)), build(createRtcLinks(farRtc))];
  const opening = [
    atNear.links.offer(requestOf({ signalling: nearSignalling })),
    atFar.links.answer(requestOf({ signalling: farSignalling, remote: 'near' })),
  ];
  // Each side has the description of the other one.
  await expect.poll(() => [nearRtc, farRtc].every(({ peers: [peer] }) => peer?.remote.length === 1)).toBe(true);
  const [nearPeer, farPeer] = [nearRtc.peers[0], farRtc.peers[0]];
  connectPeers(nearPeer, farPeer);
  const [near, far] = await Promise.all(opening);
  return { near, far, clock, nearPeer, farPeer, atNear, waits };
}

const cut = (peer: FakePeer): void => void (peer.other = peer.channel!.other = undefined);

describeTransport('a bridged WebRTC link', async () => {
  const { near, far, clock, nearPeer, farPeer } = await openOverRtc();
  return {
    near,
    far,
    frameBytes: DEFAULT_FRAME_BYTES,
    breakLink() {
      [nearPeer, farPeer].forEach(cut);
      void clock.advance(30_000);
    },
    async dispose() {
      for (const end of [near, far]) end.close('test over');
      await expect.poll(() => clock.advance(5_000).then(() => [nearPeer.closed, farPeer.closed])).toEqual([true, true]);
      await Promise.all([near.closed, far.closed]);
    },
  };
});

describe('opening a bridged link', () => {
  it('names the other side as the page does, and passes the servers on', async () => {
    const iceServers = [{ urls: 'turn:a', username: 'u', credential: 'c' }];
    let given: unknown;
    const [inner] = createMemoryPair(['near', 'webrtc:far']);
    const { links } = build(linksBy(async (request) => ((given = request.iceServers), inner)));
    expect((await links.answer(requestOf({ iceServers }))).remote).toBe('webrtc:far');
    expect(given).toEqual(iceServers);
  });

  it('fails with the error of the page, and its remedy', async () => {
    const error = new TransportError('unreachable', 'no path to far', 'Open UDP.');
    const { links } = build(linksBy(() => Promise.reject(error)));
    const failed = await links.offer(requestOf()).catch((caught: unknown) => caught);
    expect(failed).toBeInstanceOf(TransportError);
    expect(failed).toMatchObject({ code: 'unreachable', message: 'no path to far', remedy: 'Open UDP.' });
  });

  it('fails when the page meets an error that is none of the transport', async () => {
    const { links } = build(linksBy(() => Promise.reject(new Error('a bug'))));
    await expect(links.offer(requestOf())).rejects.toMatchObject({ code: 'refused', message: expect.stringMatching(/a bug/) });
  });

  it('ends the attempt of the page when it is aborted, and begins none when it was before', async () => {
    const aborts: AbortSignal[] = [];
    const { links } = build(
      linksBy(({ signal }) => {
        aborts.push(signal);
        return new Promise((_, reject) => signal.addEventListener('abort', () => reject(new Error('aborted'))));
      }),
    );
    const controller = new AbortController();
    const opening = links.offer(requestOf({ signal: controller.signal }));
    await expect.poll(() => aborts.length).toBe(1);
    controller.abort();
    await expect(opening).rejects.toMatchObject({ code: 'aborted' });
    await expect.poll(() => aborts[0].aborted).toBe(true);
    await expect(links.offer(requestOf({ signal: controller.signal }))).rejects.toMatchObject({ code: 'aborted' });
    await settle();
    expect(aborts).toHaveLength(1);
  });

  it('closes a link that the page has opened when the worker gives up', async () => {
    const [inner, far] = createMemoryPair();
    const controller = new AbortController();
    const { links } = build(
      linksBy(async () => {
        controller.abort();
        return inner;
      }),
    );
    await expect(links.offer(requestOf({ signal: controller.signal }))).rejects.toMatchObject({ code: 'aborted' });
    expect(await far.closed).toEqual({ kind: 'clean', reason: 'the link is no longer wanted' });
  });

  it('says so when the signalling is lost on the way', async () => {
    const [near] = createSignallingPair();
    const rtc = createFakeRtc(createClock());
    const opening = build(createRtcLinks(rtc)).links.offer(requestOf({ signalling: near }));
    await expect.poll(() => near.sent.length).toBe(1);
    near.cut();
    await expect(opening).rejects.toMatchObject({
      code: 'lost',
      message: expect.stringMatching(/signalling ended: .*coordinator is gone/),
    });
    expect(rtc.peers[0].closed).toBe(true);
  });

  it('says so when the signalling takes no signals', async () => {
    const [near] = createSignallingPair();
    near.cut();
    const opening = build(createRtcLinks(createFakeRtc(createClock()))).links.offer(requestOf({ signalling: near }));
    await expect(opening).rejects.toMatchObject({ code: 'lost' });
  });

  it('carries signals both ways, and takes the next one only when the page wants it', async () => {
    const [near, far] = createSignallingPair();
    let page: Signalling | undefined;
    const { links } = build(linksBy(({ signalling: given }) => ((page = given), new Promise(() => {}))));
    const { signal } = new AbortController();
    links.offer(requestOf({ signalling: near, signal })).catch(() => {});
    await expect.poll(() => page).toBeDefined();
    page!.send(restart(1));
    expect(await far.receive(signal)).toEqual(restart(1));
    for (const generation of [2, 3]) far.send(restart(generation));
    expect(await page!.receive(signal)).toEqual(restart(2));
    expect(await near.receive(signal)).toEqual(restart(3));
  });

  it('waits for no signals after the end of the link', async () => {
    const { near, clock, waits } = await openOverRtc();
    expect(waits.at(-1)!.aborted).toBe(false);
    near.close('done');
    await clock.advance(5_000);
    await near.closed;
    expect(waits.at(-1)!.aborted).toBe(true);
  });
});

describe('an open bridged link', () => {
  it('leaves the frames of the sender as they are: many links may send the same', async () => {
    const { near, far } = await openOverMemory();
    const whole = Uint8Array.of(9, 1, 2, 9);
    const frames = [whole.subarray(1, 3), whole, whole];
    for (const frame of frames) near.send(frame);
    for (const frame of frames) expect(await far.receive()).toEqual(frame);
    expect(whole).toEqual(Uint8Array.of(9, 1, 2, 9));
  });

  it('hands out a part of a larger buffer without the rest', async () => {
    const { near, far } = await openOverMemory();
    const whole = Uint8Array.of(9, 1, 2, 9);
    far.send(whole.subarray(1, 3));
    const frame = await near.receive();
    expect([frame, frame.buffer.byteLength, whole.byteLength]).toEqual([Uint8Array.of(1, 2), 2, 4]);
  });

  it('counts what it has sent until it has left the page', async () => {
    const { near, nearPeer } = await openOverRtc();
    nearPeer.channel!.held = true;
    near.send(new Uint8Array(1000));
    near.send(new Uint8Array(500));
    await settle();
    await settle();
    expect(near.bufferedBytes).toBe(1500);
    let drained = false;
    const draining = near.drained(0).then(() => (drained = true));
    nearPeer.channel!.flush(1);
    await settle();
    expect(drained).toBe(false);
    nearPeer.channel!.flush();
    await draining;
    expect(near.bufferedBytes).toBe(0);
  });

  it('receives no more than 8 MiB ahead of its reader, and goes on when that reads', async () => {
    let receivedBytes = 0;
    const count = ({ byteLength }: Uint8Array): void => void (receivedBytes += byteLength);
    const { near, far } = await openOverMemory((link) => tap(link, { received: count }));
    const [frames, bytes] = [128, DEFAULT_FRAME_BYTES];
    for (let i = 0; i < frames; i++) far.send(new Uint8Array(bytes).fill(i));
    await expect.poll(() => receivedBytes).toBe(8 * MIB);
    for (let i = 0; i < 3; i++) await settle();
    expect(receivedBytes).toBe(8 * MIB);
    for (let i = 0; i < frames; i++) expect((await near.receive())[0]).toBe(i);
    expect(receivedBytes).toBe(frames * bytes);
  });

  it('ends although nobody reads, and what came before can still be read', async () => {
    const { near, far } = await openOverMemory();
    const frames = 64;
    for (let i = 0; i < frames; i++) far.send(new Uint8Array(DEFAULT_FRAME_BYTES).fill(i));
    far.close('done');
    expect(await near.closed).toEqual({ kind: 'clean', reason: 'done' });
    for (let i = 0; i < frames; i++) expect((await near.receive())[0]).toBe(i);
    await expect(near.receive()).rejects.toMatchObject({ code: 'closed' });
  });

  it('closes when the page cannot carry its frames', async () => {
    const { near, far } = await openOverMemory((link) => ({
      ...link,
      send() {
        throw new Error('a bug');
      },
    }));
    near.send(Uint8Array.of(1));
    expect(await near.closed).toEqual({ kind: 'clean', reason: 'a bug' });
    expect(await far.closed).toEqual({ kind: 'clean', reason: 'a bug' });
  });
});

describe('a page that ends its bridge', () => {
  it('closes links and attempts of a worker that no longer answers', async () => {
    const { far, atNear, clock, nearPeer } = await openOverRtc();
    const pending = createFakeRtc(clock);
    atNear.workerPort.close();
    atNear.bridge.end('the trainer was ended');
    expect(await far.closed).toEqual({ kind: 'clean', reason: 'the trainer was ended' });
    await clock.advance(5_000);
    expect(nearPeer.closed).toBe(true);
    const { bridge, links } = build(createRtcLinks(pending));
    links.offer(requestOf()).catch(() => {});
    await expect.poll(() => pending.peers.length).toBe(1);
    bridge.end('the trainer was ended');
    await expect.poll(() => pending.peers[0].closed).toBe(true);
  });

  it('closes a link that opens at the same time', async () => {
    const [inner, far] = createMemoryPair();
    const { bridge, links } = build(
      linksBy(async () => {
        await Promise.resolve();
        bridge.end('the trainer was ended');
        return inner;
      }),
    );
    await expect(links.offer(requestOf())).rejects.toMatchObject({ code: 'closed' });
    expect(await far.closed).toMatchObject({ kind: 'clean' });
  });

  it('ends the links, the attempts and the plans of a worker that still runs', async () => {
    const [inner] = createMemoryPair();
    const { bridge, links } = build({ offer: async () => inner, answer: () => new Promise(() => {}) });
    const near = await links.offer(requestOf());
    const waiting = expect(links.answer(requestOf())).rejects.toMatchObject({ code: 'closed' });
    await settle();
    bridge.end('direct links were turned off');
    bridge.end('again');
    expect(await near.closed).toEqual({ kind: 'clean', reason: 'direct links were turned off' });
    await waiting;
    await expect(links.offer(requestOf())).rejects.toMatchObject({
      code: 'closed',
      message: expect.stringMatching(/direct links were turned off/),
    });
  });
});
