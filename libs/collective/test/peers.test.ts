/** Workers that sum for the others: the bits are those of the star, whoever is lost, stalls or sends nonsense. */
import { setMaxListeners } from 'node:events';
import { createChannel, LIMITS, PROTOCOL_VERSION, type Message } from '@troupe/protocol';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { createRangeLayout, type CollectiveHost, type HostEvent, type ReducePeer } from '../src/index.js';
import { aMoment, ALL, expected, isMessage, Listener, Network, Rounds, TENSORS } from './network.js';
import { SEED, soon } from './rounds.js';

// As in the processes that run services.
setMaxListeners(0);

/** A run whose three workers sum for each other from round 1 on. */
class PeerRounds extends Rounds {
  readonly peers = new Map<string, ReducePeer>();

  async beginListening(listening: readonly number[] = ALL): Promise<void> {
    await this.beginAlone();
    this.host = this.#watched(this.host);
    for (const k of ALL) await this.joinAs(k, listening.includes(k));
  }

  async joinAs(k: number, listens: boolean): Promise<void> {
    const [workerId, ticket] = [`w${k}`, `ticket ${k}`];
    this.host.admit(workerId, ticket);
    const collective = this.network.collective(workerId, true, listens ? this.network.listen(workerId) : undefined);
    const entry = { runId: 'run-1', workerId, ticket, address: 'service', signal: soon() };
    const deadline = (ms: number): AbortSignal => AbortSignal.timeout(Math.min(ms, 400));
    this.workers[k] = new Listener(await collective.join({ ...TENSORS, ...entry, seed: SEED, deadline }));
  }

  /** Notes what the service says of peers, and returns the rest. */
  #watched(host: CollectiveHost): CollectiveHost {
    const next = async (signal?: AbortSignal): Promise<HostEvent> => {
      for (;;) {
        const event = await host.receive(signal);
        if (event.kind !== 'peer') return event;
        this.peers.set(event.workerId, event);
      }
    };
    return {
      receive: next,
      admit: (workerId, ticket) => host.admit(workerId, ticket),
      dismiss: (workerId, reason) => host.dismiss(workerId, reason),
      subscribe: (workerId, wanted) => host.subscribe(workerId, wanted),
      usePeers: (choice) => host.usePeers(choice),
      openRound: (order) => host.openRound(order),
      grant: (grant) => host.grant(grant),
      close: (reason) => host.close(reason),
    };
  }

  /** Like a process that is killed, but for the links of its worker to the service and to others. */
  killPeer(k: number): void {
    this.network.kill(`of w${k}`);
    this.breakOffer(k);
  }

  /** The link over which worker k sums for the service. */
  breakOffer(k: number): void {
    const links = [...this.network.places.get('service')!.links].filter(({ remote }) => remote === `w${k}`);
    // The first is that of its contributions.
    links.at(-1)!.breakLink('cable');
  }

  use(...workers: readonly number[]): void {
    const names = workers.map((k) => `w${k}`);
    this.host.usePeers({ candidates: names, reducers: names });
  }

  /** Round 0, in which all offers and links come about. */
  async first(...workers: readonly number[]): Promise<void> {
    await aMoment();
    this.use(...workers);
    await aMoment();
    await this.round(0);
  }
}

let network: Network;
let run: PeerRounds;

beforeEach(() => {
  network = new Network(0);
  run = new PeerRounds(network);
});
afterEach(async () => {
  expect(network.failures).toEqual([]);
  await network.stop();
});

/** Names of the places that send an update to this client from now on. */
function sendersTo(client: string): Set<string> {
  const senders = new Set<string>();
  network.onSent = (from, to, frame) => {
    if (to === client && isMessage(frame, 'updateRange')) senders.add(from);
  };
  return senders;
}

it.each([[[0]], [[0, 1]], [[0, 1, 2]]])('workers %j sum for all, with the bits of the star', async (peers) => {
  await run.beginListening(peers);
  const updates = await expected(4);
  await run.first(...peers);
  await aMoment();
  const senders = sendersTo('w1');
  for (const round of [1, 2, 3]) expect(await run.round(round)).toEqual(updates[round]);
  expect(senders).toEqual(new Set(peers.map((k) => `of w${k}`)));
});

it('the service tells who offers to sum, and how many reach it', async () => {
  network.blocked.add('w2 of w0');
  await run.beginListening([0, 1]);
  await run.first(0, 1);
  await aMoment();
  run.open(1);
  for (const k of ALL) run.contribute(1, k);
  await run.updates(1);
  expect(run.peers.get('w0')).toMatchObject({ offered: true, members: 3, linked: 2 });
  expect(run.peers.get('w1')).toMatchObject({ offered: true, members: 3, linked: 3 });
  expect(run.peers.has('w2')).toBe(false);
});

it('a worker that cannot reach a peer goes through the service', async () => {
  network.blocked.add('w2 of w0');
  await run.beginListening();
  const updates = await expected(3);
  await run.first(0, 1, 2);
  const senders = sendersTo('w2');
  for (const round of [1, 2]) expect(await run.round(round)).toEqual(updates[round]);
  expect(senders).toEqual(new Set(['service', 'of w1', 'of w2']));
});

it('the ranges follow the workers that are chosen, from one round to the next', async () => {
  await run.beginListening();
  const updates = await expected(6);
  await run.first(0, 1, 2);
  const choices = [[0, 1], [2], [], [0, 1, 2], [1, 2]];
  for (const [i, choice] of choices.entries()) {
    run.use(...choice);
    expect(await run.round(i + 1)).toEqual(updates[i + 1]);
  }
});

it('workers may send their contribution to the next round before it opens, however it is divided', async () => {
  await run.beginListening();
  const updates = await expected(4);
  await run.first(0, 1, 2);
  for (const [round, choice] of [[0, 1], [2, 1, 0], []].entries()) {
    run.use(...choice);
    for (const k of ALL) run.contribute(round + 1, k);
    await aMoment();
    run.open(round + 1);
    expect(await run.updates(round + 1)).toEqual(updates[round + 1]);
  }
});

describe('a peer that is lost', () => {
  it.each(ALL)('with its worker %i: the round completes, and later ones without it', async (lost) => {
    await run.beginListening();
    const updates = await expected(3);
    await run.first(0, 1, 2);
    run.open(1);
    for (const k of ALL) run.contribute(1, k);
    run.killPeer(lost);
    expect(await run.updates(1)).toEqual(updates[1]);
    expect(await run.round(2)).toEqual(updates[2]);
    expect(network.notes).toContainEqual(expect.objectContaining({ level: 'warn', text: expect.stringContaining(`w${lost}`) }));
  });

  it('and leaves for good after it contributed makes the round begin again', async () => {
    await run.beginListening();
    await run.first(0, 1, 2);
    run.open(1);
    run.contribute(1, 0);
    expect(await run.workers[0].until('result')).toMatchObject({ result: 'counted' });
    run.killPeer(0);
    run.workers[0].member.close('gone');
    const ended = async (): Promise<never> => {
      for (;;) await run.host.receive(soon());
    };
    await expect(ended()).rejects.toMatchObject({ code: 'closed', message: expect.stringContaining('begins again') });
  });

  it('between rounds is replaced by the service in the next', async () => {
    await run.beginListening();
    const updates = await expected(3);
    await run.first(0, 1, 2);
    run.killPeer(1);
    await aMoment();
    for (const round of [1, 2]) expect(await run.round(round)).toEqual(updates[round]);
  });

  it('is used again when it offers itself again', async () => {
    await run.beginListening();
    const updates = await expected(4);
    await run.first(0, 1, 2);
    run.breakOffer(1);
    expect(await run.round(1)).toEqual(updates[1]);
    await vi.waitUntil(
      () => network.notes.filter(({ text }) => text.includes('w1') && text.endsWith('is here')).length > 1,
      5_000,
    );
    await aMoment();
    expect(await run.round(2)).toEqual(updates[2]);
    await aMoment();
    const senders = sendersTo('w0');
    expect(await run.round(3)).toEqual(updates[3]);
    expect(senders).toEqual(new Set(['of w0', 'of w1', 'of w2']));
  });
});

describe('a peer that misbehaves', () => {
  /** Worker 9 offers itself, and the test speaks for it. */
  const layout = createRangeLayout(TENSORS);
  const offerRudely = async () => {
    run.host.admit('w9', 'ticket 9');
    const offer = {
      type: 'offer' as const,
      versions: [PROTOCOL_VERSION],
      runId: 'run-1',
      workerId: 'w9',
      address: 'of w9',
      ticket: 'ticket 9',
    } satisfies Message;
    const channel = createChannel(await network.connect('w9', 'service'), {
      accepts: ['refuse', 'assign', 'admit', 'subscribe', 'range', 'openRound', 'grant', 'passedRange', 'add', 'drop', 'finish'],
      bodyBytes: (message) => (message.type === 'passedRange' ? layout.arrivingBytes(message) : 0),
    });
    channel.send(offer);
    expect((await channel.receive(soon())).message.type).toBe('assign');
    channel.send({ type: 'assigned', version: PROTOCOL_VERSION });
    await aMoment();
    run.host.usePeers({ candidates: ['w9'], reducers: ['w9'] });
    await aMoment();
    return channel;
  };
  const SQUARES = new Uint8Array(Float64Array.of(1, 2, 3, 4).buffer);
  const NONSENSE: readonly (readonly [what: string, message: Message, body: Uint8Array])[] = [
    ['claims a range that is not its own', { type: 'measured', round: 1, from: 1, to: 3 }, SQUARES.subarray(0, 16)],
    ['names a range that does not exist', { type: 'measured', round: 1, from: 2, to: 9 }, SQUARES],
    [
      'sends squares that no sum has',
      { type: 'measured', round: 1, from: 0, to: 4 },
      new Uint8Array(Float64Array.of(1, -1, 0, 0).buffer),
    ],
    ['sends a message of a worker', { type: 'linked', reducers: [] }, new Uint8Array(0)],
    ['claims an update before it is due', { type: 'updateRange', round: 1, from: 1, to: 2 }, new Uint8Array(164)],
  ];

  it.each(NONSENSE)('and %s loses its range, and the round completes', async (_what, message, body) => {
    await run.beginListening([]);
    const updates = await expected(3);
    const rude = await offerRudely();
    await run.round(0);
    run.open(1);
    await aMoment();
    rude.send(message, body);
    for (const k of ALL) run.contribute(1, k);
    expect(await run.updates(1)).toEqual(updates[1]);
    expect(await run.round(2)).toEqual(updates[2]);
  });

  it('and never answers loses its range in time', async () => {
    await run.beginListening([]);
    const updates = await expected(2);
    await offerRudely();
    await run.round(0);
    expect(await run.round(1)).toEqual(updates[1]);
    expect(network.notes).toContainEqual(
      expect.objectContaining({ text: expect.stringContaining(`owed an answer for ${LIMITS.reducerStallMs / 1000} s`) }),
    );
  });

  it('is refused without its ticket, and a coordinator or a service is refused by every peer', async () => {
    await run.beginListening([0]);
    const offer = { type: 'offer' as const, versions: [PROTOCOL_VERSION], runId: 'run-1', workerId: 'w1', address: 'x' };
    const thief = createChannel(await network.connect('w1', 'service'), { accepts: ['refuse', 'assign'], bodyBytes: () => 0 });
    thief.send({ ...offer, ticket: 'ticket 0' });
    expect((await thief.receive(soon())).message).toMatchObject({ type: 'refuse', code: 'wrong_token' });
    const { codec, tensorSizes } = TENSORS;
    const assign = {
      type: 'assign' as const,
      versions: [PROTOCOL_VERSION],
      token: '',
      runId: 'r',
      owner: 'o',
      streams: 1,
      codec,
    };
    const usurper = createChannel(await network.connect('x', 'of w0'), { accepts: ['refuse', 'assigned'], bodyBytes: () => 0 });
    usurper.send({ ...assign, tensorSizes: [...tensorSizes] });
    expect((await usurper.receive(soon())).message).toMatchObject({ type: 'refuse', code: 'wrong_token' });
  });
});
