import { describe, expect, it } from 'vitest';
import { createRunState, step, type Decision, type RunEffect, type RunInput, type RunSettings } from '../src/index.js';
import { SETTINGS } from './settings.js';

/** A run with these workers, of which the later ones are faster. */
function createCluster(names: readonly string[], settings: Partial<RunSettings> = {}) {
  const state = createRunState({ ...SETTINGS, streams: 64, topology: 'peers', ...settings }, 0);
  let nowMs = 0;
  const uses: Extract<RunEffect, { type: 'usePeers' }>[] = [];
  const decisions: Decision[] = [];
  const feed = (input: RunInput): void => {
    for (const effect of step(state, input, nowMs)) {
      if (effect.type === 'usePeers') uses.push(effect);
      if (effect.type === 'decision' && effect.decision.kind === 'topology') decisions.push(effect.decision);
    }
  };
  const join = (workerId: string, charsPerSecond: number): void =>
    feed({ type: 'workerReady', trusted: true, workerId, name: `the ${workerId}`, charsPerSecond });
  names.forEach((name, i) => join(name, 100 * (i + 1)));
  feed({ type: 'start' });
  return {
    state,
    uses,
    decisions,
    feed,
    join,
    /** Completes rounds. @param times of a round: starMs while the service sums, peersMs while workers do */
    rounds(count: number, { starMs = 1_000, peersMs = 1_000 } = {}): void {
      for (let i = 0; i < count; i++) {
        nowMs += state.topology.reducers.length > 0 ? peersMs : starMs;
        for (const { id, workerId, round, units } of [...state.leases.values()]) {
          const streams = units.flatMap((unit) => state.units[unit].streams).filter((stream) => !state.units[stream].counted);
          if (streams.length > 0)
            feed({ type: 'counted', leaseId: id, workerId, round, streams, lossSum: 0, computeMs: 1, serviceMs: 0 });
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
    offer('a', 3);
    rounds(1);
    expect(decisions).toEqual([]);
    for (const id of ['b', 'c']) offer(id, 3);
    rounds(1);
    expect(uses.at(-1)!.reducers.toSorted()).toEqual(THREE);
    expect(decisions).toEqual([{ kind: 'topology', reducers: expect.arrayContaining(['the a', 'the b', 'the c']), able: 3 }]);
  });

  it.each([
    ['auto', 3, []],
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
    cluster.offer('a', 4);
    const links: readonly (readonly [linked: number, reducers: readonly string[]])[] = [
      ...([
        [2, []],
        [3, ['a', 'c']],
        [2, ['a', 'c']],
        [1, []],
        [2, []],
        [3, ['a', 'c']],
      ] as const),
    ];
    for (const [linked, reducers] of links) {
      cluster.offer('c', linked);
      cluster.rounds(1);
      expect(cluster.reducers).toEqual(reducers);
    }
    expect(cluster.decisions[1]).toEqual({ kind: 'topology', reducers: [], able: 1 });
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
    cluster.feed({ type: 'workerLeft', workerId: 'c', reason: 'gone' });
    cluster.rounds(1);
    expect(cluster.reducers).toEqual([]);
    expect(cluster.candidates).toEqual(['d']);
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

describe('a run that may choose', () => {
  /** Rounds of each way that are compared. */
  const COMPARED = 9;
  const TRIAL = COMPARED + 3;

  function choosing() {
    const cluster = createCluster(THREE, { topology: 'auto', rounds: 100_000 });
    for (const id of THREE) cluster.offer(id, 3);
    // The first one only starts the clock.
    cluster.rounds(1);
    return cluster;
  }
  const told = (reducers: readonly string[], peersMs: number, starMs: number): Decision =>
    expect.objectContaining({ kind: 'topology', reducers, compared: { peersMs, starMs } }) as Decision;

  it('has workers sum once a trial has shown that rounds are shorter by a tenth', () => {
    const cluster = choosing();
    cluster.rounds(COMPARED - 1, { starMs: 100 });
    expect(cluster.reducers).toEqual([]);
    cluster.rounds(1, { starMs: 100 });
    expect(cluster.reducers).toEqual(THREE);
    expect(cluster.decisions).toEqual([]);
    cluster.rounds(TRIAL, { peersMs: 90 });
    expect(cluster.reducers).toEqual(THREE);
    expect(cluster.decisions).toEqual([told(['the a', 'the b', 'the c'], 90, 100)]);
  });

  it('goes back to the service when they are not, and says so once', () => {
    const cluster = choosing();
    cluster.rounds(COMPARED, { starMs: 100 });
    cluster.rounds(TRIAL, { peersMs: 91, starMs: 100 });
    expect(cluster.reducers).toEqual([]);
    expect(cluster.decisions).toEqual([told([], 91, 100)]);
    cluster.rounds(5_000, { peersMs: 91, starMs: 100 });
    expect(cluster.decisions).toHaveLength(1);
  });

  it('gives up a trial that makes rounds much longer, and rests until it has paid for itself a hundred times', () => {
    const cluster = choosing();
    const times = { starMs: 100, peersMs: 1_000 };
    cluster.rounds(COMPARED, times);
    cluster.rounds(3, times);
    expect(cluster.reducers).toEqual([]);
    const { length } = cluster.uses;
    // Three rounds, each 900 ms too long.
    cluster.rounds(2_690, times);
    expect(cluster.uses).toHaveLength(length);
    cluster.rounds(20, times);
    expect(cluster.uses.length).toBeGreaterThan(length);
  });

  it('tries the service again later, for example because links have become slow', () => {
    const cluster = choosing();
    cluster.rounds(COMPARED + TRIAL, { starMs: 100, peersMs: 50 });
    expect(cluster.reducers).toEqual(THREE);
    cluster.rounds(2_000, { starMs: 100, peersMs: 300 });
    expect(cluster.reducers).toEqual([]);
    expect(cluster.decisions.at(-1)).toEqual(told([], 300, 100));
  });

  it('spends no more than a hundredth of its time on trials', () => {
    const cluster = choosing();
    const times = { starMs: 100, peersMs: 195 };
    let tried = 0;
    const rounds = 20_000;
    for (let i = 0; i < rounds; i++) {
      if (cluster.reducers.length > 0) tried++;
      cluster.rounds(1, times);
    }
    expect(tried).toBeGreaterThan(TRIAL);
    expect(tried * 0.95).toBeLessThan(rounds * 0.011);
  });

  const cut = (cluster: ReturnType<typeof choosing>): void => THREE.slice(1).forEach((id) => cluster.offer(id, 1));
  const mend = (cluster: ReturnType<typeof choosing>): void => THREE.forEach((id) => cluster.offer(id, 3));

  it('has a trial that becomes impossible rest like one that changed nothing', () => {
    const cluster = choosing();
    const times = { starMs: 100, peersMs: 199 };
    for (let i = 0; i < 300; i++) {
      if (cluster.reducers.length > 0) cut(cluster);
      else mend(cluster);
      cluster.rounds(1, times);
    }
    expect(cluster.decisions).toEqual([]);
    expect(cluster.uses.filter(({ reducers }) => reducers.length > 0)).toHaveLength(1);
    cluster.rounds(400, { starMs: 100, peersMs: 50 });
    expect(cluster.reducers).toEqual(THREE);
  });

  it.each(['a moment without links', 'the loss of the service'])(
    'has the workers sum again after %s, without another trial',
    (what) => {
      const cluster = choosing();
      const times = { starMs: 100, peersMs: 50 };
      cluster.rounds(COMPARED + TRIAL + 500, times);
      expect(cluster.reducers).toEqual(THREE);
      if (what === 'the loss of the service') cluster.feed({ type: 'reopen' });
      else cut(cluster);
      cluster.rounds(2, times);
      expect(cluster.reducers).toEqual([]);
      mend(cluster);
      cluster.rounds(1, times);
      expect(cluster.reducers).toEqual(THREE);
    },
  );

  it('never has one worker sum alone, also when the others are lost during a trial of the service', () => {
    const cluster = choosing();
    cluster.rounds(COMPARED + TRIAL, { starMs: 100, peersMs: 50 });
    while (cluster.reducers.length > 0) cluster.rounds(1, { starMs: 100, peersMs: 50 });
    cut(cluster);
    for (let i = 0; i < 30; i++) {
      cluster.rounds(1, { starMs: 100, peersMs: 50 });
      expect(cluster.reducers.length).not.toBe(1);
    }
  });
});
