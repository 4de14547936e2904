import { createRunState, step, type RunState } from '@troupe/scheduler';
import { beforeEach, describe, expect, it } from 'vitest';
import { createOverview, type Overview } from '../src/overview.js';
import type { ReduceEvent } from '../src/run-shell.js';

const SETTINGS = { streams: 4, window: 8, rounds: 100, windowsPerPass: 50, evaluateEvery: 0, checkpointEvery: 0, sampleEvery: 0 };

let now = 0;
let state: RunState;
let overview: Overview;

beforeEach(() => {
  now = 0;
  state = createRunState({ ...SETTINGS, leaseStreams: 0 }, 0);
  overview = createOverview(() => now);
});

function feed(input: Parameters<typeof step>[1]) {
  return step(state, input, now).flatMap((effect) => (effect.type === 'lease' ? [effect] : []));
}

function join(id: string, name = id, charsPerSecond = 1000) {
  overview.joined(id, name, 'node');
  overview.heard(id, {
    type: 'ready',
    round: 0,
    layoutHash: '0'.repeat(16),
    parametersDigest: '0'.repeat(16),
    engine: 'wasm simd',
    device: 'cpu',
    charsPerSecond,
  });
  return feed({ type: 'workerReady', workerId: id, name, charsPerSecond });
}

function counted(workerId: string, leaseId: string, streams: readonly number[], computeMs: number): void {
  const { round } = state;
  const tokens = streams.length * SETTINGS.window;
  const figures = { tokens, lossSum: 1, computeMs, endStates: new Float32Array() };
  overview.onReduce({ kind: 'counted', workerId, leaseId, round, streams: [...streams], ...figures }, state);
  feed({ type: 'counted', workerId, leaseId, round, streams });
}

/** @returns the leases of the next round */
function updated() {
  const { round } = state;
  overview.onReduce({ kind: 'update', round } as ReduceEvent, state);
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
    expect(overview.timing).toEqual({ waitingMs: 100, computeMs: 40, transferMs: 20, reduceMs: 15 });
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
    expect(overview.timing).toEqual({ waitingMs: 0, computeMs: 80, transferMs: 10, reduceMs: 2 });
  });

  it('believes no more than fits: a worker may say anything of its engine', () => {
    join('a');
    const [lease] = feed({ type: 'start' });
    now = 50;
    counted('a', lease.leaseId, lease.streams, 1e9);
    updated();
    expect(overview.timing).toEqual({ waitingMs: 0, computeMs: 50, transferMs: 0, reduceMs: 0 });
  });

  it('is counted anew when the all-reduce comes back empty', () => {
    join('a');
    const [lease] = feed({ type: 'start' });
    now = 50;
    counted('a', lease.leaseId, lease.streams, 10);
    overview.reopened();
    const [again] = feed({ type: 'reopen' });
    now = 80;
    counted('a', again.leaseId, again.streams, 20);
    updated();
    expect(overview.timing).toEqual({ waitingMs: 50, computeMs: 20, transferMs: 10, reduceMs: 0 });
  });

  it('is all waiting when nobody is known to have computed', () => {
    now = 70;
    overview.onReduce({ kind: 'update', round: 0 } as ReduceEvent, state);
    expect(overview.timing).toEqual({ waitingMs: 70, computeMs: 0, transferMs: 0, reduceMs: 0 });
  });
});

describe('the list of workers', () => {
  const view = (id: string) => overview.workers(state).find((worker) => worker.id === id)!;

  it('follows one from its hello to its leaving', () => {
    overview.joined('a', 'Ann', 'browser');
    expect(view('a')).toMatchObject({ name: 'Ann', kind: 'browser', state: 'joining', engine: '', rounds: 0 });
    overview.heard('a', { type: 'resync', reason: 'joining' });
    expect(view('a')).toMatchObject({ state: 'syncing', reason: 'joining' });
    feed({ type: 'start' });
    const [lease] = join('a', 'Ann');
    expect(view('a')).toMatchObject({ state: 'computing', engine: 'wasm simd', device: 'cpu', streams: 4, charsPerSecond: 1000 });
    now = 60;
    counted('a', lease.leaseId, lease.streams, 50);
    expect(view('a')).toMatchObject({ state: 'ready', rounds: 0 });
    updated();
    expect(view('a')).toMatchObject({ rounds: 1, characters: 32, latencyMs: 10, state: 'computing' });
    feed({ type: 'workerLeft', workerId: 'a', reason: 'gone' });
    overview.left('a', 'the link ended');
    expect(view('a')).toMatchObject({ state: 'left', reason: 'the link ended', rounds: 1 });
  });

  it('says who is late, and that its streams are lent to others', () => {
    join('a');
    feed({ type: 'start' });
    now = [...state.leases.values()][0].deadlineAtMs;
    feed({ type: 'tick' });
    expect(view('a')).toMatchObject({ state: 'late', reason: expect.stringMatching(/lent to others/), lastSeenMs: now });
  });

  it('cleans what a worker says of itself', () => {
    overview.joined('a', 'a', 'node');
    overview.heard('a', { type: 'resync', reason: 'up\u001b[2J\u202edown' });
    expect(view('a').reason).toBe('up\ufffd[2J\ufffddown');
  });

  it('forgets who left long ago, and all but the last of many', () => {
    for (let i = 0; i < 80; i++) {
      overview.joined(`w${i}`, `w${i}`, 'node');
      now++;
      overview.left(`w${i}`, 'bye');
    }
    expect(overview.workers(state)).toHaveLength(50);
    expect(view('w79')).toBeDefined();
    now += 600_000;
    expect(overview.workers(state)).toEqual([]);
  });
});
