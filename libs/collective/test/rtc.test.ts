/** Workers that sum for each other over WebRTC, whose signals the service passes on. */
import { setMaxListeners } from 'node:events';
import { createChannel, LIMITS, PROTOCOL_VERSION, type Channel, type Message, type MessageType } from '@troupe/protocol';
import type { Signalling } from '@troupe/transport/webrtc';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { aMoment, ALL, expected, isMessage, Network } from './network.js';
import { PeerRounds, RudePeer } from './peer-rounds.js';
import { RtcExchange } from './rtc-exchange.js';
import { soon } from './rounds.js';

// As in the processes that run services.
setMaxListeners(0);

let network: Network;
let run: PeerRounds;
let exchange: RtcExchange;

beforeEach(() => {
  network = new Network(0);
  run = new PeerRounds(network);
  exchange = new RtcExchange();
});
afterEach(async () => {
  expect(network.failures).toEqual([]);
  await network.stop();
});

interface Means {
  /** Addresses at which it sums for others; none: it does not. */
  readonly at?: readonly string[];
  /** Whether it opens WebSockets to others. */
  readonly direct?: boolean;
}

/** Worker k has WebRTC. */
function joinWithRtc(k: number, { at = ['rtc:'], direct = false }: Means = {}): Promise<void> {
  const [name, rtc] = [`w${k}`, exchange.of(`w${k}`)];
  const peer = at.length > 0 ? network.listen(name, [...at], rtc) : undefined;
  return run.joinBy(k, network.collective(name, direct, peer, rtc));
}

async function begin(...means: readonly Means[]): Promise<void> {
  await run.beginWatched();
  for (const k of ALL) await joinWithRtc(k, means[k]);
}

/** Names of the places that send an update to this client from now on, but for those over WebRTC. */
function sendersTo(client: string): Set<string> {
  const senders = new Set<string>();
  network.onSent = (from, to, frame) => {
    if (to === client && isMessage(frame, 'updateRange')) senders.add(from);
  };
  return senders;
}

const linksOf = (k: number): number => run.peers.get(`w${k}`)?.linked ?? 0;

it.each([[[0]], [[0, 1]], [[0, 1, 2]]])('workers %j sum for all, with the bits of the star', async (peers) => {
  await begin(...ALL.map((k) => (peers.includes(k) ? {} : { at: [] })));
  const updates = await expected(4);
  await run.first(...peers);
  await aMoment();
  const senders = sendersTo('w2');
  for (const round of [1, 2, 3]) expect(await run.round(round)).toEqual(updates[round]);
  expect([...senders].filter((name) => name !== 'of w2')).toEqual([]);
  expect(exchange.links).toHaveLength(peers.length * 2);
  for (const k of peers) expect(linksOf(k)).toBe(3);
});

it('links over WebRTC and WebSockets serve one round', async () => {
  await begin({ at: ['of w0'], direct: true }, { direct: true }, { at: [] });
  const updates = await expected(3);
  await run.first(0, 1);
  await aMoment();
  for (const round of [1, 2]) expect(await run.round(round)).toEqual(updates[round]);
  // Worker 2 has no WebSockets, so the service passes on what it has for worker 0.
  expect([linksOf(0), linksOf(1)]).toEqual([2, 3]);
});

it('a worker takes the next address when one does not lead to the other side', async () => {
  network.blocked.add('w1 of w0');
  await begin({ at: ['of w0', 'rtc:'] }, { at: [], direct: true }, { at: [], direct: true });
  await run.first(0);
  await vi.waitUntil(() => exchange.links.some(({ what }) => what === 'w1 offers w0'), 5_000);
  await aMoment();
  // Links are counted once a round.
  for (const round of [1, 2]) await run.round(round);
  expect(linksOf(0)).toBe(3);
  expect(exchange.links.map(({ what }) => what)).toEqual(['w1 offers w0']);
});

it('both sides get servers for their path, with credentials of their own', async () => {
  await begin({}, { at: [] }, { at: [] });
  await run.first(0);
  const usersOf = (what: string) =>
    exchange.requests
      .filter((each) => each.what === what)
      .flatMap(({ iceServers }) => iceServers.map(({ username }) => username));
  expect(usersOf('w1 offers w0')).toEqual(['w1']);
  expect(usersOf('w0 answers w1')).toEqual(['w0']);
});

it('an address without WebRTC at this side leads nowhere, and the service passes everything on', async () => {
  await run.beginWatched();
  await joinWithRtc(0);
  for (const k of [1, 2]) await run.joinBy(k, network.collective(`w${k}`, true));
  const updates = await expected(3);
  await run.first(0);
  for (const round of [1, 2]) expect(await run.round(round)).toEqual(updates[round]);
  expect(exchange.requests).toEqual([]);
});

describe('signals that are lost', () => {
  it.each(['offer of w1 to w0', 'answer of w0 to w1'])('(%s) cost the link, and another is tried', async (signal) => {
    exchange.lost.add(signal);
    await begin({}, { at: [] }, { at: [] });
    const updates = await expected(5);
    await run.first(0);
    for (const round of [1, 2]) expect(await run.round(round)).toEqual(updates[round]);
    expect(linksOf(0)).toBe(2);
    exchange.lost.clear();
    await vi.waitUntil(() => exchange.links.some(({ what }) => what === 'w1 offers w0'), 5_000);
    await aMoment();
    for (const round of [3, 4]) expect(await run.round(round)).toEqual(updates[round]);
    expect(linksOf(0)).toBe(3);
  });
});

it('a link that breaks off is opened again, and what it carried goes through the service', async () => {
  await begin({}, { at: [] }, { at: [] });
  const updates = await expected(3);
  await run.first(0);
  await aMoment();
  run.open(1);
  for (const k of ALL) run.contribute(1, k);
  exchange.links.find(({ what }) => what === 'w1 offers w0')!.near.breakLink('the path is gone');
  expect(await run.updates(1)).toEqual(updates[1]);
  expect(await run.round(2)).toEqual(updates[2]);
  await vi.waitUntil(() => exchange.links.filter(({ what }) => what === 'w1 offers w0').length === 2, 5_000);
});

it('the signalling of a link lasts as long as the link, on both sides', async () => {
  await begin({}, { at: [] }, { at: [] });
  await run.first(0);
  await aMoment();
  const { near } = exchange.links.find(({ what }) => what === 'w1 offers w0')!;
  const find = (what: string): Signalling => exchange.requests.find((each) => each.what === what)!.signalling;
  const [one, other] = [find('w1 offers w0'), find('w0 answers w1')];
  for (const [from, to] of [
    [one, other],
    [other, one],
  ]) {
    from.send({ type: 'restart', generation: 1 });
    expect(await to.receive(soon())).toEqual({ type: 'restart', generation: 1 });
  }
  near.close('no longer needed');
  await aMoment();
  for (const each of [one, other]) {
    expect(() => each.send({ type: 'restart', generation: 1 })).toThrow('has ended');
    await expect(each.receive(soon())).rejects.toMatchObject({ code: 'lost' });
  }
});

describe('a worker that misuses signals', () => {
  /** Worker w9, for which the test speaks. */
  async function joinRudely(): Promise<Channel> {
    run.host.admit('w9', 'ticket 9');
    const channel: Channel = createChannel(await network.connect('w9', 'service'), {
      accepts: ['joined', 'reducer', 'iceServers', 'signal', 'refuse'] satisfies MessageType[],
      bodyBytes: () => 0,
    });
    channel.send({ type: 'join', versions: [PROTOCOL_VERSION], runId: 'run-1', workerId: 'w9', ticket: 'ticket 9' });
    await until(channel, 'joined');
    return channel;
  }

  async function until<K extends MessageType>(channel: Channel, type: K): Promise<Message> {
    for (;;) {
      const { message } = await channel.receive(soon());
      if (message.type === type) return message;
    }
  }

  const offer = (link: number): Message => ({
    ...({ type: 'signal', peer: 'w0', link } as const),
    signal: JSON.stringify({ type: 'offer', generation: 1, sdp: 'v=0 none' }),
  });
  const answersTo = (worker: string): number => exchange.requests.filter(({ what }) => what === `w0 answers ${worker}`).length;

  it('to one that is not there, or that it was not introduced to, reaches nobody', async () => {
    await begin({}, { at: [] }, { at: [] });
    await aMoment();
    const rude = await joinRudely();
    rude.send(offer(0));
    rude.send({ type: 'signal', peer: 'nobody', link: 0, signal: '{}' });
    await aMoment();
    expect(answersTo('w9')).toBe(0);
    await run.first(0);
  });

  it('by beginning links without end has one for each introduction, and no more than its budget is passed on', async () => {
    await begin({}, { at: [] }, { at: [] });
    await run.first(0);
    const rude = await joinRudely();
    await until(rude, 'reducer');
    let passed = 0;
    network.onSent = (from, client, frame) => {
      if (from === 'service' && client === 'w0' && isMessage(frame, 'signal')) passed++;
    };
    for (let link = 0; link < 2 * LIMITS.signalsPerWorker; link++) {
      rude.send(offer(link));
      if (link % 200 === 0) await aMoment();
    }
    await aMoment();
    expect(passed).toBe(LIMITS.signalsPerWorker);
    expect(answersTo('w9')).toBe(1);
    const updates = await expected(2);
    expect(await run.round(1)).toEqual(updates[1]);
  });

  it('with signals that are none, or of links that are over, harms its own links only', async () => {
    await begin({}, { at: [] }, { at: [] });
    await run.first(0);
    const rude = await joinRudely();
    await until(rude, 'reducer');
    rude.send({ type: 'signal', peer: 'w0', link: 5, signal: 'no JSON' });
    await aMoment();
    rude.send(offer(4));
    for (let i = 0; i <= LIMITS.signalsPerLink; i++) rude.send({ type: 'signal', peer: 'w0', link: 5, signal: '{}' });
    await aMoment();
    expect(answersTo('w9')).toBeGreaterThan(0);
    const updates = await expected(2);
    expect(await run.round(1)).toEqual(updates[1]);
  });

  it('by what it makes a peer answer costs no other worker its link', async () => {
    await begin({}, { at: [] }, { at: [] });
    await run.first(0);
    const rude = await joinRudely();
    await until(rude, 'reducer');
    rude.send(offer(0));
    await vi.waitUntil(() => answersTo('w9') === 1, 5_000);
    const { signalling } = exchange.requests.find(({ what }) => what === 'w0 answers w9')!;
    for (let i = 0; i < 2 * LIMITS.signalsPerWorker; i++) signalling.send({ type: 'restart', generation: i + 1 });
    exchange.links.find(({ what }) => what === 'w1 offers w0')!.near.breakLink('the path is gone');
    await vi.waitUntil(() => exchange.links.filter(({ what }) => what === 'w1 offers w0').length === 2, 5_000);
  });

  it('as a peer, by signals to workers that never called it, is not heard', async () => {
    await run.beginWatched();
    for (const k of ALL) await joinWithRtc(k, { at: [] });
    const rude = await RudePeer.connect(run, ['rtc:']);
    await rude.until('assign');
    rude.send({ type: 'assigned', version: PROTOCOL_VERSION });
    for (const k of ALL) rude.send({ type: 'signal', peer: `w${k}`, link: 0, signal: '{"type":"offer"}' });
    rude.send({ type: 'signal', peer: 'nobody', link: 0, signal: '{}' });
    await aMoment();
    expect(exchange.requests).toEqual([]);
    const updates = await expected(1);
    expect(await run.round(0)).toEqual(updates[0]);
  });
});
