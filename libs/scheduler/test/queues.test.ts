import { describe, expect, it } from 'vitest';
import { createRunState, step, type RunEffect, type RunInput, type RunSettings } from '../src/index.js';
import { SETTINGS } from './settings.js';

type Lease = Extract<RunEffect, { type: 'lease' }>;

/** Four tracks of two streams, each of which takes a minute at 100 chars/s. */
const LOCAL: RunSettings = { ...SETTINGS, streams: 8, leaseStreams: 2, localSteps: 32, window: 3_000 };
const TRACK_MS = 60_000;

/** A run whose first worker holds everything. */
function started(settings: Partial<RunSettings> = {}) {
  const state = createRunState({ ...LOCAL, ...settings }, 0);
  let nowMs = 0;
  const feed = (input: RunInput): readonly RunEffect[] => step(state, input, nowMs);
  const leasesOf = (effects: readonly RunEffect[]): Lease[] => effects.filter((effect) => effect.type === 'lease');
  const join = (name: string, charsPerSecond = 100, trusted = true): Lease[] =>
    leasesOf(feed({ type: 'workerReady', workerId: name, name, trusted, charsPerSecond }));
  const held = [...join('first'), ...leasesOf(feed({ type: 'start' }))];
  return {
    state,
    feed,
    join,
    held,
    leasesOf,
    pass: (ms: number) => void (nowMs += ms),
    count: ({ deadlineMs: _, ...lease }: Lease) =>
      feed({ ...lease, type: 'counted', lossSum: 0, computeMs: TRACK_MS, serviceMs: 0 }),
  };
}

describe('the waiting tracks of a worker', () => {
  it('are lent to those that join, the last ones first', () => {
    const { join, held, pass, state } = started();
    expect(held.map(({ streams }) => streams)).toEqual([
      [0, 1],
      [2, 3],
      [4, 5],
      [6, 7],
    ]);
    pass(1_000);
    expect(join('b').map(({ streams }) => streams)).toEqual([[6, 7]]);
    expect(join('c').map(({ streams }) => streams)).toEqual([[4, 5]]);
    expect(held.map(({ leaseId }) => state.leases.get(leaseId)?.reliable)).toEqual([true, true, false, false]);
  });

  it('count once, by whoever is first', () => {
    const { join, held, pass, count } = started();
    const [lease] = join('b');
    pass(TRACK_MS);
    const effects = count(lease);
    expect(effects).toContainEqual({ type: 'cancel', workerId: 'first', leaseId: held[3].leaseId });
  });

  it('go on to a worker that is done with one of them', () => {
    const { join, held, pass, count, leasesOf } = started();
    const [lease] = join('b');
    pass(TRACK_MS * 0.9);
    expect(leasesOf(count(lease)).map(({ workerId, streams }) => [workerId, streams])).toEqual([['b', held[2].streams]]);
  });

  it('stay where they are sooner done', () => {
    const { join, pass } = started();
    pass(1_000);
    expect(join('slow', 20)).toEqual([]);
  });

  it('do not include the one that is under way', () => {
    const { join, pass } = started({ streams: 2 });
    pass(1_000);
    expect(join('fast', 10_000)).toEqual([]);
  });

  it('stay where they are in exact rounds, which are short', () => {
    const { join, pass } = started({ localSteps: 1 });
    pass(1_000);
    expect(join('b')).toEqual([]);
  });

  it('go to others again when the one that took them leaves', () => {
    const { join, feed, pass } = started();
    const [lease] = join('b');
    pass(1_000);
    feed({ type: 'workerLeft', workerId: 'b', reason: 'closed' });
    expect(join('c').map(({ streams }) => streams)).toEqual([lease.streams]);
  });

  it('are cancelled wherever they wait, once they count', () => {
    const { join, held, feed, pass, count } = started();
    join('b');
    pass(1_000);
    feed({ type: 'workerLeft', workerId: 'b', reason: 'closed' });
    const [again] = join('c');
    pass(TRACK_MS * 0.9);
    expect(count(again)).toContainEqual({ type: 'cancel', workerId: 'first', leaseId: held[3].leaseId });
  });

  const policy = { seed: [1, 2] } as const;

  it('stay with a trusted worker rather than go to a volunteer on probation', () => {
    const { join, pass } = started({ audits: policy });
    pass(1_000);
    expect(join('volunteer', 1_000, false)).toEqual([]);
    expect(join('lab', 1_000)).toHaveLength(1);
  });

  it('go to a volunteer for at most half of a round', () => {
    const { join, feed, pass, count, leasesOf } = started({ audits: policy });
    pass(1_000);
    expect(join('volunteer', 1_000, false)).toEqual([]);
    const passed = { round: 0, workerId: 'volunteer', verdict: 'sound', reason: '' } as const;
    const open = ['1', '2', '3'].flatMap((leaseId) => leasesOf(feed({ type: 'audited', leaseId, ...passed })));
    const taken: Lease[] = [];
    for (let lease = open.at(0); lease;) {
      taken.push(lease);
      pass(1_000);
      lease = leasesOf(count(lease)).find(({ workerId }) => workerId === 'volunteer');
    }
    expect(taken).toHaveLength(2);
  });
});
