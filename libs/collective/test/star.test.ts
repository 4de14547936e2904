import { randomUUID } from 'node:crypto';
import { setMaxListeners } from 'node:events';
import { createReplica, createVectorMemory } from '@troupe/optim';
import {
  createChannel,
  LIMITS,
  openTransfer,
  PROTOCOL_VERSION,
  type Message,
  type MessageType,
  type SendBudget,
} from '@troupe/protocol';
import type { Connection } from '@troupe/transport';
import { createMemoryPair } from '@troupe/transport/memory';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  applyUpdate,
  applyArriving,
  contributionBytes,
  createContributionWriter,
  createRangeLayout,
  updateBytes,
  wholeUpdate,
  type CollectiveHost,
  type CollectiveMember,
  type Contribution,
  type GradientShape,
  type HostEvent,
} from '../src/index.js';
import {
  createStarCollective,
  createStarService,
  type ServiceNote,
  type StarOptions,
  type StarService,
} from '../src/star/index.js';
import { collectiveConformance, type CollectiveRig } from './conformance.js';
import { RtcExchange } from './rtc-exchange.js';
import { contribution, expectMean, LEASES, openRound, RUN, SEED, SHAPE, SIZE, soon, untilUpdate } from './rounds.js';

// As in the processes that run services.
setMaxListeners(0);

let stop: AbortController;
let service: StarService;
let notes: ServiceNote[];
let served: Promise<void>[];
let clock: () => number;

function startService(): void {
  stop = new AbortController();
  notes = [];
  served = [];
  clock = () => 0;
  service = createStarService({
    token: 'secret',
    secret: () => randomUUID(),
    log: (note) => notes.push(note),
    deadline: (ms) => AbortSignal.timeout(Math.min(ms, 300)),
    nowMs: () => clock(),
  });
}

async function stopService(): Promise<void> {
  stop.abort();
  await Promise.all(served);
}

function dial(name: string, wrap: (connection: Connection) => Connection = (connection) => connection): Connection {
  const [near, far] = createMemoryPair(['memory:service', `memory:${name}`]);
  served.push(service.serve(wrap(far), stop.signal));
  return near;
}

/** The segments of the model, in one range that the service sums. */
const ALL = { from: 0, to: 2 };
const WHOLE = [{ to: 2, reducer: '' }];

/** A collective that uses this link. */
const over = (link: Connection) => createStarCollective({ connect: async () => link });
const joinOptions = () => ({ ...SHAPE, seed: SEED, address: '', runId: 'run-1', workerId: 'w0', ticket: 't', signal: soon() });

collectiveConformance('the star', () => {
  startService();
  // As real transports do.
  const connect = async (address: string, signal: AbortSignal): Promise<Connection> => {
    signal.throwIfAborted();
    return dial(address);
  };
  return { collective: createStarCollective({ connect }), address: 'memory:star', token: 'secret', stop: stopService };
});

/** A service whose parameters are cut into ranges, each with a reducer. Those of the hidden are reached by the service only. */
function rigWithReducers(count: number, direct: boolean): CollectiveRig & { connect: StarOptions['connect'] } {
  const stopAll = new AbortController();
  const links: Promise<void>[] = [];
  const services = new Map<string, StarService>();
  const connect = async (address: string, signal: AbortSignal): Promise<Connection> => {
    signal.throwIfAborted();
    const [near, far] = createMemoryPair([`memory:${address}`, 'memory:client']);
    links.push(services.get(address)!.serve(far, stopAll.signal));
    return near;
  };
  const options = {
    token: 'secret',
    secret: () => randomUUID(),
    log: () => undefined,
    deadline: (ms: number) => AbortSignal.timeout(Math.min(ms, 300)),
    connect,
  };
  const addresses = Array.from({ length: count }, (_, k) => `reducer ${k}`);
  for (const address of addresses) services.set(address, createStarService(options));
  const reducers = addresses.map((address) => ({ address, forWorkers: address }));
  services.set('service', createStarService({ ...options, reducers }));
  return {
    connect,
    collective: createStarCollective({ connect, direct }),
    address: 'service',
    token: 'secret',
    async stop() {
      stopAll.abort();
      await Promise.all(links);
    },
  };
}

/** A service whose workers sum as soon as they offer to. @param over how they reach each other */
function rigWithPeers(over: 'memory' | 'rtc'): CollectiveRig {
  const rig = rigWithReducers(0, true);
  const { collective, address } = rig;
  const stopAll = new AbortController();
  const peers = new Map<string, StarService>();
  const links: Promise<void>[] = [];
  const dialPeer = (name: string): Connection => {
    const [near, far] = createMemoryPair([`memory:${name}`, 'memory:client']);
    links.push(peers.get(name)!.serve(far, stopAll.signal));
    return near;
  };
  const deadline = (ms: number): AbortSignal => AbortSignal.timeout(Math.min(ms, 1_000));
  const exchange = new RtcExchange();
  return {
    ...rig,
    collective: {
      join(given) {
        const name = `peer ${given.workerId}`;
        const rtc = over === 'rtc' ? { rtc: exchange.of(given.workerId) } : {};
        peers.set(name, createStarService({ token: 'unknown', secret: () => '', log: () => undefined, deadline, ...rtc }));
        const peer = {
          ...{ addresses: [over === 'rtc' ? 'rtc:' : name], service: peers.get(name)!, connect: () => dialPeer(name) },
          onFailed: (error: unknown) => expect.unreachable(String(error)),
        };
        const connect = async (to: string, signal: AbortSignal): Promise<Connection> =>
          peers.has(to) ? dialPeer(to) : rig.connect(to, signal);
        return createStarCollective({ connect, peer, ...rtc }).join({ deadline, ...given });
      },
      async host(given) {
        const host = await collective.host(given);
        const offers = new Set<string>();
        const receive = async (signal?: AbortSignal): Promise<HostEvent> => {
          for (;;) {
            const event = await host.receive(signal);
            if (event.kind !== 'peer') return event;
            if (event.offered) offers.add(event.workerId);
            else offers.delete(event.workerId);
            const names = [...offers];
            host.usePeers({ candidates: names, reducers: names });
          }
        };
        return new Proxy(host, { get: (target, key) => (key === 'receive' ? receive : bound(target, key)) });
      },
    },
    address,
    async stop() {
      stopAll.abort();
      await Promise.all([rig.stop(), ...links]);
    },
  };
}

const bound = (target: object, key: string | symbol): unknown => {
  const value: unknown = Reflect.get(target, key);
  return typeof value === 'function' ? value.bind(target) : value;
};

collectiveConformance('workers that sum', () => rigWithPeers('memory'));
collectiveConformance('workers that sum and reach each other over WebRTC', () => rigWithPeers('rtc'));

for (const count of [1, 2, 4]) {
  collectiveConformance(`${count} reducers`, () => rigWithReducers(count, true));
  collectiveConformance(`${count} reducers that workers do not reach`, () => rigWithReducers(count, false));
}

/** A peer that sends messages by hand. */
function raw(connection: Connection) {
  const accepts: readonly MessageType[] = ['joined', 'hosted', 'refuse', 'contributionResult'];
  return createChannel(connection, { accepts, bodyBytes: () => 0 });
}

describe('the wire of the star', () => {
  let host: CollectiveHost;
  const star = createStarCollective({ connect: async (address) => dial(address) });

  const join = (workerId: string, collective = star): Promise<CollectiveMember> =>
    collective.join({
      ...SHAPE,
      seed: SEED,
      address: workerId,
      runId: 'run-1',
      workerId,
      ticket: `ticket of ${workerId}`,
      signal: soon(),
    });

  async function admitAndJoin(k: number): Promise<CollectiveMember> {
    host.admit(`w${k}`, `ticket of w${k}`);
    return join(`w${k}`);
  }

  beforeEach(async () => {
    startService();
    host = await star.host({ ...RUN, address: 'host', token: 'secret', signal: soon() });
  });

  afterEach(stopService);

  it.each([
    [
      'a body of the wrong length',
      (channel: ReturnType<typeof raw>) => channel.send({ ...wire(contribution(0)) }, new Uint8Array(12)),
      'invalid_message',
    ],
    [
      'a message that only a host sends',
      (channel: ReturnType<typeof raw>) => channel.send({ type: 'admit', workerId: 'w9', ticket: 'x' }),
      'unexpected_message',
    ],
    [
      'bytes that are no frame',
      (_: ReturnType<typeof raw>, link: Connection) => link.send(Uint8Array.of(9, 9, 9)),
      'malformed_frame',
    ],
  ])('closes a worker that sends %s, says why, and finishes the round with the others', async (_, misbehave, code) => {
    const others = await Promise.all([1, 2].map(admitAndJoin));
    host.admit('w0', 'ticket of w0');
    const link = dial('w0');
    const bad = raw(link);
    bad.send({ type: 'join', versions: [PROTOCOL_VERSION], runId: 'run-1', workerId: 'w0', ticket: 'ticket of w0' });
    expect((await bad.receive(soon())).message.type).toBe('joined');
    openRound(host);
    misbehave(bad, link);
    expect((await bad.receive(soon())).message).toMatchObject({ type: 'refuse', code });
    await expect(bad.receive(soon())).rejects.toMatchObject({ code: 'closed' });
    host.grant({ round: 0, leaseId: 'again', workerId: 'w1', streams: LEASES[0] });
    others[0].contribute({ ...contribution(0), leaseId: 'again' });
    others[0].contribute(contribution(1));
    others[1].contribute(contribution(2));
    expectMean((await untilUpdate(others[1])).parts);
    expect(notes).toContainEqual(expect.objectContaining({ level: 'warn', text: expect.stringContaining(code) }));
  });

  it('refuses a contribution without its gradient, and one whose range is not there', async () => {
    const others = await Promise.all([1, 2].map(admitAndJoin));
    host.admit('w0', 'ticket of w0');
    const bad = raw(dial('w0'));
    bad.send({ type: 'join', versions: [PROTOCOL_VERSION], runId: 'run-1', workerId: 'w0', ticket: 'ticket of w0' });
    expect((await bad.receive(soon())).message.type).toBe('joined');
    openRound(host);
    const { endStates } = contribution(0);
    bad.send(wire(contribution(0)), new Uint8Array(endStates.buffer));
    const refused = { type: 'contributionResult', result: 'incomplete', reason: expect.stringContaining('segments 0 to 1') };
    expect((await bad.receive(soon())).message).toMatchObject(refused);
    bad.send({ type: 'gradientRange', round: 0, leaseId: 'lease0', from: 1, to: 3 }, new Uint8Array(12));
    expect((await bad.receive(soon())).message).toMatchObject({ type: 'refuse', code: 'invalid_message' });
    host.grant({ round: 0, leaseId: 'again', workerId: 'w1', streams: LEASES[0] });
    others[0].contribute({ ...contribution(0), leaseId: 'again' });
    others[0].contribute(contribution(1));
    others[1].contribute(contribution(2));
    expectMean((await untilUpdate(others[1])).parts);
  });

  describe('leaves out a worker to whose link too much waits to be sent', () => {
    let queued: number;
    let nowMs: number;
    const loaded = (connection: Connection): Connection =>
      Object.defineProperty(Object.create(connection) as Connection, 'bufferedBytes', { get: () => queued });

    /** Worker w1 has such a link, and all three contribute to round 0. */
    async function begin() {
      [queued, nowMs] = [2 ** 30, 0];
      clock = () => nowMs;
      const [first, third] = await Promise.all([0, 2].map(admitAndJoin));
      host.admit('w1', 'ticket of w1');
      const slow = await join('w1', over(dial('w1', loaded)));
      openRound(host);
      slow.contribute(contribution(1));
      first.contribute(contribution(0));
      third.contribute(contribution(2));
      return { first, third, slow };
    }

    it('tells it and the coordinator, and updates the others', async () => {
      const { first, slow } = await begin();
      expectMean((await untilUpdate(first)).parts);
      const heard = [];
      for (let event = await host.receive(soon()); event.kind !== 'update'; event = await host.receive(soon())) heard.push(event);
      expect(heard.at(-1)).toEqual({ kind: 'lagging', workerId: 'w1' });
      let news = await slow.receive(soon());
      while (news.kind === 'result') news = await slow.receive(soon());
      expect(news).toEqual({ kind: 'subscription', wanted: false, round: 0 });
      // When that is over, it may come back.
      queued = 0;
      host.subscribe('w1', true);
      expect(await slow.receive(soon())).toEqual({ kind: 'subscription', wanted: true, round: 1 });
    });

    it.each([
      ['drops it when it reads nothing for 20 s', 0, true],
      ['waits while it reads', 1_000, false],
    ])('%s', async (_, read, dropped) => {
      const { first, third } = await begin();
      const everybody = () => Promise.all([first, third, host].map(untilUpdate));
      await everybody();
      for (let round = 1; round <= 3; round++) {
        nowMs += LIMITS.silenceMs / 2;
        queued -= read;
        openRound(host, { round });
        host.grant({ round, leaseId: 'again', workerId: 'w0', streams: LEASES[1] });
        first.contribute({ ...contribution(0), round });
        first.contribute({ ...contribution(1), round, leaseId: 'again' });
        third.contribute({ ...contribution(2), round });
        await everybody();
      }
      expect(notes.some(({ text }) => text.includes('w1 is dropped'))).toBe(dropped);
    });
  });

  it('counts what it queues for a link in the budget of the process', async () => {
    const queued: string[] = [];
    const account = (remote: string) => ({ own: () => void queued.push(remote), shared: () => undefined });
    const budget: SendBudget = { queuedBytes: 0, open: ({ remote }) => account(remote) };
    const budgeted = createStarService({
      token: 'secret',
      secret: () => randomUUID(),
      log: () => undefined,
      deadline: () => soon(),
      budget,
    });
    const [near, far] = createMemoryPair(['memory:service', 'memory:stranger']);
    served.push(budgeted.serve(far, stop.signal));
    raw(near).send({ type: 'join', versions: [PROTOCOL_VERSION], runId: 'none', workerId: 'w0', ticket: 'x' });
    await near.closed;
    expect(queued).toEqual([far.remote]);
  });

  it('refuses another protocol version', async () => {
    const channel = raw(dial('old'));
    channel.send({ type: 'join', versions: [PROTOCOL_VERSION + 1], runId: 'run-1', workerId: 'w0', ticket: 'x' });
    expect((await channel.receive(soon())).message).toMatchObject({ type: 'refuse', code: 'version_mismatch' });
  });

  it('closes a connection that sends nothing, or starts with anything but join, host and assign', async () => {
    const silent = raw(dial('silent'));
    expect((await silent.receive(soon())).message).toMatchObject({ type: 'refuse', message: expect.stringContaining('in time') });
    for (const first of [{ type: 'admit', workerId: 'w0', ticket: 'x' }, wire(contribution(0))] satisfies Message[]) {
      const rude = raw(dial('rude'));
      rude.send(first);
      expect((await rude.receive(soon())).message).toMatchObject({ type: 'refuse', code: 'unexpected_message' });
    }
  });
});

describe('a handshake without an answer', () => {
  /** A service that accepts links and never answers; the test makes the deadline expire. */
  function silence() {
    const [near] = createMemoryPair();
    const strike = new AbortController();
    const asked: number[] = [];
    const deadline = (ms: number): AbortSignal => {
      asked.push(ms);
      return strike.signal;
    };
    return { near, deadline, strike, asked };
  }
  const late = { name: 'ProtocolError', code: 'limit_exceeded', remedy: expect.stringMatching(/\w/) };

  it('ends for a worker at its deadline, and closes the link', async () => {
    const { near, deadline, strike, asked } = silence();
    const joining = over(near).join({ ...joinOptions(), deadline });
    strike.abort();
    await expect(joining).rejects.toMatchObject({ ...late, message: expect.stringContaining('the answer to join') });
    expect(asked).toEqual([LIMITS.answerMs]);
    expect(await near.closed).toMatchObject({ reason: expect.stringContaining('in time') });
  });

  it('ends for a host at its deadline, and closes the link', async () => {
    const { near, deadline, strike } = silence();
    const hosting = over(near).host({ ...RUN, address: '', token: 'secret', signal: soon(), deadline });
    strike.abort();
    await expect(hosting).rejects.toMatchObject({ ...late, message: expect.stringContaining('the answer to host') });
    await near.closed;
  });

  it('waits longer than the service waits for a ticket', () => {
    expect(LIMITS.answerMs).toBeGreaterThan(LIMITS.helloMs);
  });
});

describe('an update that must not be applied', () => {
  /** Two segments: scale and 300 halves, scale and 41 halves. */
  const SECOND = 4 + 600;
  const body = new Uint8Array(updateBytes(SHAPE));
  beforeEach(() => {
    body.fill(0);
    new Float32Array(body.buffer)[0] = 1;
    new Float32Array(body.buffer, SECOND)[0] = 2;
  });
  const numbers = { round: 0, learningRate: 1, tokens: 1, lossSum: 1, gradientNorm: 1, clipScale: 1 };
  const range = { type: 'updateRange', round: 0, ...ALL } as const;
  const newReplica = () =>
    createReplica({ size: SIZE, optimizer: { kind: 'sgd', momentum: 0, weightDecay: 0, nesterov: false } });

  async function joined() {
    const [near, far] = createMemoryPair();
    const service = createChannel(far, { accepts: ['join'], bodyBytes: () => 0 });
    const joining = over(near).join(joinOptions());
    await service.receive(soon());
    service.send({ type: 'joined', version: PROTOCOL_VERSION, round: 0, ranges: WHOLE });
    return { service, member: await joining };
  }

  async function received() {
    const { service, member } = await joined();
    service.send({ type: 'update', runId: 'run-1', ...numbers, ranges: [ALL] });
    service.send(range, body);
    const event = await member.receive(soon());
    if (event.kind !== 'update') throw new Error(event.kind);
    return event;
  }

  it('is refused when a scale is invalid', async () => {
    new Float32Array(body.buffer, SECOND)[0] = 3;
    const refused = { name: 'CollectiveError', code: 'not_finite', message: expect.stringContaining('round 0') };
    await expect(applyArriving(newReplica(), await received())).rejects.toMatchObject(refused);
  });

  it('is refused when a value is not finite', async () => {
    new Uint16Array(body.buffer, SECOND + 4)[40] = 0x7c00;
    const refused = { name: 'CollectiveError', code: 'not_finite', message: expect.stringContaining('round 0') };
    await expect(applyArriving(newReplica(), await received())).rejects.toMatchObject(refused);
  });

  it('is refused by the step when its values overflow with their scale', () => {
    const parts = [{ values: new Uint16Array(SIZE).fill(0x7bff), scale: 2 ** 120 }];
    expect(() => applyUpdate(newReplica(), { kind: 'update', ...numbers, parts })).toThrow(
      expect.objectContaining({ name: 'CollectiveError', code: 'not_finite', message: expect.stringContaining('round 0') }),
    );
  });

  it('is refused on arrival at the host, which proceeds before its replica steps, when a value is not finite', async () => {
    new Uint16Array(body.buffer, SECOND + 4)[40] = 0x7c00;
    const [near, far] = createMemoryPair();
    const service = createChannel(far, { accepts: ['host'], bodyBytes: () => 0 });
    const hosting = over(near).host({ ...RUN, address: '', token: 't', signal: soon() });
    await service.receive(soon());
    service.send({ type: 'hosted', version: PROTOCOL_VERSION });
    service.send({ type: 'update', runId: 'run-1', ...numbers, ranges: [ALL] });
    service.send(range, body);
    await expect((await hosting).receive(soon())).rejects.toMatchObject({ name: 'CollectiveError', code: 'not_finite' });
  });

  it('is applied when it is valid, while it arrives and after it has arrived', async () => {
    new Uint16Array(body.buffer, 4, 300).fill(0x3c00);
    new Uint16Array(body.buffer, SECOND + 4, 41).fill(0x3c00);
    const [one, other] = [newReplica(), newReplica()];
    await applyArriving(one, await received());
    applyUpdate(other, await wholeUpdate(await received()));
    expect(one.parameters).toEqual(Float32Array.from({ length: SIZE }, (_, i) => (i < 300 ? -1 : -2)));
    expect([other.parameters, other.digest()]).toEqual([one.parameters, one.digest()]);
  });

  it('steps the replica before its last part has arrived', async () => {
    const { service, member } = await joined();
    new Uint16Array(body.buffer, 4, 300).fill(0x3c00);
    service.send({ type: 'update', runId: 'run-1', ...numbers, ranges: [ALL] });
    const transfer = openTransfer(range, body.length);
    const send = (from: number, to: number) => {
      const { frame, payload } = transfer.chunk(to - from);
      payload.set(body.subarray(from, to));
      service.sendEncoded([frame]);
    };
    service.sendEncoded([transfer.head]);
    const event = await member.receive(soon());
    if (event.kind !== 'update') throw new Error(event.kind);
    const replica = newReplica();
    const stepped = applyArriving(replica, event);
    send(0, SECOND);
    await new Promise((resolve) => setTimeout(resolve));
    expect([...replica.parameters.subarray(298, 302)]).toEqual([-1, -1, 0, 0]);
    send(SECOND, body.length);
    await stepped;
  });

  it('ends with the link when it breaks off', async () => {
    const { service, member } = await joined();
    service.send({ type: 'update', runId: 'run-1', ...numbers, ranges: [ALL] });
    const transfer = openTransfer(range, body.length);
    const { frame, payload } = transfer.chunk(SECOND);
    payload.set(body.subarray(0, SECOND));
    service.sendEncoded([transfer.head, frame]);
    const event = await member.receive(soon());
    if (event.kind !== 'update') throw new Error(event.kind);
    const whole = wholeUpdate(event);
    service.close('gone');
    await expect(whole).rejects.toMatchObject({ name: 'TransportError' });
  });
});

it.each([
  { round: 0, lease: 1 },
  { round: 7, lease: 2 },
])('a member rounds to int8 by the round and the streams of its lease: round $round, lease $lease', async ({ round, lease }) => {
  const shape: GradientShape = { ...SHAPE, codec: 'int8' };
  const sent = contribution(lease, { round });
  const bytes = contributionBytes(shape, 0);
  const [near, far] = createMemoryPair();
  const service = createChannel(far, {
    accepts: ['join', 'gradientRange'],
    bodyBytes: (message) => (message.type === 'join' ? 0 : bytes),
  });
  const joining = over(near).join({ ...joinOptions(), ...shape });
  await service.receive(soon());
  service.send({ type: 'joined', version: PROTOCOL_VERSION, round, ranges: WHOLE });
  (await joining).contribute(sent);
  const { body } = await service.receive(soon());
  const writer = createContributionWriter({ ...shape, seed: SEED }, createVectorMemory(0));
  const expected = new Uint8Array(contributionBytes(shape, 0));
  for (const segment of createRangeLayout(shape).arriving(ALL)) {
    writer.encode(sent.gradient, sent, segment, expected.subarray(segment.offset, segment.offset + segment.bytes));
  }
  expect(body).toEqual(expected);
});

function wire({ gradient: _gradient, endStates: _endStates, ...meta }: Contribution): Extract<Message, { type: 'contribution' }> {
  return { type: 'contribution', runId: 'run-1', ...meta };
}
