/** Links that cost the service something and do nothing for the run. */
import { createChannel, LIMITS, PROTOCOL_VERSION } from '@troupe/protocol';
import { createMemoryPair, type MemoryConnection } from '@troupe/transport/memory';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { CollectiveHost } from '../src/index.js';
import { createStarCollective, createStarService, type StarService } from '../src/star/index.js';
import { ORDER, RUN } from './rounds.js';

let nowMs: number;
let pauses: { readonly ms: number; readonly over: AbortController }[];
let stop: AbortController;
let service: StarService;
let host: CollectiveHost;

function open(remote: string): MemoryConnection {
  const [near, far] = createMemoryPair(['service', remote]);
  void service.serve(near, stop.signal);
  return far;
}

/** A worker that has joined and does nothing. */
async function join(workerId: string) {
  host.admit(workerId, 'ticket');
  const accepts = ['joined', 'subscription', 'contributionResult', 'refuse'] as const;
  const channel = createChannel(open(workerId), { accepts, bodyBytes: () => 0 });
  channel.send({ type: 'join', versions: [PROTOCOL_VERSION], runId: RUN.runId, workerId, ticket: 'ticket' });
  expect((await channel.receive()).message).toMatchObject({ type: 'joined' });
  return channel;
}

const moment = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

beforeEach(async () => {
  [nowMs, pauses, stop] = [0, [], new AbortController()];
  service = createStarService({
    token: 'secret',
    secret: () => 'unused',
    log: () => undefined,
    deadline: (ms) => {
      const over = new AbortController();
      pauses.push({ ms, over });
      return over.signal;
    },
    nowMs: () => nowMs,
  });
  const connect = () => Promise.resolve(open('coordinator'));
  host = await createStarCollective({ connect }).host({
    ...RUN,
    address: 'service',
    token: 'secret',
    largestState: 1,
    signal: stop.signal,
    deadline: (ms) => AbortSignal.timeout(ms),
  });
});

afterEach(() => stop.abort(new Error('the test is over')));

describe('a worker that joins and asks the coordinator for nothing', () => {
  const pass = async (rounds: number, ms: number): Promise<void> => {
    nowMs += ms;
    for (let i = 1; i <= rounds; i++) host.openRound({ ...ORDER, round: i });
    await moment();
  };

  it('is sent no more updates after some rounds and a moment, and is told so', async () => {
    const idle = await join('idle');
    const next = idle.receive();
    await pass(LIMITS.unconfirmedRounds + 1, LIMITS.unconfirmedMs);
    expect((await next).message).toMatchObject({ type: 'subscription', wanted: false });
  });

  it('goes on to receive them if the coordinator has heard of it', async () => {
    const asked = await join('asked');
    const next = asked.receive();
    host.subscribe('asked', true);
    await pass(LIMITS.unconfirmedRounds + 1, LIMITS.unconfirmedMs);
    host.subscribe('asked', false);
    await moment();
    const round = LIMITS.unconfirmedRounds + 1;
    expect((await next).message).toEqual({ type: 'subscription', wanted: false, round });
  });

  it('receives them again when the coordinator hears of it late', async () => {
    const late = await join('late');
    await pass(LIMITS.unconfirmedRounds + 1, LIMITS.unconfirmedMs);
    expect((await late.receive()).message).toMatchObject({ wanted: false });
    host.subscribe('late', true);
    expect((await late.receive()).message).toMatchObject({ wanted: true });
  });
});

describe('a flood of small messages', () => {
  it('is read no faster than it may cost', async () => {
    const flooding = await join('flooding');
    for (let i = 0; i < LIMITS.reduceBurst + 500; i++) flooding.send({ type: 'linked', reducers: [] });
    await moment();
    const held = pauses.filter(({ ms }) => ms < 100);
    expect(held.length).toBe(1);
    held[0].over.abort();
    nowMs += 1;
    await moment();
    expect(pauses.filter(({ ms }) => ms < 100).length).toBe(2);
  });
});
