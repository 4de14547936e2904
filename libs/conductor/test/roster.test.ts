import type { ReduceCounted } from '@troupe/collective';
import { createRunState, step, type RunInput, type RunState } from '@troupe/scheduler';
import { beforeEach, describe, expect, it } from 'vitest';
import { reduceEvent, type ConductorEvent, type ReduceEvent, type WorkerIdentity, type WorkerMessage } from '../src/events.js';
import { createRoster, openSessions, sessionOf, updateRoster, type Roster } from '../src/roster.js';
import { workerStates, workerViews } from '../src/worker-views.js';
import { NO_SESSION } from './fixture.js';

const SETTINGS = {
  streams: 4,
  window: 8,
  rounds: 100,
  windowsPerPass: 50,
  evaluateEvery: 0,
  checkpointEvery: 0,
  sampleEvery: 0,
  chanceLoss: 3,
  maxLoss: 3,
};

let now = 0;
let state: RunState;
let roster: Roster;

beforeEach(() => {
  now = 0;
  state = createRunState({ ...SETTINGS, leaseStreams: 0 }, 0);
  roster = createRoster(now);
});

const note = (event: ConductorEvent): void => updateRoster(roster, event, now);
const identity = (id: string, name = id, kind: 'node' | 'browser' = 'node'): WorkerIdentity => ({
  id,
  name,
  kind,
  remote: 'lab:1',
  trusted: true,
});

/** @returns the leases that the scheduler grants */
function feed(input: RunInput) {
  return step(state, input, now).flatMap((effect) => (effect.type === 'lease' ? [effect] : []));
}

function hello(id: string, name = id, kind: 'node' | 'browser' = 'node'): void {
  note({ type: 'workerJoined', worker: identity(id, name, kind), session: NO_SESSION });
}

function says(id: string, message: WorkerMessage): void {
  note({ type: 'workerMessage', worker: identity(id), message });
}

function leaves(id: string, reason: string): void {
  note({ type: 'workerLeft', worker: identity(id), reason });
}

/** The worker is ready, for the roster and for the scheduler. */
function ready(id: string, name = id, charsPerSecond = 1000) {
  const digests = { layoutHash: '0'.repeat(16), parametersDigest: '0'.repeat(16) };
  says(id, { type: 'ready', round: 0, ...digests, engine: 'wasm simd', device: 'cpu', charsPerSecond });
  return feed({ type: 'workerReady', trusted: true, workerId: id, name, charsPerSecond });
}

function join(id: string) {
  hello(id);
  return ready(id);
}

/** An event of the all-reduce service, for the roster. */
function reduced(event: ReduceEvent): void {
  const timely = reduceEvent(event, state);
  if (timely) note(timely);
}

function counted(workerId: string, leaseId: string, streams: readonly number[], computeMs: number): void {
  const { round } = state;
  const tokens = streams.length * SETTINGS.window;
  const figures = { tokens, lossSum: 1, computeMs, serviceMs: 0, endStates: new Float32Array() };
  reduced({ kind: 'counted', workerId, leaseId, round, streams: [...streams], ...figures });
  feed({ type: 'counted', workerId, leaseId, round, streams, lossSum: 0, computeMs, serviceMs: 0 });
}

/** @returns the leases of the next round */
function updated() {
  const { round } = state;
  reduced({ kind: 'update', round } as ReduceEvent);
  return feed({ type: 'updated', round, trainLoss: 1 });
}

describe('the time of a round', () => {
  it('is split along its last worker, and adds up to the round', () => {
    feed({ type: 'start' });
    now = 100;
    const [early] = join('a');
    now = 160;
    counted('a', early.leaseId, early.streams, 40);
    now = 175;
    updated();
    expect(roster.timing).toEqual({ waitingMs: 100, computeMs: 40, transferMs: 20, reduceMs: 15 });
  });

  it('follows the slower of two workers', () => {
    join('a');
    join('b');
    const leases = feed({ type: 'start' });
    const of = (id: string) => leases.find(({ workerId }) => workerId === id)!;
    now = 30;
    counted('a', of('a').leaseId, of('a').streams, 25);
    now = 90;
    counted('b', of('b').leaseId, of('b').streams, 80);
    now = 92;
    updated();
    expect(roster.timing).toEqual({ waitingMs: 0, computeMs: 80, transferMs: 10, reduceMs: 2 });
  });

  it('limits a reported compute time to the time that passed', () => {
    join('a');
    const [lease] = feed({ type: 'start' });
    now = 50;
    counted('a', lease.leaseId, lease.streams, 1e9);
    updated();
    expect(roster.timing).toEqual({ waitingMs: 0, computeMs: 50, transferMs: 0, reduceMs: 0 });
  });

  it('starts over when the all-reduce comes back empty', () => {
    join('a');
    const [lease] = feed({ type: 'start' });
    now = 50;
    counted('a', lease.leaseId, lease.streams, 10);
    note({ type: 'reduceRestored' });
    const [again] = feed({ type: 'reopen' });
    now = 80;
    counted('a', again.leaseId, again.streams, 20);
    updated();
    expect(roster.timing).toEqual({ waitingMs: 50, computeMs: 20, transferMs: 10, reduceMs: 0 });
  });

  it('assumes that a lease that was taken back was granted when its computing started', () => {
    now = 100;
    counted('a', 'taken back', [0], 30);
    updated();
    expect(roster.timing).toEqual({ waitingMs: 70, computeMs: 30, transferMs: 0, reduceMs: 0 });
  });

  it('starts at the previous update, even if the lease was granted before', () => {
    now = 50;
    updated();
    now = 80;
    const contribution = { workerId: 'a', computeMs: 20, streams: [0], tokens: 8 } as ReduceCounted;
    note({ type: 'counted', contribution, grantedAtMs: 40, charsPerSecond: undefined });
    updated();
    expect(roster.timing).toEqual({ waitingMs: 0, computeMs: 20, transferMs: 10, reduceMs: 0 });
  });

  it('is all waiting when no contribution was counted', () => {
    now = 70;
    reduced({ kind: 'update', round: 0 } as ReduceEvent);
    expect(roster.timing).toEqual({ waitingMs: 70, computeMs: 0, transferMs: 0, reduceMs: 0 });
  });
});

describe('the list of workers', () => {
  const view = (id: string) => workerViews(roster, state, now).find((worker) => worker.id === id)!;

  it('follows a worker from its hello until it leaves', () => {
    hello('a', 'Ann', 'browser');
    expect(view('a')).toMatchObject({ name: 'Ann', kind: 'browser', state: 'joining', engine: '', rounds: 0 });
    says('a', { type: 'resync', reason: 'joining', round: 0, fromPeers: false });
    expect(view('a')).toMatchObject({ state: 'syncing', reason: 'joining' });
    feed({ type: 'start' });
    const [lease] = ready('a', 'Ann');
    expect(view('a')).toMatchObject({ state: 'computing', engine: 'wasm simd', device: 'cpu', streams: 4, charsPerSecond: 1000 });
    now = 60;
    counted('a', lease.leaseId, lease.streams, 50);
    expect(view('a')).toMatchObject({ state: 'ready', rounds: 0 });
    updated();
    expect(view('a')).toMatchObject({ rounds: 1, characters: 32, latencyMs: 10, state: 'computing' });
    feed({ type: 'workerLeft', workerId: 'a', reason: 'gone' });
    leaves('a', 'the link ended');
    expect(view('a')).toMatchObject({ state: 'left', reason: 'the link ended', rounds: 1 });
  });

  it('shows a late worker, and that its streams are also lent to others', () => {
    join('a');
    feed({ type: 'start' });
    now = [...state.leases.values()][0].deadlineAtMs;
    feed({ type: 'tick' });
    expect(view('a')).toMatchObject({ state: 'late', reason: expect.stringMatching(/lent to others/), lastSeenMs: now });
  });

  it('shows who offers to sum, who does, and how many workers reach them', () => {
    feed({ type: 'start' });
    for (const id of ['a', 'b', 'c']) join(id);
    expect(view('a')).not.toHaveProperty('peer');
    feed({ type: 'peer', workerId: 'a', offered: true, members: 3, linked: 2 });
    feed({ type: 'peer', workerId: 'b', offered: true, members: 3, linked: 3 });
    state.topology.reducers = ['b'];
    expect(view('a').peer).toEqual({ sums: false, reachedBy: 2, workers: 3 });
    expect(view('b').peer).toEqual({ sums: true, reachedBy: 3, workers: 3 });
    expect(view('c')).not.toHaveProperty('peer');
    feed({ type: 'peer', workerId: 'a', offered: false, members: 0, linked: 0 });
    leaves('b', 'gone');
    for (const id of ['a', 'b']) expect(view(id)).not.toHaveProperty('peer');
  });

  it('shows what is wrong with a worker until a contribution of it counts', () => {
    feed({ type: 'start' });
    const [lease] = join('a');
    says('a', { type: 'decline', leaseId: lease.leaseId, round: 0, code: 'engine', reason: 'device lost' });
    expect(view('a').reason).toBe('device lost');
    now = 5;
    const refusal = { leaseId: lease.leaseId, workerId: 'a', round: 0, result: 'replica_diverged' } as const;
    reduced({ kind: 'rejected', computeMs: 1, ...refusal, reason: 'differs\u001b[2J' });
    expect(view('a')).toMatchObject({ reason: 'differs\ufffd[2J', lastSeenMs: 0 });
    counted('a', lease.leaseId, lease.streams, 1);
    updated();
    expect(view('a').reason).toBe('');
  });

  it('counts connected workers and keeps their sessions until they leave', () => {
    for (const id of ['a', 'b']) hello(id);
    expect([roster.connected, openSessions(roster).length]).toEqual([2, 2]);
    leaves('a', 'bye');
    leaves('a', 'bye again');
    expect([roster.connected, openSessions(roster).length, sessionOf(roster, 'a')]).toEqual([1, 1, undefined]);
    expect(sessionOf(roster, 'b')).toBe(NO_SESSION);
    expect(view('a').reason).toBe('bye');
  });

  it('shows the measured speed of a worker, also after it left', () => {
    feed({ type: 'start' });
    const [first] = join('a');
    now = 64;
    counted('a', first.leaseId, first.streams, 60);
    const [second] = updated();
    const measured = view('a').charsPerSecond;
    expect(measured).toBeLessThan(1000);
    now = 96;
    counted('a', second.leaseId, second.streams, 30);
    feed({ type: 'workerLeft', workerId: 'a', reason: 'gone' });
    leaves('a', 'gone');
    expect(view('a').charsPerSecond).toBe(measured);
  });

  it('smooths the latency, which excludes the time in the engine', () => {
    feed({ type: 'start' });
    let [lease] = join('a');
    for (const latencyMs of [10, 20]) {
      now += 50 + latencyMs;
      counted('a', lease.leaseId, lease.streams, 50);
      [lease] = updated();
    }
    expect(view('a').latencyMs).toBe(12);
  });

  it('ignores events of unknown workers', () => {
    says('x', { type: 'resync', reason: 'joining', round: 0, fromPeers: false });
    leaves('x', 'gone');
    counted('x', 'l9', [0], 1);
    reduced({ kind: 'rejected', computeMs: 1, leaseId: 'l9', workerId: 'x', round: 0, result: 'wrong_round', reason: 'late' });
    updated();
    expect([roster.connected, workerViews(roster, state, now)]).toEqual([0, []]);
  });

  it('shows that a worker rests after its engine failed', () => {
    feed({ type: 'start' });
    const [lease] = join('a');
    says('a', { type: 'decline', leaseId: lease.leaseId, round: 0, code: 'engine', reason: 'device lost' });
    feed({ type: 'declined', workerId: 'a', leaseId: lease.leaseId, code: 'engine', reason: 'device lost' });
    expect(view('a')).toMatchObject({ state: 'ready', reason: 'resting: device lost' });
  });

  it('has at most 500 rows', () => {
    for (let i = 0; i < 510; i++) hello(`w${i}`);
    expect(workerViews(roster, state, now)).toHaveLength(500);
    expect(roster.connected).toBe(510);
  });

  it('counts all workers by state, beyond the rows that it shows', () => {
    for (let i = 0; i < 600; i++) hello(`w${i}`);
    leaves('w0', 'bye');
    expect(Object.fromEntries(workerStates(roster, state, now))).toEqual({ joining: 599, left: 1 });
  });

  it('forgets workers that left long ago, and all but the last 50', () => {
    for (let i = 0; i < 80; i++) {
      hello(`w${i}`);
      now++;
      leaves(`w${i}`, 'bye');
    }
    expect(workerViews(roster, state, now)).toHaveLength(50);
    expect(view('w79')).toBeDefined();
    now += 600_000;
    note({ type: 'order', order: { type: 'tick' } });
    expect(workerViews(roster, state, now)).toEqual([]);
  });
});
