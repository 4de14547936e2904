import type { ReduceResult } from '@troupe/collective';
import { describe, expect, it } from 'vitest';
import { startSync, step, type SyncAction, type SyncInput, type SyncState } from '../src/sync.js';

type Syncing = Extract<SyncState, { phase: 'syncing' }>;
type Training = Extract<SyncState, { phase: 'training' }>;

const LIMITS = { missedUpdates: 3 };

const syncing = (heard = -1, missed: number[] = []): Syncing => ({ phase: 'syncing', heard, missed });
const training = (round: number, waiting: { leaseId: string; round: number }[] = [], heard = round - 1): Training => ({
  phase: 'training',
  heard,
  round,
  waiting,
});

const snapshot = (round: number): SyncInput => ({ type: 'snapshot', round });
const update = (round: number): SyncInput => ({ type: 'update', round });
const lease = (leaseId: string, round: number): SyncInput => ({ type: 'lease', leaseId, round });
const failed = (leaseId: string, round: number, more: { engineLost?: string } = {}): SyncInput => ({
  type: 'failed',
  leaseId,
  round,
  code: 'no_state',
  reason: 'why',
  ...more,
});
const COMPUTED: SyncInput = { type: 'computed', round: 4, streams: 2, computeMs: 7, characters: 16 };
const STOP: SyncInput = { type: 'stop', code: 'completed', reason: 'the run is complete' };

const compute = (leaseId: string): SyncAction => ({ type: 'computeLease', leaseId });
const restore = (...updates: number[]): SyncAction => ({ type: 'restoreSnapshot', updates });
const ready = (round: number): SyncAction[] => [{ type: 'loadEngine' }, { type: 'announceReady', round }];
const applied: SyncAction[] = [{ type: 'applyUpdate' }, { type: 'loadEngine' }];
const resync = (reason: string, round: number, fromPeers = !reason.endsWith('too late')): SyncAction[] => [
  { type: 'log', entry: { kind: 'resync', reason } },
  { type: 'requestSnapshot', reason, round, fromPeers },
];
const decline = (leaseId: string, round: number): SyncAction => ({
  type: 'declineLease',
  leaseId,
  round,
  code: 'no_state',
  reason: 'why',
});
const refused = (round: number, result: string): SyncAction => ({
  type: 'log',
  entry: { kind: 'refused', round, result, reason: 'why' },
});
const { type: _type, ...work } = COMPUTED;
const credit: SyncAction = { type: 'credit', ...work };

type Row = [what: string, from: SyncState, input: SyncInput, to: SyncState, actions: SyncAction[]];

function check(rows: Row[]): void {
  it.each(rows)('%s', (_, from, input, to, actions) => {
    expect(step(from, input, LIMITS)).toEqual({ state: to, actions });
  });
}

it('a worker that has joined requests a snapshot, and does not log it', () => {
  expect(startSync(0)).toEqual({
    state: syncing(),
    actions: [{ type: 'requestSnapshot', reason: 'joining', round: 0, fromPeers: true }],
  });
});

it('a worker that joins asks for a snapshot that holds every update which it will not receive', () => {
  const { state, actions } = startSync(7);
  expect(actions).toEqual([{ type: 'requestSnapshot', reason: 'joining', round: 7, fromPeers: true }]);
  expect(step(state, snapshot(6), LIMITS)).toEqual({
    state: syncing(6),
    actions: [restore(), ...resync('the snapshot of round 6 came too late', 7)],
  });
});

describe('a parked worker', () => {
  const parked = (heard: number): SyncState => ({ phase: 'parked', heard });
  const subscription = (wanted: boolean, round: number): SyncInput => ({ type: 'subscription', wanted, round });
  const park: SyncAction[] = [{ type: 'park' }];
  check([
    ['receives nothing more, from training', training(4, [{ leaseId: 'a', round: 5 }]), subscription(false, 4), parked(3), park],
    ['receives nothing more, from waiting for a snapshot', syncing(3, [3]), subscription(false, 4), parked(3), park],
    [
      'reports why',
      parked(3),
      { type: 'parked', reason: 'why' },
      parked(3),
      [{ type: 'log', entry: { kind: 'parked', reason: 'why' } }],
    ],
    ['ignores a snapshot that it requested before', parked(3), snapshot(4), parked(3), []],
    ['ignores a lease', parked(3), lease('a', 4), parked(3), []],
    ['computes nothing after the lease that it was at', parked(3), COMPUTED, parked(3), [credit]],
    [
      'opens another engine, and requests no snapshot yet',
      parked(3),
      failed('a', 4, { engineLost: 'the device is gone' }),
      parked(3),
      [decline('a', 4), { type: 'replaceEngine' }],
    ],
    [
      'requests a snapshot that holds every update which it missed when it is wanted again',
      parked(3),
      subscription(true, 9),
      syncing(8),
      resync('it is wanted again', 9),
    ],
    ['is stopped', parked(3), STOP, { phase: 'stopped', notice: { code: 'completed', reason: 'the run is complete' } }, []],
  ]);
});

describe('a cancelled lease', () => {
  const cancel = (leaseId: string): SyncInput => ({ type: 'cancel', leaseId });
  const declined = (code: 'cancelled' | 'dropped', round: number): SyncAction => ({
    type: 'declineLease',
    leaseId: 'a',
    round,
    code,
    reason: code === 'cancelled' ? 'it was cancelled' : 'why',
  });
  check([
    [
      'is declined when it has to wait',
      training(4, [{ leaseId: 'a', round: 5 }]),
      cancel('a'),
      training(4),
      [declined('cancelled', 5)],
    ],
    ['needs no answer when it is answered', training(4), cancel('a'), training(4), []],
    ['needs no answer from a worker that waits for a snapshot', syncing(3), cancel('a'), syncing(3), []],
    [
      'is declined without a word in the log when it was computed for nothing',
      training(4, [{ leaseId: 'b', round: 4 }]),
      { type: 'failed', leaseId: 'a', round: 4, code: 'dropped', reason: 'why' },
      training(4),
      [declined('dropped', 4), compute('b')],
    ],
  ]);
});

describe('a worker that waits for a snapshot', () => {
  check([
    ['is ready when it arrives', syncing(), snapshot(4), training(4, [], -1), [restore(), ...ready(4)]],
    ['retains an update that arrives before it', syncing(3), update(4), syncing(4, [4]), [{ type: 'retainUpdate', round: 4 }]],
    [
      'applies the updates that overtook it, in order',
      syncing(5, [4, 5]),
      snapshot(4),
      training(6, [], 5),
      [restore(4, 5), ...ready(6)],
    ],
    ['applies none that it contains', syncing(5, [3, 4, 5]), snapshot(5), training(6, [], 5), [restore(5), ...ready(6)]],
    ['is ready when it contains all updates', syncing(5, [4, 5]), snapshot(6), training(6, [], 5), [restore(), ...ready(6)]],
    [
      'retains the newest updates when it may retain no more',
      syncing(6, [4, 5, 6]),
      update(7),
      syncing(7, [5, 6, 7]),
      [{ type: 'retainUpdate', round: 7, drop: 4 }],
    ],
    ['retains no update twice', syncing(5, [4, 5]), update(4), syncing(5, [4, 5]), []],
    [
      'requests another when an update is missing between it and the retained ones',
      syncing(6, [5, 6]),
      snapshot(4),
      syncing(6),
      [restore(), ...resync('the snapshot of round 4 came too late', 7)],
    ],
    [
      'requests another when it could not retain all updates',
      syncing(7, [5, 6, 7]),
      snapshot(4),
      syncing(7),
      [restore(), ...resync('the snapshot of round 4 came too late', 8)],
    ],
    ['ignores leases, because the coordinator took them back', syncing(3), lease('a', 4), syncing(3), []],
  ]);
});

describe('a worker in training', () => {
  const a = { leaseId: 'a', round: 5 };
  const b = { leaseId: 'b', round: 5 };
  const later = { leaseId: 'later', round: 6 };
  check([
    ['computes a lease of its round', training(4), lease('a', 4), training(4), [compute('a')]],
    [
      'retains a lease that arrives before the update of the previous round',
      training(4),
      lease('a', 5),
      training(4, [a]),
      [{ type: 'retainLease', leaseId: 'a' }],
    ],
    ['retains no lease twice', training(4, [a]), lease('a', 5), training(4, [a]), []],
    [
      'declines a lease that arrives after the update of its round',
      training(4),
      lease('a', 3),
      training(4),
      [{ type: 'declineLease', leaseId: 'a', round: 4, code: 'no_state', reason: 'its round was over when it came' }],
    ],
    ['applies the update of its round', training(4), update(4), training(5), applied],
    [
      'applies an update and computes the first lease that waited for it',
      training(4, [a, later, b]),
      update(4),
      training(5, [later, b]),
      [...applied, compute('a')],
    ],
    ['does not compute a lease that waits for a later update', training(4, [later]), update(4), training(5, [later]), applied],
    ['ignores an update that its snapshot contained', training(4, [], 2), update(3), training(4), []],
    [
      'requests a snapshot when it missed an update',
      training(4, [a]),
      update(5),
      syncing(5),
      resync('the update of round 4 was missed', 6),
    ],
    ['restores a snapshot that it did not request', training(4, [a]), snapshot(4), training(4, [], 3), [restore(), ...ready(4)]],
    [
      'requests another snapshot when one is older than the last update',
      training(4, [], 3),
      snapshot(3),
      syncing(3),
      [restore(), ...resync('the snapshot of round 3 came too late', 4)],
    ],
  ]);
});

describe('a computed lease', () => {
  const waiting = { leaseId: 'b', round: 4 };
  const later = { leaseId: 'c', round: 5 };
  check([
    ['is credited', training(4), COMPUTED, training(4), [credit]],
    [
      'is followed by the next of its round',
      training(4, [later, waiting]),
      COMPUTED,
      training(4, [later]),
      [credit, compute('b')],
    ],
    ['is not followed by one of a later round', training(4, [later]), COMPUTED, training(4, [later]), [credit]],
    [
      'is declined when it failed, and the next is computed',
      training(4, [waiting]),
      failed('a', 4),
      training(4),
      [decline('a', 4), refused(4, 'no_state'), compute('b')],
    ],
    [
      'is declined when the engine is lost; another engine opens, and the waiting leases are dropped',
      training(4, [waiting, later], 3),
      failed('a', 4, { engineLost: 'the device is gone' }),
      syncing(3),
      [decline('a', 4), ...resync('another engine is opened: the device is gone', 4), { type: 'replaceEngine' }],
    ],
  ]);

  it('reports a lost engine with a reason that fits into a message', () => {
    const { actions } = step(training(4), failed('a', 4, { engineLost: 'x'.repeat(5_000) }), LIMITS);
    const request = actions.find(({ type }) => type === 'requestSnapshot') as Extract<SyncAction, { type: 'requestSnapshot' }>;
    expect(request.reason.length).toBeLessThan(1_000);
  });
});

describe('the result of a contribution', () => {
  const result = (what: ReduceResult['result']): SyncInput => ({ type: 'result', round: 4, result: what, reason: 'why' });
  check([
    ['is logged when it is refused', training(5), result('wrong_tokens'), training(5), [refused(4, 'wrong_tokens')]],
    ['is logged while a snapshot is awaited', syncing(3), result('wrong_tokens'), syncing(3), [refused(4, 'wrong_tokens')]],
    ['is not logged when another worker was faster', training(5), result('already_counted'), training(5), []],
    ['is not logged when its round was over', training(5), result('wrong_round'), training(5), []],
    ['is not logged when it counts', training(5), result('counted'), training(5), []],
  ]);
});

describe('a worker that is stopped', () => {
  const stopped: SyncState = { phase: 'stopped', notice: { code: 'completed', reason: 'the run is complete' } };
  check([
    ['does nothing more, from training', training(4, [{ leaseId: 'a', round: 5 }]), STOP, stopped, []],
    ['does nothing more, from waiting for a snapshot', syncing(3, [3]), STOP, stopped, []],
    ['computes no lease', stopped, lease('a', 4), stopped, []],
    ['applies no update', stopped, update(4), stopped, []],
    ['restores no snapshot', stopped, snapshot(4), stopped, []],
  ]);
});

/** A snapshot and leases on one link, updates on the other, in every order of arrival. */
describe('in every order of arrival', () => {
  const control: SyncInput[] = [snapshot(2), lease('r3', 3), lease('r4', 4)];
  const collective: SyncInput[] = [update(1), update(2), update(3)];

  function merged(first: SyncInput[], second: SyncInput[]): SyncInput[][] {
    if (first.length === 0) return [second];
    if (second.length === 0) return [first];
    return [
      ...merged(first.slice(1), second).map((rest) => [first[0], ...rest]),
      ...merged(first, second.slice(1)).map((rest) => [second[0], ...rest]),
    ];
  }

  const orders = merged(control, collective);

  it.each(
    orders.map(
      (order) => [order.map((input) => `${input.type} ${'round' in input ? input.round : ''}`).join(', '), order] as const,
    ),
  )('%s: the replica reaches round 4, and every lease is computed in its round or declined', (_, order) => {
    let { state } = startSync(0);
    let round = NaN;
    const answered: string[] = [];
    const inputs = [...order];
    for (let input = inputs.shift(); input; input = inputs.shift()) {
      const decision = step(state, input, LIMITS);
      ({ state } = decision);
      for (const action of decision.actions) {
        if (action.type === 'restoreSnapshot') round = 2 + action.updates.length;
        if (action.type === 'applyUpdate') round++;
        if (action.type === 'declineLease') answered.push(action.leaseId);
        if (action.type !== 'computeLease') continue;
        expect(action.leaseId).toBe(`r${round}`);
        answered.push(action.leaseId);
        if (answered.length > 2) throw new Error(`answered again: ${answered.join(', ')}`);
        inputs.unshift({ type: 'computed', round, streams: 1, computeMs: 1, characters: 1 });
      }
    }
    expect(state).toEqual(training(4, []));
    expect(round).toBe(4);
    expect(answered.toSorted()).toEqual(['r3', 'r4']);
  });

  it('covers twenty orders', () => expect(orders).toHaveLength(20));
});

describe('a snapshot at other workers', () => {
  const parked = (heard: number): SyncState => ({ phase: 'parked', heard });
  const keep = (round: number): SyncAction => ({ type: 'keepSnapshot', round });
  check([
    [
      'is fetched while one is waited for',
      syncing(4),
      { type: 'sources', round: 4 },
      { ...syncing(4), sourcesRound: 4 },
      [{ type: 'fetchSnapshot' }],
    ],
    [
      'is given up when an update is dropped that must follow it',
      { ...syncing(6, [4, 5, 6]), sourcesRound: 4 },
      update(7),
      syncing(7),
      resync('other workers send the snapshot too slowly', 8, false),
    ],
    [
      'is not given up for an update that it contains',
      { ...syncing(6, [4, 5, 6]), sourcesRound: 5 },
      update(7),
      { ...syncing(7, [5, 6, 7]), sourcesRound: 5 },
      [{ type: 'retainUpdate', round: 7, drop: 4 }],
    ],
    ['is of no use to a worker that has one', training(4), { type: 'sources', round: 4 }, training(4), []],
    ['is of no use to a parked worker', parked(4), { type: 'sources', round: 4 }, parked(4), []],
    [
      'that cannot be fetched is requested from the coordinator',
      syncing(4, [3, 4]),
      { type: 'sourcesFailed', reason: 'why' },
      syncing(4),
      resync('why', 5, false),
    ],
    ['does not matter once another has come', training(4), { type: 'sourcesFailed', reason: 'why' }, training(4), []],
    ['is kept at once by a worker in its round', training(4), { type: 'seed', round: 4, wanted: true }, training(4), [keep(4)]],
    [
      'is kept later by a worker in an earlier round',
      training(4),
      { type: 'seed', round: 5, wanted: true },
      { ...training(4), seedRound: 5 },
      [],
    ],
    [
      'is kept when its round has come, before the next lease',
      { ...training(4, [{ leaseId: 'a', round: 5 }]), seedRound: 5 },
      { type: 'update', round: 4 },
      training(5),
      [...applied, keep(5), compute('a')],
    ],
    [
      'is not kept before its round',
      { ...training(4), seedRound: 6 },
      { type: 'update', round: 4 },
      { ...training(5), seedRound: 6 },
      applied,
    ],
    [
      'cannot be kept by a worker in a later round',
      training(4),
      { type: 'seed', round: 3, wanted: true },
      training(4),
      [{ type: 'declineSeed', round: 3 }],
    ],
    [
      'cannot be kept by a worker without parameters',
      syncing(4),
      { type: 'seed', round: 5, wanted: true },
      syncing(4),
      [{ type: 'declineSeed', round: 5 }],
    ],
    [
      'is dropped when nobody wants it',
      { ...training(4), seedRound: 5 },
      { type: 'seed', round: 5, wanted: false },
      { ...training(4), seedRound: undefined },
      [{ type: 'dropSnapshot' }],
    ],
  ]);
});
