import { createReplica, type CodedVector } from '@troupe/optim';
import { createChannel, LIMITS, PROTOCOL_VERSION, type Message, type MessageType } from '@troupe/protocol';
import type { Connection } from '@troupe/transport';
import { createMemoryPair } from '@troupe/transport/memory';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { updateBytes, type GradientShape } from '../src/index.js';
import {
  applyUpdate,
  createStarService,
  hostReduce,
  joinReduce,
  copyUpdate,
  type Contribution,
  type ReduceHost,
  type ReduceMember,
  type ReduceUpdate,
  type ServiceNote,
  type StarService,
} from '../src/star/index.js';
import { floats } from './coded.js';

const SHAPE: GradientShape = { codec: 'fp16', tensorSizes: [300, 41], stateFloats: 4 };
const SIZE = 341;
const RUN = { runId: 'run-1', streams: 6, window: 8, ...SHAPE };
const DIGEST = 'fedcba9876543210';
const ORDER = { round: 0, learningRate: 0.1, clip: 0, parametersDigest: DIGEST };
const LEASES = [[0, 1], [2, 3, 4], [5]];

let stop: AbortController;
let service: StarService;
let notes: ServiceNote[];
let served: Promise<void>[];
let host: ReduceHost;

function dial(name: string, wrap: (connection: Connection) => Connection = (connection) => connection): Connection {
  const [near, far] = createMemoryPair(['memory:service', `memory:${name}`]);
  served.push(service.serve(wrap(far), stop.signal));
  return near;
}

/** Long enough for anything that should happen; a wait that hits it fails the test. */
const soon = () => AbortSignal.timeout(5_000);

const startHost = (changes: object = {}) => hostReduce(dial('host'), { ...RUN, token: 'secret', signal: soon(), ...changes });

const join = (workerId: string, changes: object = {}, connection = dial(workerId)) =>
  joinReduce(connection, { ...SHAPE, runId: 'run-1', workerId, ticket: `ticket of ${workerId}`, signal: soon(), ...changes });

async function admitAndJoin(k: number): Promise<ReduceMember> {
  host.admit(`w${k}`, `ticket of w${k}`);
  return join(`w${k}`);
}

function contribution(k: number, changes: Partial<Contribution> = {}): Contribution {
  const streams = LEASES[k];
  return {
    leaseId: `lease${k}`,
    round: 0,
    streams,
    tokens: streams.length * RUN.window,
    lossSum: streams.length * 10,
    computeMs: 3,
    parametersDigest: DIGEST,
    gradient: Float32Array.from({ length: SIZE }, (_, i) => Math.round(Math.sin(i + k) * 1000) / 1024),
    endStates: Float32Array.from({ length: streams.length * 4 }, (_, i) => k + i / 8),
    ...changes,
  };
}

function openRound(changes: object = {}): void {
  host.openRound({ ...ORDER, ...changes });
  LEASES.forEach((streams, k) => host.grant({ round: 0, leaseId: `lease${k}`, workerId: `w${k}`, streams, ...changes }));
}

async function untilUpdate(side: ReduceMember | ReduceHost): Promise<ReduceUpdate> {
  for (;;) {
    const event = await side.receive(soon());
    if (event.kind === 'update') return event;
  }
}

/** What service and clients share no code for: plain sums of plain numbers, all of them exact in a half. */
function expectedMean(i: number): number {
  return LEASES.reduce((total, _, k) => total + contribution(k).gradient[i], 0) / (RUN.streams * RUN.window);
}

function expectMean(coded: CodedVector): void {
  const update = floats(coded);
  const largest = Math.max(...Array.from(update, Math.abs));
  for (let i = 0; i < SIZE; i++) expect(Math.abs(update[i] - expectedMean(i))).toBeLessThan(largest * 2 ** -11);
}

/** A peer that speaks frames by hand. */
function raw(connection: Connection) {
  const accepts: readonly MessageType[] = ['joined', 'hosted', 'refuse', 'contributionResult'];
  return createChannel(connection, { accepts, bodyBytes: () => 0 });
}

beforeEach(async () => {
  stop = new AbortController();
  notes = [];
  served = [];
  service = createStarService({
    token: 'secret',
    log: (note) => notes.push(note),
    deadline: (ms) => AbortSignal.timeout(Math.min(ms, 300)),
  });
  host = await startHost();
});

afterEach(async () => {
  stop.abort();
  await Promise.all(served);
});

describe('a round over the star', () => {
  it('sends every worker and the host the mean of the contributions, and the host what it needs to know', async () => {
    const members = await Promise.all([0, 1, 2].map(admitAndJoin));
    openRound();
    for (const [k, member] of members.entries()) member.contribute(contribution(k));
    for (const k of [0, 1, 2]) {
      const event = await host.receive(soon());
      const { streams, tokens, lossSum, endStates } = contribution(k);
      expect(event).toEqual({
        kind: 'counted',
        round: 0,
        leaseId: `lease${k}`,
        workerId: `w${k}`,
        computeMs: 3,
        streams,
        tokens,
        lossSum,
        endStates,
      });
    }
    const update = await untilUpdate(host);
    expect(update).toMatchObject({ round: 0, learningRate: 0.1, tokens: 48, lossSum: 60, clipScale: 1 });
    expectMean(update.update);
    for (const member of members) {
      expect(await member.receive(soon())).toMatchObject({ kind: 'result', result: 'counted', round: 0 });
      expect((await untilUpdate(member)).update).toEqual(update.update);
    }
  });

  it('goes on from round to round, with fp32 as well', async () => {
    host.close('replaced');
    host = await startHost({ codec: 'fp32' });
    host.admit('w0', 'ticket of w0');
    const member = await join('w0', { codec: 'fp32' });
    for (let round = 0; round < 3; round++) {
      host.openRound({ ...ORDER, round, clip: 1e-3 });
      host.grant({ round, leaseId: 'all', workerId: 'w0', streams: [0, 1, 2, 3, 4, 5] });
      member.contribute({
        ...contribution(0),
        round,
        leaseId: 'all',
        streams: [0, 1, 2, 3, 4, 5],
        tokens: 48,
        endStates: new Float32Array(24),
      });
      const { update, clipScale, round: finished } = await untilUpdate(member);
      expect(finished).toBe(round);
      expect(clipScale).toBeLessThan(1);
      expect(Math.hypot(...floats(update))).toBeCloseTo(1e-3, 8);
      expect((await untilUpdate(host)).update).toEqual(update);
    }
  });

  it('counts a contribution that overtakes its round and its grant', async () => {
    const member = await admitAndJoin(0);
    member.contribute(contribution(0));
    await new Promise((resolve) => setTimeout(resolve, 20));
    openRound();
    expect(await member.receive(soon())).toMatchObject({ result: 'counted' });
  });

  it('is the same whoever computes the streams of a worker that died', async () => {
    const [first, second, third] = await Promise.all([0, 1, 2].map(admitAndJoin));
    openRound();
    first.contribute(contribution(0));
    third.contribute(contribution(2));
    second.close('pulled the plug');
    await second.closed;
    host.dismiss('w1', 'gone');
    host.grant({ round: 0, leaseId: 'again', workerId: 'w0', streams: LEASES[1] });
    first.contribute({ ...contribution(1), leaseId: 'again' });
    expectMean((await untilUpdate(first)).update);
    expectMean((await untilUpdate(third)).update);
    expectMean((await untilUpdate(host)).update);
  });
});

describe('what one worker does wrong reaches nobody else', () => {
  it('refuses a NaN to the worker and the host, and the round completes when it is computed again', async () => {
    const members = await Promise.all([0, 1, 2].map(admitAndJoin));
    openRound();
    members[0].contribute(contribution(0, { gradient: contribution(0).gradient.with(7, NaN) }));
    expect(await members[0].receive(soon())).toMatchObject({ kind: 'result', leaseId: 'lease0', result: 'not_finite' });
    const rejected = await host.receive(soon());
    expect(rejected).toMatchObject({
      kind: 'rejected',
      workerId: 'w0',
      result: 'not_finite',
      reason: expect.stringContaining('tensor 0'),
    });
    for (const [k, member] of members.entries()) member.contribute(contribution(k));
    expectMean((await untilUpdate(members[1])).update);
  });

  it('refuses a duplicate and counts the streams once', async () => {
    const members = await Promise.all([0, 1, 2].map(admitAndJoin));
    openRound();
    members[0].contribute(contribution(0));
    members[0].contribute(contribution(0));
    expect(await members[0].receive(soon())).toMatchObject({ result: 'counted' });
    expect(await members[0].receive(soon())).toMatchObject({ result: 'already_counted' });
    members[1].contribute(contribution(1));
    members[2].contribute(contribution(2));
    expectMean((await untilUpdate(members[2])).update);
  });

  it('refuses a lease that was never granted, after waiting for the grant', async () => {
    const member = await admitAndJoin(0);
    openRound();
    member.contribute(contribution(0, { leaseId: 'made-up' }));
    expect(await member.receive(soon())).toMatchObject({ result: 'unknown_lease', reason: expect.stringContaining('made-up') });
  });

  it('refuses a replica that diverged', async () => {
    const member = await admitAndJoin(0);
    openRound();
    member.contribute(contribution(0, { parametersDigest: '0000000000000000' }));
    expect(await member.receive(soon())).toMatchObject({ result: 'replica_diverged', reason: expect.stringContaining(DIGEST) });
  });

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
    openRound();
    misbehave(bad, link);
    expect((await bad.receive(soon())).message).toMatchObject({ type: 'refuse', code });
    await expect(bad.receive(soon())).rejects.toMatchObject({ code: 'closed' });
    host.grant({ round: 0, leaseId: 'again', workerId: 'w1', streams: LEASES[0] });
    others[0].contribute({ ...contribution(0), leaseId: 'again' });
    others[0].contribute(contribution(1));
    others[1].contribute(contribution(2));
    expectMean((await untilUpdate(others[1])).update);
    expect(notes).toContainEqual(expect.objectContaining({ level: 'warn', text: expect.stringContaining(code) }));
  });

  it('drops a worker whose link is stuck, and the others get their update', async () => {
    const [first, third] = await Promise.all([0, 2].map(admitAndJoin));
    host.admit('w1', 'ticket of w1');
    const stuck = (connection: Connection): Connection =>
      Object.defineProperty(Object.create(connection) as Connection, 'bufferedBytes', { get: () => 2 ** 30 });
    const slow = await join('w1', {}, dial('w1', stuck));
    openRound();
    slow.contribute(contribution(1));
    first.contribute(contribution(0));
    third.contribute(contribution(2));
    expectMean((await untilUpdate(first)).update);
    expectMean((await untilUpdate(host)).update);
    expect(await slow.closed).toMatchObject({ kind: 'clean', reason: expect.stringContaining('too slow') });
  });

  it('refuses end states or gradients of another size before they are sent', async () => {
    const member = await admitAndJoin(0);
    expect(() => member.contribute(contribution(0, { gradient: new Float32Array(3) }))).toThrow(
      expect.objectContaining({ code: 'bad_length' }),
    );
    expect(() => member.contribute(contribution(0, { endStates: new Float32Array(3) }))).toThrow(
      expect.objectContaining({ code: 'bad_length' }),
    );
  });
});

describe('who may come in', () => {
  const refusal = (code: string): unknown =>
    expect.objectContaining({ name: 'CollectiveError', code: 'refused', message: expect.stringContaining(code) });

  it('refuses a worker with a wrong ticket, and one that was never admitted', async () => {
    host.admit('w0', 'another ticket');
    await expect(join('w0')).rejects.toThrow(refusal('wrong_token'));
    await expect(join('w8')).rejects.toThrow(refusal('wrong_token'));
  });

  it('lets a worker in that came a moment before its ticket', async () => {
    const joining = join('w0');
    await new Promise((resolve) => setTimeout(resolve, 20));
    host.admit('w0', 'ticket of w0');
    await expect(joining).resolves.toBeDefined();
  });

  it('refuses a worker of another run', async () => {
    await expect(join('w0', { runId: 'run-2' })).rejects.toThrow(refusal('run_over'));
  });

  it('refuses a host with a wrong token or of another run, and leaves the run alone', async () => {
    await expect(startHost({ token: 'guess' })).rejects.toThrow(refusal('wrong_token'));
    await expect(startHost({ token: '' })).rejects.toThrow(refusal('wrong_token'));
    await expect(startHost({ runId: 'run-2' })).rejects.toThrow(refusal('run-1'));
    await expect(admitAndJoin(0)).resolves.toBeDefined();
  });

  it('refuses another protocol version', async () => {
    const channel = raw(dial('old'));
    channel.send({ type: 'join', versions: [PROTOCOL_VERSION + 1], runId: 'run-1', workerId: 'w0', ticket: 'x' });
    expect((await channel.receive(soon())).message).toMatchObject({ type: 'refuse', code: 'version_mismatch' });
  });

  it('closes a connection that says nothing, or begins with anything but join and host', async () => {
    const silent = raw(dial('silent'));
    expect((await silent.receive(soon())).message).toMatchObject({ type: 'refuse', message: expect.stringContaining('in time') });
    for (const first of [{ type: 'admit', workerId: 'w0', ticket: 'x' }, wire(contribution(0))] satisfies Message[]) {
      const rude = raw(dial('rude'));
      rude.send(first);
      expect((await rude.receive(soon())).message).toMatchObject({ type: 'refuse', code: 'unexpected_message' });
    }
  });

  it('replaces the older link of a worker that joins again', async () => {
    const first = await admitAndJoin(0);
    const again = await join('w0');
    expect(await first.closed).toMatchObject({ reason: expect.stringContaining('joined again') });
    openRound();
    again.contribute(contribution(0));
    expect(await again.receive(soon())).toMatchObject({ result: 'counted' });
  });

  it('closes the workers with their host, and serves a host that comes back', async () => {
    const member = await admitAndJoin(0);
    host.close('crashed');
    expect(await member.closed).toMatchObject({ reason: expect.stringContaining('coordinator left') });
    await expect(join('w0')).rejects.toThrow(refusal('run_over'));
    host = await startHost({ runId: 'run-1' });
    await expect(admitAndJoin(0)).resolves.toBeDefined();
  });

  it('lets a host of the same run take over while its old link still seems alive', async () => {
    const old = host;
    const member = await admitAndJoin(0);
    host = await startHost();
    expect(await old.closed).toMatchObject({ reason: expect.stringContaining('took over') });
    await member.closed;
    await expect(old.receive(soon())).rejects.toMatchObject({ code: 'closed' });
    await expect(admitAndJoin(0)).resolves.toBeDefined();
  });

  it('closes the link of a worker that is dismissed, with the reason', async () => {
    const member = await admitAndJoin(0);
    host.dismiss('w0', 'the run is over');
    expect(await member.closed).toMatchObject({ reason: 'the run is over' });
    await expect(join('w0')).rejects.toThrow(refusal('wrong_token'));
  });

  it('closes every link when the service stops', async () => {
    const member = await admitAndJoin(0);
    stop.abort();
    await expect(member.receive(soon())).rejects.toMatchObject({ code: 'closed' });
    await expect(host.receive(soon())).rejects.toMatchObject({ code: 'closed' });
    await Promise.all(served);
  });
});

describe('a handshake that is never answered', () => {
  /** A service that accepts links and says nothing; its deadline strikes when told to. */
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

  it('is given up by a worker when its deadline strikes, and the link is closed', async () => {
    const { near, deadline, strike, asked } = silence();
    const joining = joinReduce(near, { ...SHAPE, runId: 'run-1', workerId: 'w0', ticket: 't', deadline });
    strike.abort();
    await expect(joining).rejects.toMatchObject({ ...late, message: expect.stringContaining('the answer to join') });
    expect(asked).toEqual([LIMITS.answerMs]);
    expect(await near.closed).toMatchObject({ reason: expect.stringContaining('in time') });
  });

  it('is given up by a host when its deadline strikes, and the link is closed', async () => {
    const { near, deadline, strike } = silence();
    const hosting = hostReduce(near, { ...RUN, token: 'secret', deadline });
    strike.abort();
    await expect(hosting).rejects.toMatchObject({ ...late, message: expect.stringContaining('the answer to host') });
    await near.closed;
  });

  it('outlasts the wait of the service for a ticket', () => {
    expect(LIMITS.answerMs).toBeGreaterThan(LIMITS.helloMs);
  });
});

it('adds gradients in the order of their streams for a host that asks for it', async () => {
  const updates: ReduceUpdate[] = [];
  for (const order of [
    [0, 1, 2],
    [2, 1, 0],
    [1, 2, 0],
  ]) {
    host = await startHost({ ordered: true });
    const members = await Promise.all([0, 1, 2].map(admitAndJoin));
    openRound();
    for (const k of order) {
      const gradient = Float32Array.from({ length: SIZE }, (_, i) => [1e10, 1e-5, -1e10][k] * Math.sin(i + (k % 2)));
      members[k].contribute(contribution(k, { gradient }));
      expect(await members[k].receive(soon())).toMatchObject({ kind: 'result', result: 'counted' });
    }
    updates.push(copyUpdate(await untilUpdate(host)));
  }
  expect(updates[1]).toEqual(updates[0]);
  expect(updates[2]).toEqual(updates[0]);
});

it('ends a host that grants a stream beyond B, with the reason', async () => {
  host.openRound(ORDER);
  host.grant({ round: 0, leaseId: 'x', workerId: 'w0', streams: [6] });
  await expect(host.receive(soon())).rejects.toMatchObject({ code: 'refused', message: expect.stringContaining('beyond 5') });
});

describe('an update that is not to be applied', () => {
  const body = new Uint8Array(updateBytes(SHAPE));
  beforeEach(() => {
    body.fill(0);
    new Float32Array(body.buffer, 0, 2).set([1, 2]);
  });

  async function received() {
    const [near, far] = createMemoryPair();
    const service = createChannel(far, { accepts: ['join'], bodyBytes: () => 0 });
    const joining = joinReduce(near, { ...SHAPE, runId: 'run-1', workerId: 'w0', ticket: 't', signal: soon() });
    await service.receive(soon());
    service.send({ type: 'joined', version: PROTOCOL_VERSION });
    const numbers = { round: 0, learningRate: 1, tokens: 1, lossSum: 1, gradientNorm: 1, clipScale: 1 };
    service.send({ type: 'update', runId: 'run-1', ...numbers }, body);
    return untilUpdate(await joining);
  }

  it('is refused on arrival when a scale is unsound', async () => {
    new Float32Array(body.buffer)[1] = 3;
    await expect(received()).rejects.toMatchObject({ name: 'CollectiveError', code: 'not_finite' });
  });

  it('is refused by the step when a value is not finite, and nothing moves', async () => {
    new Uint16Array(body.buffer, 8)[SIZE - 1] = 0x7c00;
    const replica = createReplica({ size: SIZE, optimizer: { kind: 'sgd', momentum: 0.9, weightDecay: 0 } });
    const before = replica.snapshot();
    const update = await received();
    expect(() => applyUpdate(replica, update)).toThrow(
      expect.objectContaining({ name: 'CollectiveError', code: 'not_finite', message: expect.stringContaining('round 0') }),
    );
    expect(replica.snapshot()).toEqual(before);
  });

  it('is refused on arrival at the host, whose run moves on before its replica steps, when a value is not finite', async () => {
    new Uint16Array(body.buffer, 8)[SIZE - 1] = 0x7c00;
    const [near, far] = createMemoryPair();
    const service = createChannel(far, { accepts: ['host'], bodyBytes: () => 0 });
    const hosting = hostReduce(near, { ...SHAPE, token: 't', runId: 'run-1', streams: 6, window: 5, signal: soon() });
    await service.receive(soon());
    service.send({ type: 'hosted', version: PROTOCOL_VERSION });
    const numbers = { round: 0, learningRate: 1, tokens: 1, lossSum: 1, gradientNorm: 1, clipScale: 1 };
    service.send({ type: 'update', runId: 'run-1', ...numbers }, body);
    await expect((await hosting).receive(soon())).rejects.toMatchObject({ name: 'CollectiveError', code: 'not_finite' });
  });

  it('is applied when it is sound, and a kept one still after others came', async () => {
    new Uint16Array(body.buffer, 8).fill(0x3c00);
    const replica = createReplica({ size: SIZE, optimizer: { kind: 'sgd', momentum: 0, weightDecay: 0 } });
    const update = await received();
    const kept = copyUpdate(update);
    if (!(update.update instanceof Float32Array)) for (const { values } of update.update) values.fill(0);
    applyUpdate(replica, kept);
    expect(replica.parameters).toEqual(Float32Array.from({ length: SIZE }, (_, i) => (i < 300 ? -1 : -2)));
  });
});

function wire({ gradient: _gradient, endStates: _endStates, ...meta }: Contribution): Extract<Message, { type: 'contribution' }> {
  return { type: 'contribution', runId: 'run-1', ...meta };
}
