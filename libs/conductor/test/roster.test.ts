import { createRunState, step, type RunInput, type RunState } from '@troupe/scheduler';
import { beforeEach, describe, expect, it } from 'vitest';
import { reduceEvent, type ConductorEvent, type ReduceEvent, type WorkerIdentity, type WorkerMessage } from '../src/events.js';
import { createRoster, updateRoster, type Roster } from '../src/roster.js';
import { workerViews } from '../src/worker-views.js';

const SETTINGS = { streams: 4, window: 8, rounds: 100, windowsPerPass: 50, evaluateEvery: 0, checkpointEvery: 0, sampleEvery: 0 };
const NO_CHANNEL = { send: () => undefined, close: () => undefined, closed: new Promise<never>(() => undefined) };

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
});

/** @returns the leases that the run core lends */
function feed(input: RunInput) {
  return step(state, input, now).flatMap((effect) => (effect.type === 'lease' ? [effect] : []));
}

function hello(id: string, name = id, kind: 'node' | 'browser' = 'node'): void {
  note({ type: 'workerJoined', worker: identity(id, name, kind), session: { channel: NO_CHANNEL } });
}

function says(id: string, message: WorkerMessage): void {
  note({ type: 'workerMessage', worker: identity(id), message });
}

function leaves(id: string, reason: string): void {
  note({ type: 'workerLeft', worker: identity(id), reason });
}

/** The worker says ready, to the roster and to the run core. */
function ready(id: string, name = id, charsPerSecond = 1000) {
  const digests = { layoutHash: '0'.repeat(16), parametersDigest: '0'.repeat(16) };
  says(id, { type: 'ready', round: 0, ...digests, engine: 'wasm simd', device: 'cpu', charsPerSecond });
  return feed({ type: 'workerReady', workerId: id, name, charsPerSecond });
}

function join(id: string) {
  hello(id);
  return ready(id);
}

/** The all-reduce service says it, to the roster and then to the run core. */
function reduced(event: ReduceEvent): void {
  const timely = reduceEvent(event, state);
  if (timely) note(timely);
}

function counted(workerId: string, leaseId: string, streams: readonly number[], computeMs: number): void {
  const { round } = state;
  const tokens = streams.length * SETTINGS.window;
  const figures = { tokens, lossSum: 1, computeMs, endStates: new Float32Array() };
  reduced({ kind: 'counted', workerId, leaseId, round, streams: [...streams], ...figures });
  feed({ type: 'counted', workerId, leaseId, round, streams });
}

/** @returns the leases of the next round */
function updated() {
  const { round } = state;
  reduced({ kind: 'update', round } as ReduceEvent);
  return feed({ type: 'updated', round });
}

describe('the time of a round', () => {
  it('is divided along its last worker, and adds up', () => {
    feed({ type: 'start' });
    now = 100;
    const [early] = join('a');
    now = 160;
    counted('a', early.leaseId, early.streams, 40);
    now = 175;
    updated();
    expect(roster.timing).toEqual({ waitingMs: 100, computeMs: 40, transferMs: 20, reduceMs: 15 });
  });

  it('is that of the slower of two', () => {
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

  it('believes no more than fits: a worker may say anything of its engine', () => {
    join('a');
    const [lease] = feed({ type: 'start' });
    now = 50;
    counted('a', lease.leaseId, lease.streams, 1e9);
    updated();
    expect(roster.timing).toEqual({ waitingMs: 0, computeMs: 50, transferMs: 0, reduceMs: 0 });
  });

  it('is counted anew when the all-reduce comes back empty', () => {
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

  it('is all waiting when nobody is known to have computed', () => {
    now = 70;
    reduced({ kind: 'update', round: 0 } as ReduceEvent);
    expect(roster.timing).toEqual({ waitingMs: 70, computeMs: 0, transferMs: 0, reduceMs: 0 });
  });
});

describe('the list of workers', () => {
  const view = (id: string) => workerViews(roster, state, now).find((worker) => worker.id === id)!;

  it('follows one from its hello to its leaving', () => {
    hello('a', 'Ann', 'browser');
    expect(view('a')).toMatchObject({ name: 'Ann', kind: 'browser', state: 'joining', engine: '', rounds: 0 });
    says('a', { type: 'resync', reason: 'joining' });
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

  it('says who is late, and that its streams are lent to others', () => {
    join('a');
    feed({ type: 'start' });
    now = [...state.leases.values()][0].deadlineAtMs;
    feed({ type: 'tick' });
    expect(view('a')).toMatchObject({ state: 'late', reason: expect.stringMatching(/lent to others/), lastSeenMs: now });
  });

  it('forgets who left long ago, and all but the last of many', () => {
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
