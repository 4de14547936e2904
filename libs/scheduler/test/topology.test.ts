import { describe, expect, it } from 'vitest';
import { createRunState, step, type Decision, type RunEffect, type RunInput, type RunSettings } from '../src/index.js';
import { SETTINGS } from './settings.js';

/** A run with these workers, of which the later ones are faster. */
function createCluster(names: readonly string[], settings: Partial<RunSettings> = {}) {
  const state = createRunState({ ...SETTINGS, streams: 64, ...settings }, 0);
  const uses: Extract<RunEffect, { type: 'usePeers' }>[] = [];
  const decisions: Decision[] = [];
  const feed = (input: RunInput): void => {
    for (const effect of step(state, input, state.round * 1_000)) {
      if (effect.type === 'usePeers') uses.push(effect);
      if (effect.type === 'decision' && effect.decision.kind === 'topology') decisions.push(effect.decision);
    }
  };
  const join = (workerId: string, charsPerSecond: number): void =>
    feed({ type: 'workerReady', workerId, name: `the ${workerId}`, charsPerSecond });
  names.forEach((name, i) => join(name, 100 * (i + 1)));
  feed({ type: 'start' });
  return {
    state,
    uses,
    decisions,
    feed,
    join,
    /** Counts everything of a round. */
    rounds(count: number): void {
      for (let i = 0; i < count; i++) {
        for (const { id, workerId, round, units } of [...state.leases.values()]) {
          const streams = units.flatMap((unit) => state.units[unit].streams).filter((stream) => !state.units[stream].counted);
          if (streams.length > 0) feed({ type: 'counted', leaseId: id, workerId, round, streams, computeMs: 1, serviceMs: 0 });
        }
        feed({ type: 'updated', round: state.round, trainLoss: 2 });
      }
    },
    offer: (workerId: string, linked: number, members = names.length): void =>
      feed({ type: 'peer', workerId, offered: true, members, linked }),
    lose: (workerId: string): void => feed({ type: 'peer', workerId, offered: false, members: names.length, linked: 0 }),
    get reducers() {
      return [...state.topology.reducers].sort();
    },
    get candidates() {
      return [...state.topology.candidates].sort();
    },
  };
}

const THREE = ['a', 'b', 'c'];

describe('who sums', () => {
  it('is the service until enough workers can be reached by the others', () => {
    const { offer, uses, decisions, rounds } = createCluster(THREE);
    for (const id of THREE) offer(id, 0);
    expect(uses.at(-1)).toMatchObject({ candidates: expect.arrayContaining(THREE), reducers: [] });
    expect(decisions).toEqual([]);
    for (const id of ['a', 'b']) offer(id, 3);
    rounds(1);
    expect(decisions).toEqual([]);
    offer('c', 3);
    rounds(1);
    expect(uses.at(-1)!.reducers.toSorted()).toEqual(THREE);
    expect(decisions).toEqual([{ kind: 'topology', reducers: expect.arrayContaining(['the a', 'the b', 'the c']), able: 3 }]);
  });

  it.each([
    ['auto', 2, []],
    ['peers', 2, ['a', 'b']],
    ['peers', 1, []],
    ['star', 3, []],
  ] as const)('with --topology %s, of which %i can sum, is %j', (topology, able, expected) => {
    const cluster = createCluster(THREE, { topology });
    for (const id of THREE.slice(0, able)) cluster.offer(id, 3);
    cluster.rounds(1);
    expect(cluster.reducers).toEqual(expected);
  });

  it('needs three quarters of the others to reach a worker, and half of them to keep it', () => {
    const cluster = createCluster([...THREE, 'd']);
    for (const id of ['a', 'b']) cluster.offer(id, 4);
    const links: readonly (readonly [linked: number, reducers: readonly string[]])[] = [
      ...([
        [2, []],
        [3, THREE],
        [2, THREE],
        [1, []],
        [2, []],
        [3, THREE],
      ] as const),
    ];
    for (const [linked, reducers] of links) {
      cluster.offer('c', linked);
      cluster.rounds(1);
      expect(cluster.reducers).toEqual(reducers);
    }
    expect(cluster.decisions[1]).toEqual({ kind: 'topology', reducers: [], able: 2 });
  });

  it('are at most sixteen, the fastest, and those that are chosen stay', () => {
    const names = Array.from({ length: 20 }, (_, i) => `w${String(i).padStart(2, '0')}`);
    const cluster = createCluster(names);
    for (const id of names.slice(0, 16)) cluster.offer(id, 20);
    cluster.rounds(1);
    const first = cluster.reducers;
    expect(first).toEqual(names.slice(0, 16));
    for (const id of names.slice(16)) cluster.offer(id, 20);
    cluster.rounds(1);
    expect(cluster.reducers).toEqual(first);
    cluster.feed({ type: 'workerLeft', workerId: 'w00', reason: 'gone' });
    cluster.rounds(1);
    expect(cluster.reducers).toHaveLength(16);
    expect(cluster.reducers).toEqual(expect.arrayContaining(first.slice(1)));
  });

  it('is no worker that is parked, paused or gone', () => {
    const cluster = createCluster([...THREE, 'd']);
    for (const id of [...THREE, 'd']) cluster.offer(id, 4);
    cluster.rounds(1);
    cluster.state.workers.get('a')!.state = 'parked';
    cluster.rounds(1);
    expect(cluster.reducers).toEqual(['b', 'c', 'd']);
    cluster.feed({ type: 'workerLeft', workerId: 'b', reason: 'gone' });
    expect(cluster.reducers).toEqual(['c', 'd']);
    cluster.rounds(1);
    expect(cluster.reducers).toEqual([]);
    expect(cluster.candidates).toEqual(['c', 'd']);
  });

  it('tells nothing while nothing changes', () => {
    const cluster = createCluster(THREE);
    for (const id of THREE) cluster.offer(id, 3);
    cluster.rounds(1);
    const { length } = cluster.uses;
    cluster.rounds(20);
    for (const id of THREE) cluster.offer(id, 3);
    expect(cluster.uses).toHaveLength(length);
  });
});

describe('a worker that was lost while it summed', () => {
  it('rests, and for longer each time', () => {
    const cluster = createCluster([...THREE, 'd']);
    const all = [...THREE, 'd'];
    for (const id of all) cluster.offer(id, 4);
    cluster.rounds(1);
    for (const rest of [50, 100, 200]) {
      cluster.lose('a');
      cluster.offer('a', 4);
      expect(cluster.reducers).toEqual(['b', 'c', 'd']);
      cluster.rounds(rest - 1);
      expect(cluster.reducers).toEqual(['b', 'c', 'd']);
      cluster.rounds(1);
      expect(cluster.reducers).toEqual(all);
    }
  });

  it('is not blamed when it left, or when the service was lost', () => {
    const cluster = createCluster(THREE);
    for (const id of THREE) cluster.offer(id, 3);
    cluster.rounds(1);
    cluster.feed({ type: 'reopen' });
    expect([cluster.reducers, cluster.candidates]).toEqual([[], []]);
    for (const id of THREE) cluster.lose(id);
    for (const id of THREE) cluster.offer(id, 3);
    cluster.rounds(1);
    expect(cluster.reducers).toEqual(THREE);
    cluster.feed({ type: 'workerLeft', workerId: 'a', reason: 'gone' });
    cluster.lose('a');
    cluster.join('a', 100);
    cluster.offer('a', 3);
    cluster.rounds(1);
    expect(cluster.reducers).toEqual(THREE);
  });
});
