import { describe, expect, it } from 'vitest';
import {
  createRunState,
  roundProgress,
  step,
  type Decision,
  type RunEffect,
  type RunInput,
  type RunSettings,
} from '../src/index.js';
import { SETTINGS } from './settings.js';

type Lease = Extract<RunEffect, { type: 'lease' }>;

/** Two tracks of four streams, whose leases take two minutes at 100 chars/s. */
const LOCAL = { ...SETTINGS, leaseStreams: 4, localSteps: 32, window: 3_000 };
const TOOK_MS = 120_000;

/** In the first round of which both workers are measured. */
function started(settings: Partial<RunSettings> = {}, names = ['a', 'b']) {
  const state = createRunState({ ...LOCAL, ...settings }, 0);
  let nowMs = 0;
  const feed = (input: RunInput): readonly RunEffect[] => step(state, input, nowMs);
  const leasesOf = (effects: readonly RunEffect[]): Lease[] => effects.filter((effect) => effect.type === 'lease');
  for (const name of names) feed({ type: 'workerReady', workerId: name, name, trusted: true, charsPerSecond: 100 });
  let open = leasesOf(feed({ type: 'start' }));
  for (let round = 0; round < 2; round++) {
    for (const { deadlineMs: _, ...lease } of open) {
      nowMs += TOOK_MS / open.length;
      const more = feed({ ...lease, type: 'counted', lossSum: 0, computeMs: TOOK_MS, serviceMs: 0 });
      open = [...open, ...leasesOf(more)];
    }
    open = leasesOf(feed({ type: 'updated', round, trainLoss: 2 }));
  }
  return {
    state,
    feed,
    open,
    report: ({ workerId, leaseId }: Pick<Lease, 'workerId' | 'leaseId'>, steps: number) =>
      feed({ type: 'progress', workerId, leaseId, steps }),
    pass: (ms: number) => void (nowMs += ms),
    /** The decisions of the next tick. */
    tick: (): Decision[] => feed({ type: 'tick' }).flatMap((effect) => (effect.type === 'decision' ? [effect.decision] : [])),
  };
}

describe('a worker that reports progress', () => {
  it('keeps its lease when it takes longer than was granted', () => {
    const { open, report, pass, tick } = started();
    const [lease, other] = open;
    for (let steps = 1; steps <= 20; steps++) {
      pass((lease.deadlineMs * 1.5) / 20);
      report(lease, steps);
      report(other, steps);
    }
    expect(tick()).toEqual([]);
  });

  it('loses it soon when it stops, and the lease is lent to others', () => {
    const { open, report, pass, tick, state } = started();
    const [lease] = open;
    pass(10_000);
    report(lease, 4);
    pass(lease.deadlineMs * 0.25 - 1_000);
    expect(tick()).toEqual([]);
    pass(2_000);
    expect(tick()).toEqual([expect.objectContaining({ kind: 'late', workers: [lease.workerId] })]);
    expect(state.leases.get(lease.leaseId)?.reliable).toBe(false);
  });

  it('loses it after twice what was granted, however often it reports', () => {
    const { open, report, pass, tick } = started({ localSteps: 1_000 });
    const [lease] = open;
    for (let steps = 1; steps <= 39; steps++) {
      pass(lease.deadlineMs / 20);
      report(lease, steps);
      expect(tick()).toEqual([]);
    }
    pass(lease.deadlineMs / 20);
    report(lease, 40);
    expect(tick()[0]).toMatchObject({ kind: 'late', workers: expect.arrayContaining([lease.workerId]) });
    // It goes on to say so, and is sent a snapshot all the same.
    const kinds: string[] = [];
    for (let steps = 41; steps <= 50; steps++) {
      pass(2_000);
      report(lease, steps);
      kinds.push(...tick().map(({ kind }) => kind));
    }
    expect(kinds).toContain('stuck');
  });

  it('gains nothing by saying the same again, nor by what is no part of a lease', () => {
    const deadline = (steps: readonly number[]): number => {
      const { open, report, pass, state } = started();
      for (const done of steps) {
        pass(1_000);
        report(open[0], done);
      }
      return state.leases.get(open[0].leaseId)!.deadlineAtMs;
    };
    expect(deadline([4, 4, 3])).toBe(deadline([4]));
    expect(deadline([32])).toBe(deadline([]));
    expect(deadline([4, 5])).toBe(deadline([4]) + 1_000);
  });

  it('cannot report for another', () => {
    const { open, feed, pass, state } = started();
    const before = state.leases.get(open[0].leaseId)!.deadlineAtMs;
    pass(1_000);
    feed({ type: 'progress', workerId: open[1].workerId, leaseId: open[0].leaseId, steps: 9 });
    feed({ type: 'progress', workerId: 'nobody', leaseId: open[0].leaseId, steps: 9 });
    expect(state.leases.get(open[0].leaseId)).toMatchObject({ deadlineAtMs: before, steps: 0 });
  });

  it('also keeps the leases that it computes afterwards', () => {
    const { open, report, pass, tick } = started({}, ['a']);
    expect(open.map(({ workerId }) => workerId)).toEqual(['a', 'a']);
    for (let steps = 1; steps <= 20; steps++) {
      pass((open[0].deadlineMs * 1.5) / 20);
      report(open[0], steps);
    }
    expect(tick()).toEqual([]);
    pass(open[0].deadlineMs / 2 - 1_000);
    expect(tick()).toEqual([expect.objectContaining({ kind: 'late' })]);
  });
});

it('the progress of a round is the mean over its tracks', () => {
  const { open, report, feed, state } = started();
  expect(roundProgress(state)).toBe(0);
  report(open[0], 8);
  expect(roundProgress(state)).toBe(1 / 8);
  const { deadlineMs: _, ...lease } = open[1];
  feed({ ...lease, type: 'counted', lossSum: 0, computeMs: TOOK_MS, serviceMs: 0 });
  expect(roundProgress(state)).toBe(1 / 8 + 1 / 2);
});
