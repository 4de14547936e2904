import { LIMITS } from '@troupe/protocol';
import { describe, expect, it } from 'vitest';
import { hopelessTransfers, mustBeTold, nextStart, type Moment, type SnapshotQueue } from '../src/snapshot-queue.js';

const RETAINED = 16;
const at = (round: number, nowMs = 0): Moment => ({ round, nowMs, retained: RETAINED });

/** `waiting`: worker -> not before. `transfers`: worker -> round of its snapshot and start. */
function queue(waiting: Record<string, number>, transfers: Record<string, readonly [round: number, startedMs: number]> = {}) {
  return {
    waiting: new Map(Object.entries(waiting).map(([id, notBefore]) => [id, { notBefore, toldMs: 0 }])),
    transfers: new Map(
      Object.entries(transfers).map(([id, [round, startedMs]]) => [
        id,
        { round, startedMs, progressMs: startedMs, bufferedBytes: 0 },
      ]),
    ),
  } satisfies SnapshotQueue;
}

describe('the next snapshot', () => {
  it('is of the current round, for the worker that asked first', () => {
    expect(nextStart(queue({ a: 7, b: 7 }), [], at(9))).toEqual({ workerId: 'a', round: 9 });
  });

  it('is one that is held, if the worker has all later updates and retains enough of them', () => {
    expect(nextStart(queue({ a: 7 }), [8], at(9))).toEqual({ workerId: 'a', round: 8 });
    expect(nextStart(queue({ a: 9 }), [8], at(9))).toEqual({ workerId: 'a', round: 9 });
    expect(nextStart(queue({ a: 0 }), [5], at(5 + RETAINED / 4))).toEqual({ workerId: 'a', round: 5 });
    expect(nextStart(queue({ a: 0 }), [5], at(6 + RETAINED / 4))).toEqual({ workerId: 'a', round: 10 });
  });

  it('waits while two are held that the worker cannot use', () => {
    expect(nextStart(queue({ a: 9 }), [1, 4], at(9))).toBeUndefined();
    expect(nextStart(queue({ a: 9 }), [4], at(9))).toEqual({ workerId: 'a', round: 9 });
  });

  it('waits while as many links are served as may be, of those whose turn is not over', () => {
    const busy = Object.fromEntries(Array.from({ length: LIMITS.snapshotLinks }, (_, i) => [`busy${i}`, [3, 100] as const]));
    const full = queue({ a: 3 }, busy);
    expect(nextStart(full, [3], at(3, 99 + LIMITS.snapshotTurnMs))).toBeUndefined();
    expect(nextStart(full, [3], at(3, 100 + LIMITS.snapshotTurnMs))).toEqual({ workerId: 'a', round: 3 });
  });

  it('waits for the one that its link is carrying, and lets others go first', () => {
    expect(nextStart(queue({ a: 3, b: 3 }, { a: [2, 0] }), [2], at(3))).toEqual({ workerId: 'b', round: 3 });
  });

  it('waits for a round that the coordinator has not reached, and lets others go first', () => {
    expect(nextStart(queue({ a: 4 }), [], at(3))).toBeUndefined();
    expect(nextStart(queue({ a: 4, b: 2 }), [], at(3))).toEqual({ workerId: 'b', round: 3 });
    expect(nextStart(queue({ a: 4 }), [3], at(4))).toEqual({ workerId: 'a', round: 4 });
  });
});

describe('a transfer', () => {
  it('is given up when the worker cannot retain all updates since its snapshot', () => {
    const slow = queue({}, { a: [3, 0] });
    expect(hopelessTransfers(slow, at(3 + RETAINED))).toEqual([]);
    expect(hopelessTransfers(slow, at(4 + RETAINED))).toEqual([['a', 'outdated']]);
  });

  it('is given up when nothing has left for long', () => {
    const still = queue({}, { a: [3, 50] });
    expect(hopelessTransfers(still, at(3, 49 + LIMITS.transferIdleMs))).toEqual([]);
    expect(hopelessTransfers(still, at(3, 50 + LIMITS.transferIdleMs))).toEqual([['a', 'stalled']]);
  });
});

it('a worker that waits is told so well before it gives up', () => {
  expect(LIMITS.queuedMs).toBeLessThan(LIMITS.snapshotMs / 2);
  expect(mustBeTold({ notBefore: 0, toldMs: 5 }, 4 + LIMITS.queuedMs)).toBe(false);
  expect(mustBeTold({ notBefore: 0, toldMs: 5 }, 5 + LIMITS.queuedMs)).toBe(true);
});
