import { describe, expect, it } from 'vitest';
import { createRunState, step, type Decision, type RunEffect, type RunInput, type RunSettings } from '../src/index.js';
import { SETTINGS } from './settings.js';
import { fastestTeam } from '../src/dealing.js';
import { beginTrial, createTrialBudget, endTrial, mayTry, noteRound } from '../src/trials.js';

interface Machine {
  msPerStream: number;
  transferMs?: number;
  /** chars/s that it reports. Default: 1,000. */
  reports?: number;
}

type Lease = Extract<RunEffect, { type: 'lease' }>;

/** Runs rounds on these machines, one contribution at a time; snapshots arrive at once. */
function createCluster(machines: Record<string, Machine>, settings: Partial<RunSettings> = {}, serviceMs = 0) {
  const state = createRunState({ ...SETTINGS, ...settings }, 0);
  const decisions: Decision[] = [];
  const log: RunEffect[] = [];
  let nowMs = 0;
  let open: { readonly lease: Lease; readonly atMs: number }[] = [];
  const take = (effects: readonly RunEffect[]): void => {
    for (const effect of effects) {
      log.push(effect);
      if (effect.type === 'decision') decisions.push(effect.decision);
      if (effect.type === 'unpark') {
        const { workerId } = effect;
        feed({ type: 'workerSyncing', workerId, reason: 'it is wanted again', round: state.round });
        feed({
          type: 'workerReady',
          trusted: true,
          workerId,
          name: workerId,
          charsPerSecond: machines[workerId].reports ?? 1000,
        });
      }
      if (effect.type !== 'lease') continue;
      const { msPerStream, transferMs = 0 } = machines[effect.workerId];
      open.push({ lease: effect, atMs: nowMs + transferMs + msPerStream * effect.streams.length });
    }
  };
  const feed = (input: RunInput): void => take(step(state, input, nowMs));
  for (const [id, { reports = 1000 }] of Object.entries(machines))
    feed({ type: 'workerReady', trusted: true, workerId: id, name: id, charsPerSecond: reports });
  feed({ type: 'start' });
  const next = (): void => {
    const { lease, atMs } = open.reduce((first, other) => (other.atMs < first.atMs ? other : first));
    open = open.filter((other) => other.lease !== lease);
    nowMs = Math.max(nowMs, atMs);
    const computeMs = machines[lease.workerId].msPerStream * lease.streams.length;
    const lost = lease.round !== state.round || lease.streams.some((stream) => state.units[stream].counted);
    if (lost) feed({ ...lease, type: 'rejected', computeMs, result: 'wrong_round', reason: 'late' });
    else feed({ ...lease, type: 'counted', lossSum: 0, computeMs, serviceMs });
  };
  return {
    state,
    decisions,
    log,
    feed,
    get nowMs() {
      return nowMs;
    },
    rounds(count: number): void {
      for (let i = 0; i < count; i++) {
        while (state.units.some(({ counted }) => !counted)) next();
        feed({ type: 'updated', round: state.round, trainLoss: 2 });
      }
    },
    stateOf: (id: string) => state.workers.get(id)!.state,
    computing: () => new Set([...state.leases.values()].map(({ workerId }) => workerId)),
  };
}

describe('a worker', () => {
  it('is parked when it is too slow for one stream, with the reason as data', () => {
    const { rounds, stateOf, decisions, log } = createCluster({ fast: { msPerStream: 100 }, slow: { msPerStream: 1_000 } });
    rounds(8);
    expect([stateOf('fast'), stateOf('slow')]).toEqual(['ready', 'parked']);
    // 1,000 ms for its one stream, and 800 ms without it.
    expect(decisions).toEqual([{ kind: 'parked', workers: ['slow'], faster: expect.closeTo(0.25, 1) }]);
    expect(log.filter(({ type }) => type === 'park')).toEqual([
      { type: 'park', workerId: 'slow', faster: expect.closeTo(0.25, 1) },
    ]);
  });

  it('is parked when its links cost more than its engine gains', () => {
    const near = createCluster({ a: { msPerStream: 100 }, b: { msPerStream: 100, transferMs: 300 } });
    const far = createCluster({ a: { msPerStream: 100 }, b: { msPerStream: 100, transferMs: 900 } });
    for (const { rounds } of [near, far]) rounds(8);
    expect([near.stateOf('b'), far.stateOf('b')]).toEqual(['ready', 'parked']);
  });

  it('is parked when it costs the all-reduce service more than it gains', () => {
    const machines = (): Record<string, Machine> => ({ a: { msPerStream: 10 }, b: { msPerStream: 40 } });
    const cheap = createCluster(machines(), {}, 1);
    const costly = createCluster(machines(), {}, 30);
    for (const { rounds } of [cheap, costly]) rounds(40);
    expect([cheap.stateOf('b'), costly.stateOf('b')]).toEqual(['ready', 'parked']);
  });

  it('that makes rounds faster takes part, however slow it is', () => {
    const machines: Record<string, Machine> = { fast: { msPerStream: 10 } };
    for (let i = 0; i < 8; i++) machines[`slow${i}`] = { msPerStream: 100 };
    const { rounds, computing } = createCluster(machines, { streams: 64 });
    rounds(8);
    expect(computing().size).toBe(9);
  });

  it('is fetched back when rounds would be faster with it', () => {
    const machines = { fast: { msPerStream: 100 }, slow: { msPerStream: 1_000 } };
    const { rounds, stateOf, decisions, computing } = createCluster(machines);
    rounds(40);
    expect(stateOf('slow')).toBe('parked');
    machines.fast.msPerStream = 1_000;
    rounds(12);
    expect(decisions.filter(({ kind }) => kind === 'unparked')).toEqual([{ kind: 'unparked', workers: ['slow'], why: 'faster' }]);
    expect(computing()).toEqual(new Set(['fast', 'slow']));
  });

  it('rests for fewer rounds when each has many windows', () => {
    const roundsUntilBack = (localSteps: number): number => {
      const machines = { fast: { msPerStream: 100 }, slow: { msPerStream: 1_000 } };
      const { rounds, stateOf, state } = createCluster(machines, { localSteps });
      while (stateOf('slow') !== 'parked') rounds(1);
      const parkedAt = state.round;
      machines.fast.msPerStream = 1_000;
      while (stateOf('slow') === 'parked') rounds(1);
      return state.round - parkedAt;
    };
    expect(roundsUntilBack(1)).toBeGreaterThanOrEqual(25);
    expect(roundsUntilBack(32)).toBeLessThan(10);
  });

  it.each([
    [9, 8],
    [20, 8],
    [40, 3],
  ])('is not fetched when there is no unit for it: %i equal workers, %i units', (count, streams) => {
    const machines: Record<string, Machine> = {};
    for (let i = 0; i < count; i++) machines[`w${i}`] = { msPerStream: 10 };
    const { rounds, decisions, computing } = createCluster(machines, { streams });
    rounds(400);
    expect(decisions.filter((decision) => decision.kind === 'unparked' && decision.why !== 'trial')).toEqual([]);
    expect(computing().size).toBeLessThanOrEqual(streams);
  });

  it('that has become faster is found by a trial', () => {
    const machines = { fast: { msPerStream: 100 }, slow: { msPerStream: 1_000 } };
    const { rounds, computing, decisions } = createCluster(machines);
    rounds(10);
    machines.slow.msPerStream = 100;
    rounds(300);
    expect(decisions.filter(({ kind }) => kind === 'unparked')).toEqual([{ kind: 'unparked', workers: ['slow'], why: 'trial' }]);
    expect(computing()).toEqual(new Set(['fast', 'slow']));
  });

  it('that is still slow is parked again after its trial, without a word, and rests longer each time', () => {
    const { rounds, stateOf, decisions, log, state } = createCluster({
      fast: { msPerStream: 100 },
      slow: { msPerStream: 1_000 },
    });
    const at: number[] = [];
    for (let i = 0; i < 4_000; i++) {
      const before = log.length;
      rounds(1);
      if (log.slice(before).some(({ type }) => type === 'unpark')) at.push(state.round);
    }
    expect(at.length).toBeGreaterThan(3);
    const rests = at.slice(1).map((round, i) => round - at[i]);
    for (const [i, rest] of rests.entries()) expect(rest).toBeGreaterThanOrEqual(25 * 2 ** (i + 1));
    expect(decisions.map(({ kind }) => kind)).toEqual(['parked']);
    expect(['parked', 'ready']).toContain(stateOf('slow'));
  });

  it('that reports a much higher speed than the others is tried soon after disturbed leases, once', () => {
    const machines = () => ({ steady: { msPerStream: 100 }, disturbed: { msPerStream: 1_000, reports: 10_000 } });
    const still = createCluster(machines());
    still.rounds(30);
    expect(still.log.filter(({ type }) => type === 'unpark')).toHaveLength(1);
    expect(still.decisions.map(({ kind }) => kind)).toEqual(['parked']);
    expect(still.computing()).toEqual(new Set(['steady']));

    const calm = machines();
    const later = createCluster(calm);
    while (later.stateOf('disturbed') !== 'parked') later.rounds(1);
    calm.disturbed.msPerStream = 10;
    later.rounds(12);
    expect(later.computing()).toContain('disturbed');
  });

  it('that was of use after a trial is tried again as soon as at first', () => {
    const machines = { fast: { msPerStream: 100 }, slow: { msPerStream: 1_000 } };
    const { rounds, state } = createCluster(machines);
    rounds(1_500);
    expect(state.workers.get('slow')!.trials).toBeGreaterThan(1);
    machines.slow.msPerStream = 100;
    rounds(2_500);
    expect(state.workers.get('slow')!.trials).toBe(0);
  });
});

describe('a parked worker', () => {
  const withParked = () => {
    const cluster = createCluster({ fast: { msPerStream: 100 }, slow: { msPerStream: 1_000 } });
    cluster.rounds(8);
    expect(cluster.stateOf('slow')).toBe('parked');
    cluster.log.length = 0;
    return cluster;
  };

  it('gets no snapshot that it asked for before it was parked, and no leases', () => {
    const { feed, log, stateOf } = withParked();
    feed({ type: 'workerSyncing', workerId: 'slow', reason: 'missed an update', round: 8 });
    feed({ type: 'workerReady', trusted: true, workerId: 'slow', name: 'slow', charsPerSecond: 1_000 });
    expect(log).toEqual([]);
    expect(stateOf('slow')).toBe('parked');
  });

  it('stays parked whatever an old lease of it comes to', () => {
    const { feed, stateOf } = withParked();
    const old = { workerId: 'slow', leaseId: '0-1' } as const;
    feed({ type: 'declined', ...old, code: 'paused', reason: 'on battery' });
    feed({ type: 'rejected', ...old, round: 7, computeMs: 1, result: 'replica_diverged', reason: 'differs' });
    feed({ type: 'counted', ...old, round: 8, streams: [0], lossSum: 0, computeMs: 1, serviceMs: 1 });
    expect(stateOf('slow')).toBe('parked');
  });

  it('is fetched back at once when nobody else is left, and not when another is expected in a moment', () => {
    const alone = withParked();
    alone.feed({ type: 'workerLeft', workerId: 'fast', reason: 'gone' });
    expect(alone.computing()).toEqual(new Set(['slow']));
    const soon = withParked();
    soon.feed({ type: 'workerSyncing', workerId: 'fast', reason: 'missed an update', round: 8 });
    expect(soon.stateOf('slow')).toBe('parked');
  });

  it('stays parked when others are fetched for all the work that is left', () => {
    const machines: Record<string, Machine> = { fast: { msPerStream: 10 } };
    for (let i = 0; i < 12; i++) machines[`slow${i}`] = { msPerStream: 150 };
    const { rounds, feed, log } = createCluster(machines);
    rounds(60);
    log.length = 0;
    feed({ type: 'workerLeft', workerId: 'fast', reason: 'gone' });
    expect(log.filter(({ type }) => type === 'unpark')).toHaveLength(8);
  });

  it('does not stop the run from seeing that nobody is there', () => {
    const { feed, log } = withParked();
    feed({ type: 'workerLeft', workerId: 'fast', reason: 'gone' });
    expect(log.filter(({ type }) => type === 'waiting')).toEqual([]);
    feed({ type: 'workerLeft', workerId: 'slow', reason: 'gone' });
    expect(log.filter(({ type }) => type === 'waiting')).toHaveLength(1);
  });
});

describe('trials', () => {
  it('are charged what the rounds take longer, and wait until the run can afford the next', () => {
    const budget = createTrialBudget();
    let nowMs = 0;
    const pass = (ms: number, rounds = 1): void => {
      for (let i = 0; i < rounds; i++) noteRound(budget, (nowMs += ms));
    };
    pass(100, 80);
    // A first trial may take a whole round.
    expect(mayTry(budget)).toBe(false);
    pass(100, 40);
    expect(mayTry(budget)).toBe(true);
    beginTrial(budget, 'w', nowMs);
    expect(mayTry(budget)).toBe(false);
    pass(300);
    pass(90);
    endTrial(budget, 'another');
    endTrial(budget, 'w');
    expect(budget).toMatchObject({ spentMs: 200, expectedMs: 150, current: undefined });
    pass(100, 200);
    expect(mayTry(budget)).toBe(false);
    pass(100, 40);
    expect(mayTry(budget)).toBe(true);
  });

  it.each(Array.from({ length: 12 }, (_, seed) => seed))(
    'cost a run at most 2 % of its time, with machines of seed %i',
    (seed) => {
      let state = seed + 1;
      const random = (from: number, to: number): number => {
        state = (state * 48_271) % 2_147_483_647;
        return from + ((to - from) * state) / 2_147_483_647;
      };
      const streams = Math.round(random(4, 32));
      const fast = { msPerStream: random(5, 50), transferMs: random(0, 50) };
      const machines: Record<string, Machine> = { fast };
      // None of them is done with one stream before the fast one is done with all.
      const useless = (streams * fast.msPerStream + fast.transferMs) * 1.2;
      for (let i = 0; i < random(1, 20); i++)
        machines[`slow${i}`] = { msPerStream: useless * random(1, 10), transferMs: random(0, 50) };
      const time = (who: Record<string, Machine>): number => {
        const cluster = createCluster(who, { streams });
        cluster.rounds(100);
        const fromMs = cluster.nowMs;
        cluster.rounds(1_500);
        return cluster.nowMs - fromMs;
      };
      expect(time(machines) / time({ fast })).toBeLessThan(1.02);
    },
  );

  it('are charged a part of a pause at most, and nothing of a round whose worker left', () => {
    const budget = createTrialBudget();
    for (let i = 0; i <= 20; i++) noteRound(budget, i * 100);
    beginTrial(budget, 'w', 2_000);
    noteRound(budget, 62_000);
    expect(budget.spentMs).toBe(1_000);
    const { rounds, feed, state } = createCluster({
      a: { msPerStream: 100 },
      b: { msPerStream: 100 },
      slow: { msPerStream: 2_000 },
    });
    rounds(40);
    feed({ type: 'workerLeft', workerId: 'slow', reason: 'crashed' });
    expect(state.parking.trials.lastMs).toBeDefined();
    feed({ type: 'workerLeft', workerId: 'a', reason: 'crashed' });
    expect(state.parking.trials.lastMs).toBeUndefined();
  });

  it('of a worker that never answers do not keep others from theirs', () => {
    const budget = createTrialBudget();
    noteRound(budget, 0);
    beginTrial(budget, 'frozen', 0);
    noteRound(budget, 60_000);
    expect(budget.current).toBeDefined();
    noteRound(budget, 121_000);
    expect(budget.current).toBeUndefined();
  });
});

describe('the fastest team', () => {
  const capacity = (charsPerSecond: number, transferMs = 0) => ({ workerId: 'w', charsPerSecond, transferMs, held: 0 });
  const load = { units: 32, unitCharacters: 1_000, serviceMs: 0 };
  it.each([
    ['is everyone who helps', [1_000, 1_000, 500], 0, [0, 1, 2]],
    ['leaves out who is too slow for one unit', [1_000, 1_000, 20], 0, [0, 1]],
    ['leaves out who costs more than it helps', [1_000, 1_000, 100], 1_000, [0, 1]],
    ['is at least one worker', [1_000, 1_000], 100_000, [0]],
  ])('%s', (_, speeds, serviceMs, team) => {
    expect(
      fastestTeam(
        speeds.map((speed) => capacity(speed)),
        { ...load, serviceMs },
      ),
    ).toEqual(team);
  });

  it('leaves out a worker whose link takes as long as the others for the whole round', () => {
    expect(fastestTeam([capacity(1_000), capacity(1_000, 40_000)], load)).toEqual([0]);
    expect(fastestTeam([capacity(1_000), capacity(1_000, 10_000)], load)).toEqual([0, 1]);
  });
});

describe('a worker at whose link updates pile up', () => {
  const MINUTE = 60_000;
  /** Rounds take 800 ms. */
  const withSlowLink = () => {
    const cluster = createCluster({ a: { msPerStream: 200 }, slow: { msPerStream: 200 } });
    cluster.rounds(4);
    expect(cluster.computing()).toEqual(new Set(['a', 'slow']));
    cluster.feed({ type: 'lagging', workerId: 'slow' });
    return cluster;
  };

  it('is parked with the reason, and others get its leases', () => {
    const { log, decisions, stateOf, rounds } = withSlowLink();
    expect(stateOf('slow')).toBe('parked');
    expect(log.find(({ type }) => type === 'park')).toEqual({ type: 'park', workerId: 'slow', faster: 0, restMs: MINUTE });
    expect(decisions).toEqual([{ kind: 'lagging', worker: 'slow', restMs: MINUTE }]);
    rounds(2);
  });

  it('rests for a minute although rounds would be faster with it, then twice as long each time', () => {
    const cluster = withSlowLink();
    const rests: number[] = [];
    for (let i = 0; i < 4; i++) {
      const parkedMs = cluster.nowMs;
      while (cluster.stateOf('slow') === 'parked') cluster.rounds(1);
      rests.push(cluster.nowMs - parkedMs);
      cluster.feed({ type: 'lagging', workerId: 'slow' });
    }
    rests.forEach((ms, i) => {
      expect(ms).toBeGreaterThanOrEqual(MINUTE * 2 ** i);
      expect(ms).toBeLessThan(MINUTE * 2 ** i * 1.5);
    });
  });

  it('is fetched at once when nobody else can compute', () => {
    const { feed, stateOf } = withSlowLink();
    feed({ type: 'workerLeft', workerId: 'a', reason: 'gone' });
    expect(stateOf('slow')).toBe('ready');
  });

  it('that is parked already changes nothing', () => {
    const { feed, decisions, log } = withSlowLink();
    const before = [decisions.length, log.length];
    feed({ type: 'lagging', workerId: 'slow' });
    expect([decisions.length, log.length]).toEqual(before);
  });

  it('before it was ready is disconnected: parked, it would never be fetched back', () => {
    const { feed, log } = withSlowLink();
    feed({ type: 'workerSyncing', workerId: 'new', reason: 'joining', round: 4 });
    const before = log.length;
    feed({ type: 'lagging', workerId: 'new' });
    expect(log.slice(before)).toEqual([{ type: 'leaveOut', workerId: 'new' }]);
  });
});
