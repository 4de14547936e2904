import { LIMITS } from '@troupe/protocol';
import { describe, expect, it } from 'vitest';
import {
  mustBeTold,
  nextStart,
  noteServing,
  restsUntilMs,
  transfersToGiveUp,
  type Moment,
  type Servings,
  type SnapshotQueue,
} from '../src/snapshot-queue.js';

const RETAINED = 16;
const at = (round: number, nowMs = 0, readyWorkers = 1): Moment => ({
  round,
  nowMs,
  retained: RETAINED,
  readyWorkers,
  isSeeding: false,
});

/** `waiting`: worker -> not before. `transfers`: worker -> round of its snapshot and start. */
function queue(waiting: Record<string, number>, transfers: Record<string, readonly [round: number, startedMs: number]> = {}) {
  return {
    waiting: new Map(
      Object.entries(waiting).map(([id, notBefore]) => [id, { notBefore, toldMs: 0, fromPeers: false, restsUntilMs: -Infinity }]),
    ),
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
    expect(transfersToGiveUp(slow, at(3 + RETAINED))).toEqual([]);
    expect(transfersToGiveUp(slow, at(4 + RETAINED))).toEqual([['a', 'outdated']]);
  });

  it('is given up when nothing has left for long', () => {
    const still = queue({}, { a: [3, 50] });
    expect(transfersToGiveUp(still, at(3, 49 + LIMITS.transferIdleMs))).toEqual([]);
    expect(transfersToGiveUp(still, at(3, 50 + LIMITS.transferIdleMs))).toEqual([['a', 'stalled']]);
  });

  it('is given up when the whole takes too long, however steadily bytes leave', () => {
    const trickle = queue({}, { a: [3, 50] });
    const lateMs = 50 + LIMITS.snapshotTransferMs;
    trickle.transfers.get('a')!.progressMs = lateMs;
    expect(transfersToGiveUp(trickle, at(3, lateMs - 1))).toEqual([]);
    expect(transfersToGiveUp(trickle, at(3, lateMs))).toEqual([['a', 'late']]);
  });
});

describe('two snapshots on their way, of which a worker can use neither,', () => {
  /** The links of the slow ones read now and then. */
  const held = (waiting: Record<string, number>, transfers: Record<string, readonly [round: number, startedMs: number]>) => {
    const busy = queue(waiting, transfers);
    for (const transfer of busy.transfers.values()) transfer.progressMs = 1e6;
    return busy;
  };
  const { snapshotTurnMs: turnMs, snapshotYieldMs: yieldMs } = LIMITS;

  it('make way as soon as one has had its turn, if nobody computes', () => {
    const busy = held({ fast: 108 }, { x: [100, 0], x2: [100, 5], y: [103, 9] });
    expect(transfersToGiveUp(busy, at(108, turnMs + 4, 0))).toEqual([]);
    expect(transfersToGiveUp(busy, at(108, turnMs + 5, 0))).toEqual([
      ['x', 'inTheWay'],
      ['x2', 'inTheWay'],
    ]);
    const newer = held({ fast: 108 }, { x: [100, 9], y: [103, 0] });
    expect(transfersToGiveUp(newer, at(108, turnMs, 0))).toEqual([['y', 'inTheWay']]);
  });

  it('make way when both have had long, if others compute', () => {
    const busy = held({ fast: 108 }, { x: [100, 0], y: [103, 9] });
    expect(transfersToGiveUp(busy, at(108, yieldMs + 8))).toEqual([]);
    expect(transfersToGiveUp(busy, at(108, yieldMs + 9))).toEqual([['x', 'inTheWay']]);
  });

  it('stay while no worker waits that could be sent another', () => {
    const slow = { x: [100, 0], y: [103, 0] } as const;
    expect(transfersToGiveUp(held({}, slow), at(108, yieldMs, 0))).toEqual([]);
    expect(transfersToGiveUp(held({ x: 108 }, slow), at(108, yieldMs, 0))).toEqual([]);
    expect(transfersToGiveUp(held({ ahead: 109 }, slow), at(108, yieldMs, 0))).toEqual([]);
    expect(transfersToGiveUp(held({ fast: 103 }, slow), at(104, yieldMs, 0))).toEqual([]);
    expect(transfersToGiveUp(held({ fast: 108 }, { x: [100, 0], x2: [100, 0] }), at(108, yieldMs, 0))).toEqual([]);
    const turns = Object.fromEntries(Array.from({ length: LIMITS.snapshotLinks }, (_, i) => [`y${i}`, [103, yieldMs] as const]));
    expect(transfersToGiveUp(held({ fast: 108 }, { x: [100, 0], ...turns }), at(108, yieldMs, 0))).toEqual([]);
  });
});

it('a worker that waits is told so well before it gives up', () => {
  expect(LIMITS.queuedMs).toBeLessThan(LIMITS.snapshotMs / 2);
  expect(mustBeTold({ notBefore: 0, toldMs: 5, fromPeers: false, restsUntilMs: 0 }, 4 + LIMITS.queuedMs)).toBe(false);
  expect(mustBeTold({ notBefore: 0, toldMs: 5, fromPeers: false, restsUntilMs: 0 }, 5 + LIMITS.queuedMs)).toBe(true);
});

describe('a worker that asks for one snapshot after the other', () => {
  /** When each of them may start, if it always asks at once. */
  const starts = (count: number): number[] => {
    let servings: Servings | undefined;
    let nowMs = 0;
    return Array.from({ length: count }, () => {
      nowMs = Math.max(nowMs, restsUntilMs(servings));
      servings = noteServing(servings, nowMs);
      return nowMs;
    });
  };

  it('has a few at once, and then ever fewer', () => {
    const [first, second, third, fourth, ...later] = starts(40);
    expect([first, second, third, fourth]).toEqual([0, 0, 0, 0]);
    expect(later[0]).toBe(1_000);
    expect(later.at(-1)).toBeGreaterThan(20 * 60_000);
  });

  it('may have another at once when it has rested', () => {
    let servings: Servings | undefined;
    for (let i = 0; i < 4; i++) servings = noteServing(servings, 0);
    expect(restsUntilMs(servings)).toBe(1_000);
    expect(restsUntilMs(noteServing(servings, 10 * 60_000))).toBe(-Infinity);
  });

  it('lets others go first', () => {
    const both = queue({ a: 3, b: 3 });
    both.waiting.set('a', { notBefore: 3, toldMs: 0, fromPeers: false, restsUntilMs: 500 });
    expect(nextStart(both, [], at(3, 499))).toEqual({ workerId: 'b', round: 3 });
    expect(nextStart(both, [], at(3, 500))).toEqual({ workerId: 'a', round: 3 });
  });
});
