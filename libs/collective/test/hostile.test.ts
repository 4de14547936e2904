/** Peers that send wrong things, or the right things at a bad moment: the round completes with the bits of the star. */
import { setMaxListeners } from 'node:events';
import { createVectorMemory } from '@troupe/optim';
import {
  createChannel,
  LIMITS,
  PROTOCOL_VERSION,
  type Channel,
  type Message,
  type MessageOf,
  type MessageType,
} from '@troupe/protocol';
import type { Connection } from '@troupe/transport';
import { createMemoryPair } from '@troupe/transport/memory';
import { afterEach, describe, expect, it, vi } from 'vitest';
import {
  createContributionWriter,
  createRangeLayout,
  evenRanges,
  type CodedLease,
  type Contribution,
  type SegmentRange,
} from '../src/index.js';
import { createStarCollective, createStarService } from '../src/star/index.js';
import { aMoment, ALL, expected, gradientOf, isMessage, Network, Rounds, TENSORS } from './network.js';
import { contribution, DIGEST, LEASES, ORDER, RUN, SEED, SIZE, soon } from './rounds.js';

// As in the processes that run services.
setMaxListeners(0);

let network: Network;
let run: Rounds;

afterEach(() => network.stop());

const ACCEPTS = [
  ...(['joined', 'refuse', 'contributionResult', 'subscription'] as const),
  ...(['partition', 'reducer', 'update', 'updateRange'] as const),
];

const LAYOUT = createRangeLayout(TENSORS);
/** With two reducers. */
const HALVES = evenRanges(TENSORS, 2);
const ALL_LINKED: Message = { type: 'linked', reducers: ['reducer-0', 'reducer-1'] };

/** A worker whose messages the test sends by hand. */
class Peer {
  readonly #ranges: readonly SegmentRange[];
  readonly #tickets = new Map<string, string>();
  readonly #k: number;
  readonly #channels = new Map<string, Channel<(typeof ACCEPTS)[number]>>();

  /** As worker k of a run whose parameters are cut into `ranges`. */
  constructor(k: number, ranges: number) {
    this.#k = k;
    this.#ranges = evenRanges(TENSORS, ranges);
  }

  async join(place: string): Promise<void> {
    const workerId = `w${this.#k}`;
    const channel = createChannel(await network.connect(workerId, place), {
      accepts: ACCEPTS,
      bodyBytes: (message: Message) => (message.type === 'updateRange' ? LAYOUT.leavingBytes(message) : 0),
    });
    const ticket = place === 'service' ? `ticket ${this.#k}` : await this.#ticketFor(place);
    channel.send({ type: 'join', versions: [PROTOCOL_VERSION], runId: 'run-1', workerId, ticket });
    expect((await channel.receive(soon())).message.type).toBe('joined');
    this.#channels.set(place, channel);
  }

  async #ticketFor(place: string): Promise<string> {
    for (let ticket = this.#tickets.get(place); ; ticket = this.#tickets.get(place)) {
      if (ticket !== undefined) return ticket;
      const { addresses, ticket: given } = await this.until('reducer');
      this.#tickets.set(addresses[0], given);
    }
  }

  send(message: Message, body?: Uint8Array): void {
    this.#channels.get('service')!.send(message, body);
  }

  /** Its range of its gradient of round 0. */
  sendRange(range: number, place = 'service', gradient = gradientOf(0, this.#k), leaseId = `lease${this.#k}`): void {
    const lease: CodedLease = { round: 0, streams: LEASES[this.#k] };
    const { from, to } = this.#ranges[range];
    const segments = LAYOUT.arriving({ from, to });
    const body = new Uint8Array(LAYOUT.arrivingBytes({ from, to }));
    const writer = createContributionWriter({ ...TENSORS, seed: SEED }, createVectorMemory(0));
    for (const each of segments) writer.encode(gradient, lease, each, body.subarray(each.offset, each.offset + each.bytes));
    this.#channels.get(place)!.send({ type: 'gradientRange', round: 0, leaseId, from, to }, body);
  }

  /** All but its gradient. */
  sendRest(changes: Partial<Contribution> = {}): void {
    const { gradient: _gradient, endStates, ...rest } = contribution(this.#k, changes);
    this.send({ type: 'contribution', runId: 'run-1', ...rest }, new Uint8Array(endStates.buffer));
  }

  /** The next message of this type from the service. */
  async until<K extends (typeof ACCEPTS)[number]>(type: K): Promise<MessageOf<K>> {
    for (;;) {
      const { message } = await this.#channels.get('service')!.receive(soon());
      if (message.type === type) return message;
    }
  }

  result(): Promise<MessageOf<'contributionResult'>> {
    return this.until('contributionResult');
  }
}

interface PeerOptions {
  readonly ordered?: boolean;
  /** Whether round 0 is opened. */
  readonly isOpen?: boolean;
  /** Of the services. */
  readonly deadline?: (ms: number) => AbortSignal;
}

const within = (longestMs: number) => (ms: number) => AbortSignal.timeout(Math.min(ms, longestMs));

/** A run in which the test sends for worker 1, which reaches all places. */
async function beginWithPeer(reducers: number, options: PeerOptions = {}): Promise<Peer> {
  const { ordered = false, isOpen = true, deadline } = options;
  network = new Network(reducers, deadline);
  run = new Rounds(network);
  await run.beginAlone({ ordered });
  for (const k of [0, 2]) await run.join(k);
  run.host.admit('w1', 'ticket 1');
  const peer = new Peer(1, Math.max(1, reducers));
  await peer.join('service');
  await aMoment();
  for (let k = 0; k < reducers; k++) await peer.join(`reducer${k}`);
  if (isOpen) run.open(0);
  return peer;
}

/** The others contribute, and the round completes. */
async function expectComplete(): Promise<void> {
  for (const k of [0, 2]) run.contribute(0, k);
  expect([await run.updates(0, [0, 2])]).toEqual(await expected(1));
}

const grantAgain = (leaseId: string): void => run.host.grant({ round: 0, leaseId, workerId: 'w1', streams: LEASES[1] });

/** For waits of these lengths, signals that abort when the test says so; other waits are short. */
function handMade(ms: number) {
  const waits: AbortController[] = [];
  return {
    deadline(asked: number): AbortSignal {
      if (asked !== ms) return AbortSignal.timeout(Math.min(asked, 400));
      const wait = new AbortController();
      waits.push(wait);
      return wait.signal;
    },
    /** The next wait begins, and is over. */
    async expire(): Promise<void> {
      await vi.waitUntil(() => waits.length > 0, { timeout: 5_000, interval: 5 });
      waits.shift()!.abort(new Error('too late'));
      await aMoment();
    },
  };
}

describe('a second contribution under a lease leaves the first alone', () => {
  const SECONDS: readonly (readonly [what: string, changes: Partial<Contribution>, result: string])[] = [
    ['with the same content', {}, 'already_counted'],
    ['with another round number', { round: 7 }, 'wrong_round'],
  ];

  it.each(SECONDS)('%s, while it waits for its turn', async (_, changes, result) => {
    const peer = await beginWithPeer(0, { ordered: true, deadline: within(100) });
    peer.sendRange(0);
    peer.sendRest();
    expect(await peer.result()).toMatchObject({ result: 'counted' });
    peer.sendRange(0);
    peer.sendRest(changes);
    expect(await peer.result()).toMatchObject({ result });
    await expectComplete();
  });

  it.each(SECONDS)('%s, while it waits for a range', async (_, changes, result) => {
    const peer = await beginWithPeer(2, { deadline: within(100) });
    peer.send(ALL_LINKED);
    peer.sendRange(1, 'reducer1');
    peer.sendRest();
    await aMoment();
    peer.sendRest(changes);
    expect(await peer.result()).toMatchObject({ result });
    peer.sendRange(0, 'reducer0');
    expect(await peer.result()).toMatchObject({ result: 'counted' });
    await expectComplete();
  });

  it('unless it is wrong: then the lease is spent, the first does not count either, and the streams are granted again', async () => {
    const peer = await beginWithPeer(2);
    peer.send(ALL_LINKED);
    peer.sendRange(1, 'reducer1');
    peer.sendRest();
    await aMoment();
    peer.sendRest({ tokens: 5 });
    expect(await peer.result()).toMatchObject({ leaseId: 'lease1', result: 'wrong_tokens' });
    peer.sendRange(0, 'reducer0');
    await aMoment();
    peer.sendRest();
    expect(await peer.result()).toMatchObject({ leaseId: 'lease1', result: 'unknown_lease' });
    grantAgain('again');
    for (const range of [1, 0]) peer.sendRange(range, `reducer${range}`, gradientOf(0, 1), 'again');
    peer.sendRest({ leaseId: 'again' });
    expect(await peer.result()).toMatchObject({ leaseId: 'again', result: 'counted' });
    await expectComplete();
    // Nothing of the first waits for the end of its round.
    run.open(1);
    grantAgain('unused');
    peer.sendRest();
    expect(await peer.result()).toMatchObject({ result: 'wrong_round', reason: expect.stringContaining('is for round 0') });
  });
});

describe('what a reducer sends', () => {
  it.each([NaN, -1, Infinity])(
    'as squares that no sum has, such as %d, costs it its link, and the round completes without it',
    async (square) => {
      network = new Network(2);
      network.onLink = (place, client, link) => (place === 'reducer1' && client === 'service' ? lying(link, square) : link);
      run = new Rounds(network);
      await run.begin();
      expect([await run.round(0)]).toEqual(await expected(1));
      const text = expect.stringContaining('at reducer1 is lost: it sent squares that no sum has');
      expect(network.notes).toContainEqual(expect.objectContaining({ level: 'warn', text }));
    },
  );

  /** A link on which all squares are replaced. */
  function lying(link: Connection, square: number): Connection {
    let isMeasured = false;
    const send = (frame: Uint8Array): void => {
      const sent = isMeasured ? frame.slice() : frame;
      if (isMeasured) new DataView(sent.buffer).setFloat64(sent.byteLength - 8, square, true);
      isMeasured = isMessage(frame, 'measured');
      link.send(sent);
    };
    return Object.defineProperty(Object.create(link) as Connection, 'send', { value: send });
  }
});

it('refuses one of two contributions whose losses overflow together, and counts it when it is computed again', async () => {
  const peer = await beginWithPeer(2);
  const other = new Peer(2, 2);
  run.workers[2].member.close('replaced');
  for (const place of ['service', 'reducer0', 'reducer1']) await other.join(place);
  for (const each of [peer, other]) {
    each.send(ALL_LINKED);
    each.sendRange(1, 'reducer1');
    each.sendRest({ lossSum: 1.7e308 });
  }
  await aMoment();
  other.sendRange(0, 'reducer0');
  expect(await other.result()).toMatchObject({ result: 'counted' });
  peer.sendRange(0, 'reducer0');
  expect(await peer.result()).toMatchObject({ result: 'not_finite', reason: expect.stringContaining('loss') });
  grantAgain('again');
  for (const range of [1, 0]) peer.sendRange(range, `reducer${range}`, gradientOf(0, 1), 'again');
  peer.sendRest({ leaseId: 'again' });
  expect(await peer.result()).toMatchObject({ leaseId: 'again', result: 'counted' });
  run.contribute(0, 0);
  expect([await run.updates(0, [0])]).toEqual(await expected(1));
});

describe('when a reducer is lost', () => {
  /** Worker 1 has contributed through the service, and the reducer of range 1 is lost. */
  const beginAndLose = async (): Promise<Peer> => {
    const peer = await beginWithPeer(2);
    for (const range of [1, 0]) peer.sendRange(range);
    peer.sendRest();
    expect(await peer.result()).toMatchObject({ result: 'counted' });
    network.kill('reducer1');
    expect(await peer.until('reducer')).toMatchObject({ reducer: 'reducer-1', addresses: [], round: 0 });
    return peer;
  };
  const WRONG = new Float32Array(SIZE).fill(NaN);

  it('a range that is sent again with a NaN does not enter the sum', async () => {
    const peer = await beginAndLose();
    peer.sendRange(1, 'service', WRONG);
    peer.sendRange(1);
    await expectComplete();
  });

  it('a range that is sent again with a NaN, and not once more, makes the round begin again', async () => {
    const peer = await beginAndLose();
    peer.sendRange(1, 'service', WRONG);
    for (const k of [0, 2]) run.contribute(0, k);
    const ended = async (): Promise<never> => {
      for (;;) await run.host.receive(soon());
    };
    await expect(ended()).rejects.toMatchObject({ code: 'closed', message: expect.stringContaining('begins again') });
  });

  it('the service waits for the range of a worker that does not know yet', async () => {
    const peer = await beginWithPeer(2);
    peer.send(ALL_LINKED);
    for (const range of [1, 0]) peer.sendRange(range, `reducer${range}`);
    await aMoment();
    network.kill('reducer1');
    await aMoment();
    peer.sendRest();
    await aMoment();
    peer.sendRange(1);
    expect(await peer.result()).toMatchObject({ result: 'counted' });
    await expectComplete();
  });

  it.each([false, true])(
    'with another, while a worker sends its second contribution, both count (ordered: %s)',
    async (ordered) => {
      network = new Network(2);
      run = new Rounds(network);
      await run.begin(undefined, { ordered });
      run.open(0);
      run.host.grant({ round: 0, leaseId: 'second', workerId: 'w1', streams: LEASES[0] });
      run.contribute(0, 1);
      const [{ member }, second] = [run.workers[1], contribution(0, { leaseId: 'second', gradient: gradientOf(0, 0) })];
      expect(await run.workers[1].until('result')).toMatchObject({ leaseId: 'lease1', result: 'counted' });
      const outgoing = member.begin(second);
      outgoing.add(second.gradient, 250);
      for (const k of [0, 1]) network.kill(`reducer${k}`);
      await aMoment();
      outgoing.finish(second);
      expect(await run.workers[1].until('result')).toMatchObject({ leaseId: 'second', result: 'counted' });
      run.contribute(0, 2);
      expect([await run.updates(0)]).toEqual(await expected(1));
    },
  );

  it('a worker whose attempt to reach it is under way does not use it', async () => {
    network = new Network(2);
    let reach = (): void => undefined;
    network.delayed.set('w1 reducer1', new Promise((resolve) => (reach = resolve)));
    run = new Rounds(network);
    await run.begin();
    run.open(0);
    await aMoment();
    network.kill('reducer1');
    network.blocked.add('service reducer1');
    await aMoment();
    // It does not know that the service gave it up: it lets workers join, and reads what they send.
    const ended: string[] = [];
    const sent: MessageType[] = [];
    network.start('reducer1');
    network.places.get('reducer1')!.service = {
      async serve(link) {
        const channel = createChannel(link, { accepts: ['join', 'gradientRange'], bodyBytes: ({ type }) => bodyBytes(type) });
        channel.send({ type: 'joined', version: PROTOCOL_VERSION, round: 0, ranges: [] });
        void link.closed.then(({ reason }) => ended.push(reason));
        for (;;) {
          const { message } = await channel.receive(soon()).catch(() => ({ message: undefined }));
          if (!message) return;
          sent.push(message.type);
        }
      },
    };
    reach();
    await aMoment();
    for (const k of ALL) run.contribute(0, k);
    expect([await run.updates(0)]).toEqual(await expected(1));
    expect(ended).toHaveLength(1);
    expect(sent).not.toContain('gradientRange');
  });

  const bodyBytes = (type: MessageType): number => (type === 'join' ? 0 : LAYOUT.arrivingBytes(HALVES[1]));

  it('a worker that is computing, and receives nothing, sends its range again', async () => {
    network = new Network(2);
    run = new Rounds(network);
    await run.beginAlone();
    // Without a link to the reducer, it learns of the loss from the service alone.
    const unread = await run.joinUnread(1, false);
    for (const k of [0, 2]) await run.join(k);
    await aMoment();
    run.open(0);
    unread.contribute(contribution(1, { gradient: gradientOf(0, 1) }));
    await aMoment();
    network.kill('reducer1');
    await expectComplete();
    expect(await unread.receive(soon())).toMatchObject({ kind: 'result', result: 'counted' });
    expect(await unread.receive(soon())).toMatchObject({ kind: 'update', round: 0 });
  });
});

describe('a grant that comes late', () => {
  /** The contribution has its answer: it counts, or it does when it is computed again. */
  const expectAnswer = async (peer: Peer, result: unknown, send: (leaseId: string) => void): Promise<void> => {
    expect(await peer.result()).toMatchObject({ leaseId: 'late', result });
    if (result !== 'counted') {
      grantAgain('again');
      send('again');
      expect(await peer.result()).toMatchObject({ leaseId: 'again', result: 'counted' });
    }
    await expectComplete();
  };

  const PATHS: readonly (readonly [path: string, reducers: number, direct: boolean])[] = [
    ['at a service that sums', 0, false],
    ['at a service with reducers', 2, false],
    ['at reducers', 2, true],
  ];

  const begin = async (reducers: number, direct: boolean, isOpen = true) => {
    const waits = handMade(LIMITS.grantMs);
    const peer = await beginWithPeer(reducers, { deadline: waits.deadline, isOpen });
    if (direct) peer.send(ALL_LINKED);
    const sendRange = (leaseId: string, range: number): void =>
      peer.sendRange(range, direct ? `reducer${range}` : 'service', gradientOf(0, 1), leaseId);
    const send = (leaseId: string): void => {
      for (let range = Math.max(1, reducers); range-- > 0;) sendRange(leaseId, range);
      peer.sendRest({ leaseId });
    };
    return { waits, peer, send };
  };

  // Reducers wait as long as the round is open: the service alone decides when it is too late.
  const AT_SERVICE = PATHS.filter(([, , direct]) => !direct);

  it.each(AT_SERVICE)('after the wait for it, %s: the contribution is refused', async (_, reducers, direct) => {
    const { waits, peer, send } = await begin(reducers, direct);
    send('late');
    // One wait for each range, and one for the rest.
    for (let wait = 0; wait <= Math.max(1, reducers); wait++) await waits.expire();
    grantAgain('late');
    await expectAnswer(peer, 'unknown_lease', send);
  });

  it('after the wait for it, at reducers: the contribution is refused', async () => {
    const { waits, peer, send } = await begin(2, true);
    send('late');
    await waits.expire();
    grantAgain('late');
    await expectAnswer(peer, 'unknown_lease', send);
  });

  it.each(AT_SERVICE)('after the wait for a range, %s: the contribution is refused', async (_, reducers, direct) => {
    const { waits, peer, send } = await begin(reducers, direct);
    send('late');
    await waits.expire();
    grantAgain('late');
    await expectAnswer(peer, expect.stringMatching(/not_finite|incomplete|unknown_lease/), send);
  });

  it.each(AT_SERVICE)(
    'with its round, after the wait for a range, %s: the contribution is refused',
    async (_, reducers, direct) => {
      const { waits, peer, send } = await begin(reducers, direct, false);
      send('late');
      await waits.expire();
      run.open(0);
      grantAgain('late');
      await expectAnswer(peer, expect.stringMatching(/not_finite|incomplete|unknown_lease/), send);
    },
  );

  it('with its round, at reducers: the contribution counts', async () => {
    const { peer, send } = await begin(2, true, false);
    send('late');
    await aMoment();
    run.open(0);
    grantAgain('late');
    await expectAnswer(peer, 'counted', send);
  });

  it.each(PATHS)('before the end of the wait, %s: the contribution counts', async (_, reducers, direct) => {
    const { peer, send } = await begin(reducers, direct);
    send('late');
    await aMoment();
    grantAgain('late');
    await expectAnswer(peer, 'counted', send);
  });
});

describe('a worker that lacks a range of an update', () => {
  /** Frames of ranges that the service sent to worker 1. */
  const begin = async (): Promise<{ peer: Peer; ranges: Uint8Array[] }> => {
    const peer = await beginWithPeer(2);
    peer.send(ALL_LINKED);
    for (const range of [1, 0]) peer.sendRange(range, `reducer${range}`);
    peer.sendRest();
    await expectComplete();
    const ranges: Uint8Array[] = [];
    network.onSent = (from, client, frame) => {
      if (from === 'service' && client === 'w1' && isMessage(frame, 'updateRange')) ranges.push(frame);
    };
    return { peer, ranges };
  };

  it('is sent each once, and loses its link when it asks again, however often', async () => {
    const { peer, ranges } = await begin();
    for (const range of HALVES) {
      peer.send({ type: 'lacking', round: 0, ...range });
      expect(await peer.until('updateRange')).toMatchObject({ round: 0, ...range });
    }
    for (let i = 0; i < 100; i++) peer.send({ type: 'lacking', round: 0, ...HALVES[1] });
    await expect(peer.until('updateRange')).rejects.toMatchObject({
      code: 'closed',
      message: expect.stringContaining('segments 2 to 3'),
    });
    expect(ranges).toHaveLength(2);
  });

  it.each([
    { round: 0, from: 1, to: 3 },
    { round: 7, from: 0, to: 63 },
  ])('loses its link when it asks for segments $from to $to of round $round, which are none', async (asked) => {
    const { peer, ranges } = await begin();
    peer.send({ type: 'lacking', ...asked });
    await expect(peer.until('updateRange')).rejects.toMatchObject({ code: 'closed' });
    expect(ranges).toHaveLength(0);
  });

  it('loses its link when it does not read what is queued for it', async () => {
    network = new Network(2);
    network.onLink = (place, client, link) =>
      place === 'service' && client === 'w1'
        ? Object.defineProperty(Object.create(link) as Connection, 'bufferedBytes', { get: () => queued })
        : link;
    let queued = 0;
    run = new Rounds(network);
    await run.beginAlone();
    run.host.admit('w1', 'ticket 1');
    const peer = new Peer(1, 2);
    await peer.join('service');
    for (const k of [0, 2]) await run.join(k);
    await aMoment();
    run.open(0);
    for (const range of [1, 0]) peer.sendRange(range);
    peer.sendRest();
    await expectComplete();
    queued = 2 ** 30;
    peer.send({ type: 'lacking', round: 0, ...HALVES[1] });
    await expect(peer.until('subscription')).rejects.toMatchObject({
      code: 'closed',
      message: expect.stringContaining('too slow'),
    });
  });
});

describe('reducers that a host names', () => {
  const host = (reducers: number, changes: object) => {
    network = new Network(0);
    const service = createStarService({
      token: 'secret',
      secret: () => 'x',
      log: () => undefined,
      deadline: () => soon(),
      ...changes,
    });
    const stop = new AbortController();
    const [near, far] = createMemoryPair();
    const served = service.serve(far, stop.signal);
    const named = Array.from({ length: reducers }, (_, k) => `reducer${k}`);
    const hosting = createStarCollective({ connect: async () => near }).host({
      ...{ ...RUN, ...TENSORS, address: '', token: 'secret', signal: soon() },
      reducers: named,
    });
    return { hosting, end: () => (stop.abort(), served) };
  };
  const refused = { name: 'CollectiveError', code: 'refused' };

  it('are refused by a service that cannot reach any', async () => {
    const { hosting, end } = host(1, {});
    const remedy = 'Name no reducers, or another service.';
    await expect(hosting).rejects.toMatchObject({
      ...refused,
      message: expect.stringContaining('cannot reach reducers'),
      remedy,
    });
    await end();
  });

  it('are refused when they are too many together with those of the service', async () => {
    const reducers = [{ address: 'own', forWorkers: 'own' }];
    const { hosting, end } = host(LIMITS.reducers, { reducers, connect: () => new Promise(() => undefined) });
    const [message, remedy] = [expect.stringContaining('65 reducers'), 'Name at most 64 for a run.'];
    await expect(hosting).rejects.toMatchObject({ ...refused, message, remedy });
    await end();
  });

  it('are refused when they are too many', async () => {
    const { hosting, end } = host(LIMITS.reducers + 1, { connect: () => new Promise(() => undefined) });
    const [message, remedy] = [expect.stringContaining('"reducers"'), expect.stringMatching(/\w/)];
    await expect(hosting).rejects.toMatchObject({ name: 'ProtocolError', code: 'invalid_message', message, remedy });
    await end();
  });
});

it('a worker opens its link to a reducer again when it is lost', async () => {
  network = new Network(2);
  run = new Rounds(network);
  await run.begin();
  const backoffs: number[] = [];
  const deadline = (ms: number): AbortSignal => {
    const isBackoff = ms <= 1_000;
    if (isBackoff) backoffs.push(ms);
    return AbortSignal.timeout(isBackoff ? 10 : ms);
  };
  await run.join(1, true, { deadline });
  await aMoment();
  const updates = await expected(2);
  expect(await run.round(0)).toEqual(updates[0]);
  network.cut('w1', 'reducer1');
  await vi.waitUntil(() => backoffs.length > 0, { timeout: 5_000, interval: 5 });
  await new Promise((resolve) => setTimeout(resolve, 50));
  const senders = new Set<string>();
  network.onSent = (from, client, frame) => {
    if (client === 'w1' && isMessage(frame, 'updateRange')) senders.add(from);
  };
  expect(await run.round(1)).toEqual(updates[1]);
  expect(senders).toEqual(new Set(['reducer0', 'reducer1']));
});

it.each([0, 2])('a gradient may pause for longer than any other transfer, with %d reducers', async (reducers) => {
  const tensorSizes = [40_000, 40_000, 40_000];
  network = new Network(reducers, (ms) => AbortSignal.timeout(ms === LIMITS.transferIdleMs ? 20 : Math.min(ms, 400)));
  run = new Rounds(network);
  await run.beginAlone({ tensorSizes });
  await run.join(0, true, { tensorSizes });
  await aMoment();
  const streams = LEASES.flat();
  run.host.openRound(ORDER);
  run.host.grant({ round: 0, leaseId: 'all', workerId: 'w0', streams });
  const all: Contribution = {
    ...{ round: 0, leaseId: 'all', streams, tokens: 48, lossSum: 60, computeMs: 3, parametersDigest: DIGEST },
    gradient: Float32Array.from({ length: 120_000 }, (_, i) => Math.sin(i)),
    endStates: new Float32Array(24),
  };
  const outgoing = run.workers[0].member.begin(all);
  outgoing.add(all.gradient, 90_000);
  await new Promise((resolve) => setTimeout(resolve, 120));
  outgoing.finish(all);
  expect(await run.workers[0].until('result')).toMatchObject({ result: 'counted' });
  expect(await run.workers[0].until('update')).toMatchObject({ round: 0 });
  // No link to a reducer ended either: its range would come through the service.
  expect(network.notes.filter(({ level }) => level === 'warn')).toEqual([]);
});
