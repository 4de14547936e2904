import { describe, expect, it } from 'vitest';
import { createRunState, step, type Decision, type Lent, type RunEffect, type RunInput, type RunSettings } from '../src/index.js';

const SETTINGS: RunSettings = {
  streams: 8,
  window: 10,
  rounds: 20,
  windowsPerPass: 4,
  evaluateEvery: 5,
  checkpointEvery: 10,
  sampleEvery: 0,
  chanceLoss: 4,
  maxLoss: 3,
  leaseStreams: 0,
};

/** Drives the scheduler as a shell would, with a clock of its own. */
function createRun(settings: Partial<RunSettings> = {}, round = 0) {
  const state = createRunState({ ...SETTINGS, ...settings }, round);
  let nowMs = 0;
  const run = {
    state,
    pass(ms: number) {
      nowMs += ms;
    },
    feed: (input: RunInput) => step(state, input, nowMs),
    join: (workerId: string, charsPerSecond = 1000) =>
      leases(run.feed({ type: 'workerReady', trusted: true, workerId, name: workerId, charsPerSecond })),
    /** All of the time was spent in the engine. */
    count: (lease: Lease) => run.feed({ ...lease, type: 'counted', lossSum: 0, computeMs: Infinity, serviceMs: 0 }),
    commit: (trainLoss = 2) => run.feed({ type: 'updated', round: state.round, trainLoss }),
    /** What follows when the workers that are fetched back have their snapshots. */
    fetched: (effects: readonly RunEffect[]): readonly RunEffect[] =>
      effects.flatMap((effect) => {
        if (effect.type !== 'unpark') return [];
        const { workerId } = effect;
        const { name, reportedCharsPerSecond: charsPerSecond } = state.workers.get(workerId)!;
        const asked = run.feed({ type: 'workerSyncing', workerId, reason: 'wanted', round: state.round });
        return [...asked, ...run.feed({ type: 'workerReady', trusted: true, workerId, name, charsPerSecond })];
      }),
    leave: (workerId: string) => run.feed({ type: 'workerLeft', workerId, reason: 'crashed' }),
  };
  return run;
}
type Lease = RunEffect & { type: 'lease' };
const leases = (effects: readonly RunEffect[]): Lease[] => effects.filter((effect) => effect.type === 'lease');
const decisions = (effects: readonly RunEffect[]): Decision[] =>
  effects.flatMap((effect) => (effect.type === 'decision' ? [effect.decision] : []));
const types = (effects: readonly RunEffect[]) => effects.map((effect) => effect.type).filter((type) => type !== 'decision');

/** Two workers that have each computed half of round 0. */
function pairAtRoundOne() {
  const run = createRun();
  run.join('a');
  run.join('b');
  const opened = leases(run.feed({ type: 'start' }));
  run.pass(100);
  for (const lease of opened) run.count(lease);
  return { run, opened: leases(run.commit()) };
}

describe('a run', () => {
  it('opens the first round when it starts and lends every stream once', () => {
    const run = createRun();
    run.join('a');
    run.join('b');
    const effects = run.feed({ type: 'start' });
    expect(effects[0]).toEqual({ type: 'openRound', round: 0 });
    expect(leases(effects).flatMap((lease) => lease.streams)).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
  });

  it('says once that it waits for a worker, and continues when one joins', () => {
    const run = createRun();
    expect(types(run.feed({ type: 'start' }))).toEqual(['openRound', 'waiting']);
    expect(types(run.feed({ type: 'tick' }))).toEqual([]);
    expect(run.join('a')[0].streams).toHaveLength(8);
  });

  it('starts streams from zeros, lets workers keep their states, and resets them where streams wrap', () => {
    const { run, opened } = pairAtRoundOne();
    expect(opened.map((lease) => lease.states)).toEqual(['hhhh', 'hhhh']);
    let current = opened;
    while (run.state.round < 4) {
      for (const lease of current) run.count(lease);
      current = leases(run.commit());
    }
    expect(current.map((lease) => lease.states)).toEqual(['zzzz', 'zzzz']);
  });

  it('lends the streams of a worker that left to another in the same round, with their states', () => {
    const { run, opened } = pairAtRoundOne();
    const [mine, lost] = opened;
    run.count(mine);
    const again = leases(run.leave(lost.workerId));
    expect(again).toHaveLength(1);
    expect(again[0]).toMatchObject({ workerId: mine.workerId, streams: lost.streams, states: 'gggg', round: 1 });
  });

  it('holds the streams of a lost worker for the worker that is done first', () => {
    const { run, opened } = pairAtRoundOne();
    const effects = run.leave(opened[1].workerId);
    expect(leases(effects)).toEqual([]);
    expect(decisions(effects)).toEqual([
      { kind: 'workerLeft', worker: 'b', reason: 'crashed', lent: { streams: 0, workers: 0, uncovered: 4, pausedBy: [] } },
    ]);
    expect(leases(run.count(opened[0]))[0].streams).toEqual(opened[1].streams);
  });

  it('sends states to a worker that came back, because it no longer holds any', () => {
    const { run, opened } = pairAtRoundOne();
    run.leave('b');
    run.join('b');
    for (const lease of opened.filter(({ workerId }) => workerId === 'a')) run.count(lease);
    const late = leases(run.feed({ type: 'tick' }));
    for (const lease of [...late, ...run.state.leases.values()]) expect('states' in lease ? lease.states : 'gggg').toBe('gggg');
  });

  it('lends late streams to a worker that is done, and the first result counts', () => {
    const { run, opened } = pairAtRoundOne();
    const [fast, slow] = opened;
    run.count(fast);
    run.pass(slow.deadlineMs);
    const backup = leases(run.feed({ type: 'tick' }));
    expect(backup).toHaveLength(1);
    expect(backup[0]).toMatchObject({ workerId: fast.workerId, streams: slow.streams, states: 'gggg' });
    run.count(slow);
    expect(types(run.commit())).toContain('openRound');
  });

  it('lends late streams apart from others: whichever result comes first covers the same streams', () => {
    const run = createRun();
    for (const id of ['a', 'b', 'c']) run.join(id);
    const opened = leases(run.feed({ type: 'start' }));
    const [a, b, c] = ['a', 'b', 'c'].map((id) => opened.find(({ workerId }) => workerId === id)!);
    run.pass(Math.max(...opened.map(({ deadlineMs }) => deadlineMs)));
    run.feed({ type: 'tick' });
    run.leave('c');
    const backups = leases(run.count(b));
    expect(backups.map(({ streams }) => streams)).toEqual(expect.arrayContaining([a.streams, c.streams]));
    expect(backups).toHaveLength(2);
  });

  it('cancels the lease of the loser as soon as the winner of a race counts', () => {
    const cancelled = (effects: readonly RunEffect[]) => effects.filter(({ type }) => type === 'cancel');
    for (const winner of ['fast', 'slow'] as const) {
      const { run, opened } = pairAtRoundOne();
      const [fast, slow] = opened;
      expect(cancelled(run.count(fast))).toEqual([]);
      run.pass(slow.deadlineMs);
      const [backup] = leases(run.feed({ type: 'tick' }));
      const [won, lost] = winner === 'fast' ? [backup, slow] : [slow, backup];
      const { workerId, leaseId } = lost;
      expect(cancelled(run.count(won))).toEqual([{ type: 'cancel', workerId, leaseId }]);
      expect(run.state.leases.size).toBe(0);
      const answer = run.feed({ type: 'declined', workerId, leaseId, code: 'dropped', reason: 'counted' });
      expect(decisions(answer)).toEqual([]);
      expect(run.state.idle.has(workerId)).toBe(true);
    }
  });

  it('lends nothing to a late worker whose lease is cancelled until it answers', () => {
    const { run, opened } = pairAtRoundOne();
    const [fast, slow] = opened;
    run.count(fast);
    run.pass(slow.deadlineMs);
    const [backup] = leases(run.feed({ type: 'tick' }));
    run.count(backup);
    expect(leases(run.commit()).map(({ workerId }) => workerId)).toEqual([fast.workerId]);
  });

  it('relies on no worker for a new round that has a long lease of the last one to finish', () => {
    const run = createRun({ streams: 32, rounds: 100 });
    run.join('fast');
    run.join('slow');
    const msPerStream = (id: string): number => (id === 'slow' ? 200 : 1);
    const [mine] = afterRounds(run, leases(run.feed({ type: 'start' })), 10, msPerStream);
    expect([mine.workerId, run.state.workers.get('slow')!.state]).toEqual(['fast', 'parked']);
    run.pass(mine.deadlineMs);
    const [whole] = leases(run.fetched(run.feed({ type: 'tick' })));
    expect(whole).toMatchObject({ workerId: 'slow', streams: mine.streams });
    // It would compute for 6.4 s. The fast worker was disturbed for a moment only, and wins.
    run.pass(600);
    run.count(mine);
    const next = leases(run.commit());
    expect(next.map(({ workerId }) => workerId)).toEqual(['fast']);
    run.feed({ ...whole, type: 'declined', code: 'cancelled', reason: 'counted' });
    run.pass(600);
    for (const lease of next) run.count(lease);
    expect(new Set(leases(run.commit()).map(({ workerId }) => workerId))).toEqual(new Set(['fast', 'slow']));
  });

  it('takes no notice of a worker that heard first that its lease is of no use', () => {
    const { run, opened } = pairAtRoundOne();
    const { workerId, leaseId } = opened[1];
    for (const lease of opened) run.count(lease);
    expect(run.feed({ type: 'declined', workerId, leaseId, code: 'dropped', reason: 'counted' })).toEqual([]);
  });

  it('deals fewer streams to a worker that was late', () => {
    const { run, opened } = pairAtRoundOne();
    const [fast, slow] = opened;
    run.count(fast);
    run.pass(slow.deadlineMs);
    const [backup] = leases(run.feed({ type: 'tick' }));
    run.pass(10);
    run.count(backup);
    const next = leases(run.commit());
    const share = (workerId: string) => next.find((lease) => lease.workerId === workerId)?.streams.length ?? 0;
    expect(share(slow.workerId)).toBeLessThan(share(fast.workerId));
  });

  it('lends the streams of a declined lease again, with their states', () => {
    const { run, opened } = pairAtRoundOne();
    const [lease] = opened;
    const again = leases(
      run.feed({ type: 'declined', workerId: lease.workerId, leaseId: lease.leaseId, code: 'no_state', reason: 'gone' }),
    );
    // Half of them: the other worker will be done soon.
    expect(again[0]).toMatchObject({ workerId: lease.workerId, states: 'gg' });
  });

  it.each([
    ['cancelled', 1],
    ['dropped', 1],
    ['no_state', 2],
  ] as const)('lends a worker no more of a round for a moment after it declines as %s, %i times', (code, most) => {
    const declineAll = (run: ReturnType<typeof createRun>, first: readonly Lease[]): number => {
      let declines = 0;
      for (let open = first; open.length > 0 && declines < 20; declines++) {
        const [{ workerId, leaseId }] = open;
        open = leases(run.feed({ type: 'declined', workerId, leaseId, code, reason: 'it knows more' }));
        run.pass(1);
      }
      return declines;
    };
    const run = createRun();
    run.join('a');
    expect(declineAll(run, leases(run.feed({ type: 'start' })))).toBe(most);
    // The update has arrived.
    const next = leases(run.commit());
    expect(next.flatMap(({ streams }) => streams)).toHaveLength(8);
    expect(declineAll(run, next)).toBe(most);
    run.pass(250);
    expect(leases(run.feed({ type: 'tick' })).flatMap(({ streams }) => streams)).toHaveLength(8);
  });

  it('lends nothing to a worker for a while after its engine failed', () => {
    const run = createRun();
    run.join('a');
    const [lease] = leases(run.feed({ type: 'start' }));
    expect(
      types(run.feed({ type: 'declined', workerId: 'a', leaseId: lease.leaseId, code: 'engine', reason: 'device lost' })),
    ).toEqual([]);
    run.pass(60_000);
    expect(leases(run.feed({ type: 'tick' }))).toHaveLength(1);
  });

  it('lends soon to a worker that comes back with another engine, and uses the speed of that engine', () => {
    const { run, opened } = pairAtRoundOne();
    const { leaseId } = opened[0];
    run.feed({ type: 'declined', workerId: 'a', leaseId, code: 'engine', reason: 'device lost' });
    expect(run.join('a', 500_000)).toEqual([]);
    run.pass(250);
    const [again] = leases(run.feed({ type: 'tick' }));
    expect(again.workerId).toBe('a');
    expect(run.state.workers.get('a')!.pace).toMatchObject({ charsPerSecond: 500_000, measured: false });
  });

  it('tries a worker again after a while if it was too slow to get streams', () => {
    const run = createRun({ rounds: 300 });
    run.join('a', 1000);
    run.join('b', 1000);
    let dealt = leases(run.feed({ type: 'start' }));
    const rounds: string[][] = [];
    for (let round = 0; round < 200; round++) {
      rounds.push(dealt.map(({ workerId }) => workerId));
      // In the first round b takes a thousand times as long as a.
      for (const lease of dealt) {
        run.pass(round === 0 && lease.workerId === 'b' ? 9_000 : 9);
        run.count(lease);
      }
      const effects = run.commit();
      dealt = [...leases(effects), ...leases(run.fetched(effects))];
    }
    expect(rounds[1]).toEqual(['a']);
    expect(rounds.slice(2).some((ids) => ids.includes('b'))).toBe(true);
  });

  it('keeps the measured speed of a worker that is ready again with the same engine', () => {
    const { run } = pairAtRoundOne();
    const before = run.state.workers.get('a')!.pace;
    expect(before.charsPerSecond).not.toBe(1000);
    run.join('a', 1000);
    expect(run.state.workers.get('a')!.pace).toEqual(before);
  });

  it('fails when a gradient is not finite several times, at every worker that is present', () => {
    const run = createRun();
    run.join('a');
    let effects = run.feed({ type: 'start' });
    for (let i = 0; i < 3; i++) {
      const [{ leaseId }] = leases(effects);
      effects = run.feed({ type: 'declined', workerId: 'a', leaseId, code: 'not_finite', reason: 'the loss is not finite' });
      if (i < 2) {
        expect(types(effects)).toEqual(['resync', 'waiting']);
        effects = run.feed({ type: 'workerReady', trusted: true, workerId: 'a', name: 'a', charsPerSecond: 1000 });
      }
    }
    expect(effects.at(-1)).toEqual({ type: 'fail', round: 0, reason: 'the loss is not finite' });
  });

  /** The only ready worker declines its lease, and is ready again after its cool-down. */
  function declineNotFinite(run: ReturnType<typeof createRun>, workerId: string): readonly RunEffect[] {
    const [leaseId] = run.state.workers.get(workerId)!.leases;
    const effects = run.feed({ type: 'declined', workerId, leaseId, code: 'not_finite', reason: 'NaN' });
    run.pass(6_000);
    run.join(workerId);
    return effects;
  }

  it('does not fail before every worker that is present has tried, even one that fetches a snapshot', () => {
    const run = createRun();
    run.join('a');
    run.join('b');
    run.feed({ type: 'workerSyncing', workerId: 'b', reason: 'missed an update', round: 0 });
    run.feed({ type: 'start' });
    for (let i = 0; i < 5; i++) expect(types(declineNotFinite(run, 'a'))).not.toContain('fail');
    run.feed({ type: 'workerSyncing', workerId: 'a', reason: 'missed an update', round: 0 });
    run.join('b');
    expect(types(declineNotFinite(run, 'b'))).toContain('fail');
  });

  it.each([1, 2, 3, 5, 12])('fails when gradients overflow at all of %i workers, beside a parked one', (count) => {
    for (const leaseStreams of [0, 2]) {
      const run = createRun({ streams: 24, rounds: 100, leaseStreams });
      const names = Array.from({ length: count }, (_, i) => `w${i}`);
      for (const id of [...names, 'slow']) run.join(id);
      const msPerStream = (id: string): number => (id === 'slow' ? 100_000 : 100);
      let open = afterRounds(run, leases(run.feed({ type: 'start' })), 5, msPerStream);
      expect(run.state.workers.get('slow')!.state).toBe('parked');
      let answers = 0;
      while (run.state.phase !== 'over' && answers < 40 * count) {
        const effects: RunEffect[] = [];
        for (const { workerId, leaseId } of open) {
          if (!run.state.leases.has(leaseId)) continue;
          answers++;
          effects.push(...run.feed({ type: 'declined', workerId, leaseId, code: 'not_finite', reason: 'NaN' }));
          run.pass(1);
          effects.push(...run.feed({ type: 'workerReady', trusted: true, workerId, name: workerId, charsPerSecond: 1000 }));
        }
        run.pass(6_000);
        effects.push(...run.feed({ type: 'tick' }));
        open = leases(effects);
      }
      expect(run.state.phase).toBe('over');
    }
  });

  it('lends what has failed at a worker to another one first', () => {
    const run = createRun();
    for (const id of ['a', 'b']) run.join(id);
    const opened = leases(run.feed({ type: 'start' }));
    for (const { workerId, leaseId } of opened) {
      run.feed({ type: 'declined', workerId, leaseId, code: 'not_finite', reason: 'NaN' });
      run.join(workerId);
    }
    run.pass(6_000);
    const again = leases(run.feed({ type: 'tick' }));
    expect(again.flatMap(({ streams }) => streams).toSorted((x, y) => x - y)).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
    for (const { workerId, streams } of again)
      for (const stream of streams) expect(run.state.units[stream].failedBy.has(workerId)).toBe(false);
  });

  it('counts gradients that are not finite for each round alone', () => {
    const run = createRun();
    run.join('a');
    run.feed({ type: 'start' });
    for (let i = 0; i < 2; i++) declineNotFinite(run, 'a');
    const [{ id: leaseId, units }] = run.state.leases.values();
    run.feed({
      type: 'counted',
      lossSum: 0,
      computeMs: Infinity,
      serviceMs: 0,
      leaseId,
      workerId: 'a',
      round: 0,
      streams: units,
    });
    run.commit();
    for (let i = 0; i < 2; i++) expect(types(declineNotFinite(run, 'a'))).not.toContain('fail');
    expect(types(declineNotFinite(run, 'a'))).toContain('fail');
  });

  it('does not fail for one faulty machine among good ones, which gets a snapshot while the others continue', () => {
    const { run, opened } = pairAtRoundOne();
    const [good, bad] = opened;
    run.count(good);
    const nan = {
      type: 'rejected',
      computeMs: Infinity,
      leaseId: bad.leaseId,
      workerId: bad.workerId,
      round: 1,
      result: 'not_finite',
      reason: 'NaN',
    } as const;
    const effects = run.feed(nan);
    expect(types(effects)).toEqual(['resync', 'lease']);
    expect(leases(effects)[0]).toMatchObject({ workerId: good.workerId, streams: bad.streams });
    expect(run.join(bad.workerId)).toEqual([]);
    run.count(leases(effects)[0]);
    expect(leases(run.commit()).map((lease) => lease.workerId)).toEqual([good.workerId]);
  });

  it('counts a contribution although its worker has left', () => {
    const { run, opened } = pairAtRoundOne();
    const [mine, theirs] = opened;
    run.leave(theirs.workerId);
    expect(run.count(theirs)).toEqual([]);
    expect(run.count(mine)).toEqual([]);
    expect(leases(run.commit())[0]).toMatchObject({ workerId: mine.workerId, states: 'hhhhgggg' });
  });

  it('sends a snapshot to a worker that gives no result in twice the time of its lease', () => {
    const run = createRun();
    run.join('only');
    const [lease] = leases(run.feed({ type: 'start' }));
    run.pass(lease.deadlineMs);
    expect(types(run.feed({ type: 'tick' }))).toEqual([]);
    run.pass(lease.deadlineMs);
    expect(types(run.feed({ type: 'tick' }))).toEqual(['resync', 'waiting']);
    expect(run.join('only')[0].streams).toHaveLength(8);
  });

  it.each([1e308, 5e-324, 1e-300])('deals every stream although workers report %d chars/s', (charsPerSecond) => {
    const run = createRun();
    run.join('a', charsPerSecond);
    run.join('b', charsPerSecond);
    const opened = leases(run.feed({ type: 'start' }));
    expect(opened.flatMap((lease) => lease.streams)).toHaveLength(8);
    for (const { deadlineMs } of opened) expect(deadlineMs).toBeLessThanOrEqual(3_600_000);
  });

  it('sends a snapshot to a worker whose replica differs and lends its streams elsewhere', () => {
    const { run, opened } = pairAtRoundOne();
    const [good, bad] = opened;
    run.count(good);
    const effects = run.feed({
      type: 'rejected',
      computeMs: Infinity,
      leaseId: bad.leaseId,
      workerId: bad.workerId,
      round: 1,
      result: 'replica_diverged',
      reason: 'digest',
    });
    expect(types(effects)).toEqual(['resync', 'lease']);
    expect(leases(effects)[0].workerId).toBe(good.workerId);
  });

  it('answers a new worker with a snapshot', () => {
    const run = createRun();
    expect(run.feed({ type: 'workerSyncing', workerId: 'new', reason: 'joining', round: 0 })).toEqual([
      { type: 'resync', workerId: 'new', reason: 'joining', round: 0 },
    ]);
  });

  it('passes on from which round on a worker receives updates, for its snapshot', () => {
    const { run } = pairAtRoundOne();
    const asks = (workerId: string) => run.feed({ type: 'workerSyncing', workerId, reason: 'missed an update', round: 2 })[0];
    for (const workerId of ['new', 'a']) expect(asks(workerId)).toMatchObject({ type: 'resync', workerId, round: 2 });
  });

  it('validates and saves at the set intervals and finishes after the last round', () => {
    const run = createRun();
    run.join('a');
    let effects = run.feed({ type: 'start' });
    const seen: string[] = [];
    while (run.state.phase !== 'over') {
      for (const lease of leases(effects)) run.count(lease);
      effects = run.commit();
      for (const effect of effects)
        if ('round' in effect && effect.type !== 'lease' && effect.type !== 'openRound')
          seen.push(`${effect.type} ${effect.round}`);
    }
    expect(seen).toEqual(['evaluate 5', 'evaluate 10', 'checkpoint 10', 'evaluate 15', 'finish 20']);
  });

  it('stops at the last committed round', () => {
    const { run } = pairAtRoundOne();
    expect(run.feed({ type: 'stop' })).toEqual([{ type: 'finish', round: 1, outcome: 'stopped' }]);
    expect(run.feed({ type: 'tick' })).toEqual([]);
  });

  it('ignores inputs of rounds that are over', () => {
    const { run, opened } = pairAtRoundOne();
    expect(
      run.feed({
        type: 'counted',
        lossSum: 0,
        computeMs: Infinity,
        serviceMs: 0,
        leaseId: opened[0].leaseId,
        workerId: 'a',
        round: 0,
        streams: opened[0].streams,
      }),
    ).toEqual([]);
    expect(run.feed({ type: 'updated', round: 0, trainLoss: 2 })).toEqual([]);
    expect(run.state.round).toBe(1);
  });

  it('starts the round over when the all-reduce service was lost', () => {
    const { run, opened } = pairAtRoundOne();
    run.pass(100);
    run.count(opened[0]);
    const effects = run.feed({ type: 'reopen' });
    expect(effects[0]).toEqual({ type: 'openRound', round: 1 });
    expect(leases(effects).flatMap((lease) => lease.streams)).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
    expect(leases(effects).map((lease) => lease.states)).toEqual(['gggg', 'gggg']);
  });

  it('deals nothing until everyone who paused it has resumed it', () => {
    const { run, opened } = pairAtRoundOne();
    run.feed({ type: 'pause', by: 'you' });
    run.feed({ type: 'pause', by: 'validation' });
    for (const lease of opened) run.count(lease);
    run.commit();
    expect(leases(run.feed({ type: 'resume', by: 'you' }))).toEqual([]);
    expect(leases(run.feed({ type: 'resume', by: 'validation' })).flatMap((lease) => lease.streams)).toHaveLength(8);
  });

  it('deals nothing while it is paused, and continues in the same round', () => {
    const { run, opened } = pairAtRoundOne();
    run.feed({ type: 'pause', by: 'you' });
    for (const lease of opened) run.count(lease);
    expect(leases(run.commit())).toEqual([]);
    expect(leases(run.feed({ type: 'resume', by: 'you' })).flatMap((lease) => lease.streams)).toHaveLength(8);
  });
});

/** Lets the workers compute rounds, at `msPerStream` each. @returns the leases of the next round */
function afterRounds(
  run: ReturnType<typeof createRun>,
  first: Lease[],
  rounds: number,
  msPerStream: (workerId: string) => number = () => 100,
): Lease[] {
  let dealt = first;
  for (let i = 0; i < rounds; i++) {
    const doneAt = (lease: Lease): number => lease.streams.length * msPerStream(lease.workerId);
    let passed = 0;
    for (const lease of dealt.toSorted((x, y) => doneAt(x) - doneAt(y))) {
      run.pass(doneAt(lease) - passed);
      passed = doneAt(lease);
      run.count(lease);
    }
    dealt = leases(run.commit());
  }
  return dealt;
}

describe('deadlines', () => {
  it('are close to the time that leases take when that time is steady', () => {
    const { run, opened } = pairAtRoundOne();
    for (const { deadlineMs } of afterRounds(run, opened, 20)) {
      expect(deadlineMs).toBeGreaterThan(400 * 1.4);
      expect(deadlineMs).toBeLessThan(400 * 2 + 300);
    }
  });

  it('leave more time to a worker whose times vary', () => {
    const steady = createRun({ rounds: 100 });
    const [calm] = afterRounds(steady, (steady.join('a'), leases(steady.feed({ type: 'start' }))), 20);
    const run = createRun({ rounds: 100 });
    run.join('a');
    let [lease] = leases(run.feed({ type: 'start' }));
    for (let round = 0; round < 20; round++) {
      run.pass(round % 2 === 0 ? 400 : 1200);
      run.count(lease);
      [lease] = leases(run.commit());
    }
    expect(lease.deadlineMs).toBeGreaterThan(1.5 * calm.deadlineMs);
  });

  it('delay one round when a worker freezes, not every round', () => {
    const { run, opened } = pairAtRoundOne();
    const [steady, frozen] = afterRounds(run, opened, 5);
    run.pass(400);
    run.count(steady);
    run.pass(frozen.deadlineMs);
    const [backup] = leases(run.feed({ type: 'tick' }));
    run.pass(400);
    run.count(backup);
    const next = leases(run.commit());
    expect(next.map(({ workerId }) => workerId)).toEqual([steady.workerId]);
    expect(next[0].streams).toHaveLength(8);
    // It thaws. Its result is too late, and it gets streams again.
    run.feed({ ...frozen, type: 'rejected', computeMs: Infinity, result: 'wrong_round', reason: 'late' });
    run.pass(800);
    run.count(next[0]);
    expect(leases(run.commit()).map(({ workerId }) => workerId)).toContain(frozen.workerId);
  });

  it('produce a decision that names the late worker and says what was lent', () => {
    const { run, opened } = pairAtRoundOne();
    const [steady, frozen] = opened;
    run.count(steady);
    run.pass(frozen.deadlineMs);
    expect(decisions(run.feed({ type: 'tick' }))).toEqual([
      { kind: 'late', workers: ['b'], lent: { streams: 4, workers: 1, uncovered: 0, pausedBy: [] } },
    ]);
  });

  it('start when a worker is done with its leases of the last round', () => {
    const { run, opened } = pairAtRoundOne();
    const [fast, slow] = afterRounds(run, opened, 5);
    run.pass(400);
    run.count(fast);
    run.pass(slow.deadlineMs);
    const [backup] = leases(run.feed({ type: 'tick' }));
    run.count(slow);
    const next = leases(run.commit()).find(({ workerId }) => workerId === backup.workerId)!;
    run.pass(300); // the useless backup
    run.feed({ ...backup, type: 'rejected', computeMs: Infinity, result: 'wrong_round', reason: 'late' });
    const before = run.state.workers.get(backup.workerId)!.pace.charsPerSecond;
    run.pass(next.streams.length * 100);
    run.count(next);
    // The new measurement is 100 chars/s, with a weight of 0.3.
    expect(run.state.workers.get(backup.workerId)!.pace.charsPerSecond).toBeCloseTo(0.7 * before + 0.3 * 100, 6);
  });
});

describe('an answer', () => {
  it('settles older leases of the same worker that are unanswered', () => {
    const { run, opened } = pairAtRoundOne();
    const [fast, slow] = afterRounds(run, opened, 5);
    run.pass(400);
    run.count(fast);
    run.pass(slow.deadlineMs);
    // The round ends before this lease reaches the worker.
    const [backup] = leases(run.feed({ type: 'tick' }));
    run.count(slow);
    const next = leases(run.commit()).find(({ workerId }) => workerId === backup.workerId)!;
    expect(run.state.workers.get(backup.workerId)!.unanswered.has(backup.leaseId)).toBe(true);
    run.pass(400);
    run.count(next);
    expect(run.state.workers.get(backup.workerId)!.unanswered.size).toBe(0);
  });
});

describe('speed', () => {
  it('decides how streams are dealt, so that all workers are done together', () => {
    const run = createRun({ streams: 44, rounds: 100 });
    run.join('a');
    run.join('b');
    const dealt = afterRounds(run, leases(run.feed({ type: 'start' })), 20, (id) => (id === 'b' ? 1_000 : 100));
    const share = (id: string): number => dealt.find(({ workerId }) => workerId === id)?.streams.length ?? 0;
    expect([share('a'), share('b')]).toEqual([40, 4]);
  });

  it('reported by a new worker is not trusted: the worker starts with a small lease', () => {
    const run = createRun({ streams: 32, rounds: 100 });
    run.join('a');
    const dealt = afterRounds(run, leases(run.feed({ type: 'start' })), 3);
    run.join('new', run.state.workers.get('a')!.pace.charsPerSecond);
    for (const lease of dealt) run.count(lease);
    const share = leases(run.commit()).find(({ workerId }) => workerId === 'new')!.streams.length;
    expect(share).toBeGreaterThanOrEqual(1);
    expect(share).toBeLessThan(10);
  });
});

describe('a very slow worker', () => {
  /** `a` is a hundred times as fast as `b`, so b is parked and gets nothing. */
  function withSlowWorker() {
    const run = createRun({ streams: 8, rounds: 100 });
    run.join('a');
    run.join('b');
    const msPerStream = (id: string): number => (id === 'b' ? 10_000 : 100);
    return { run, dealt: afterRounds(run, leases(run.feed({ type: 'start' })), 4, msPerStream) };
  }

  it('gets nothing while others work, even when streams wait', () => {
    const { run, dealt } = withSlowWorker();
    expect(dealt.map(({ workerId }) => workerId)).toEqual(['a']);
    run.join('c', 1000);
    expect(leases(run.feed({ type: 'tick' }))).toEqual([]);
  });

  it('computes everything when nobody else is left', () => {
    const { run } = withSlowWorker();
    const effects = run.leave('a');
    expect(decisions(effects).at(-1)).toEqual({ kind: 'unparked', workers: ['b'], why: 'alone' });
    const [lease] = leases(run.fetched(effects));
    expect(lease).toMatchObject({ workerId: 'b' });
    expect(lease.streams).toHaveLength(8);
  });

  it('is fetched back when the faster workers have left', () => {
    const run = createRun({ streams: 40, rounds: 100 });
    for (const id of ['a', 'b', 'c']) run.join(id);
    // b and c take 50 times as long as a.
    afterRounds(run, leases(run.feed({ type: 'start' })), 4, (id) => (id === 'a' ? 10 : 500));
    const helped = leases(run.fetched(run.leave('a'))).map(({ workerId }) => workerId);
    expect(helped.length).toBeGreaterThan(0);
    expect(['b', 'c']).toEqual(expect.arrayContaining(helped));
  });

  it('computes everything when the others are silent', () => {
    const { run, dealt } = withSlowWorker();
    run.pass(dealt[0].deadlineMs);
    const [lease] = leases(run.fetched(run.feed({ type: 'tick' })));
    expect(lease).toMatchObject({ workerId: 'b' });
    expect(lease.streams).toHaveLength(8);
  });
});

describe('a new worker', () => {
  /** After three rounds of `a` alone, `new` joins and reports the same speed. */
  function withNewWorker() {
    const run = createRun({ streams: 32, rounds: 100 });
    run.join('a');
    const dealt = afterRounds(run, leases(run.feed({ type: 'start' })), 3);
    run.join('new', run.state.workers.get('a')!.pace.charsPerSecond);
    const next = afterRounds(run, dealt, 1);
    return { run, mine: next.find(({ workerId }) => workerId === 'a')!, probe: next.find(({ workerId }) => workerId === 'new')! };
  }

  it('delays no round: a worker that is done computes its streams as well', () => {
    const { run, mine, probe } = withNewWorker();
    run.pass(2900);
    const backup = leases(run.count(mine));
    expect(backup.map(({ workerId, streams }) => ({ workerId, streams }))).toEqual([{ workerId: 'a', streams: probe.streams }]);
    run.pass(300);
    run.count(backup[0]);
    expect(types(run.commit())).toContain('openRound');
  });

  it('gets one probe at a time, however many rounds the probe takes', () => {
    const { run, mine, probe } = withNewWorker();
    let dealt = [mine];
    for (let round = 0; round < 5; round++) {
      run.pass(100);
      for (const lease of dealt) for (const backup of leases(run.count(lease))) run.count(backup);
      dealt = leases(run.commit());
      expect(dealt.map(({ workerId }) => workerId)).toEqual(['a']);
    }
    run.feed({ ...probe, type: 'rejected', computeMs: Infinity, result: 'wrong_round', reason: 'late' });
    for (const lease of dealt) run.count(lease);
    expect(run.state.workers.get('new')!.unanswered.size).toBe(0);
  });

  it('is not measured by a probe that it declines', () => {
    const { run, probe } = withNewWorker();
    const { workerId, leaseId } = probe;
    run.feed({ type: 'declined', workerId, leaseId, code: 'no_state', reason: 'gone' });
    expect(run.state.workers.get('new')!.pace.measured).toBe(false);
  });

  it('gets a smaller probe next time if it reports too high a speed', () => {
    const { run, mine, probe } = withNewWorker();
    const before = run.state.workers.get('new')!.pace.charsPerSecond;
    run.pass(2900);
    for (const backup of leases(run.count(mine))) run.count(backup);
    run.commit();
    run.pass(probe.deadlineMs);
    run.feed({ type: 'tick' });
    expect(run.state.workers.get('new')!.pace.charsPerSecond).toBeLessThan(before / 2);
  });

  it('is measured by its probe although another worker was faster', () => {
    const { run, mine, probe } = withNewWorker();
    run.pass(2900);
    const [backup] = leases(run.count(mine));
    run.pass(300);
    run.count(backup);
    run.commit();
    run.pass(3200);
    run.feed({ ...probe, type: 'rejected', computeMs: Infinity, result: 'wrong_round', reason: 'late' });
    const { pace } = run.state.workers.get('new')!;
    expect(pace).toMatchObject({ measured: true, charsPerSecond: (probe.streams.length * 10 * 1000) / 6400 });
  });

  it('gets its share once it is measured', () => {
    const { run, mine, probe } = withNewWorker();
    run.pass(probe.streams.length * 100);
    run.count(probe);
    run.pass(mine.streams.length * 100 - probe.streams.length * 100);
    run.count(mine);
    expect(leases(run.commit()).map(({ streams }) => streams.length)).toEqual([16, 16]);
  });
});

describe('the streams of a lost worker', () => {
  it('are shared by the workers that compute, instead of all going to the first one that is done', () => {
    const run = createRun({ streams: 30, rounds: 100 });
    for (const id of ['a', 'b', 'c']) run.join(id);
    const opened = afterRounds(run, leases(run.feed({ type: 'start' })), 3);
    run.pass(1000);
    run.leave('c');
    const first = leases(run.count(opened[0]));
    const second = leases(run.count(opened[1]));
    // b gets its share of what is left after a.
    expect([first, second].map((dealt) => dealt.flatMap(({ streams }) => streams).length)).toEqual([5, 3]);
  });
});

describe('a worker that pauses', () => {
  it('gets nothing until it reports ready, and its streams go to others at once', () => {
    const { run, opened } = pairAtRoundOne();
    const [mine, theirs] = opened;
    run.pass(400);
    run.count(mine);
    const { leaseId, workerId } = theirs;
    const effects = run.feed({ type: 'declined', workerId, leaseId, code: 'paused', reason: 'on battery' });
    expect(leases(effects).map((lease) => lease.workerId)).toEqual([mine.workerId]);
    run.pass(400);
    run.count(leases(effects)[0]);
    const next = leases(run.commit());
    expect(next.map((lease) => lease.workerId)).toEqual([mine.workerId]);
    run.join(workerId);
    run.pass(800);
    run.count(next[0]);
    expect(leases(run.commit()).map((lease) => lease.workerId)).toContain(workerId);
  });
});

describe('a reproducible run', () => {
  const UNITS = [
    [0, 1, 2],
    [3, 4, 5],
    [6, 7],
  ];
  function pair() {
    const run = createRun({ leaseStreams: 3, rounds: 100 });
    run.join('a');
    run.join('b');
    return { run, opened: leases(run.feed({ type: 'start' })) };
  }

  it('deals leases of one unit each, several to a worker', () => {
    const { opened } = pair();
    expect(opened.map(({ streams }) => streams)).toEqual(UNITS);
    expect(opened.map(({ workerId }) => workerId)).toEqual(['a', 'a', 'b']);
    expect(opened[1].deadlineMs).toBeGreaterThan(opened[0].deadlineMs);
  });

  it('deals the same units to any set of workers', () => {
    const run = createRun({ leaseStreams: 3 });
    run.join('only');
    expect(leases(run.feed({ type: 'start' })).map(({ streams }) => streams)).toEqual(UNITS);
  });

  it('lends only those units of a lost worker that are not counted', () => {
    const { run, opened } = pair();
    run.count(opened[0]);
    run.count(opened[2]);
    expect(leases(run.leave('a')).map(({ streams, workerId }) => ({ streams, workerId }))).toEqual([
      { streams: [3, 4, 5], workerId: 'b' },
    ]);
  });

  it('waits for each lease that a silent worker has not answered, not only for the first answer', () => {
    const { run, opened } = pair();
    run.count(opened[2]);
    run.pass(opened[0].deadlineMs);
    for (const lease of leases(run.feed({ type: 'tick' }))) run.count(lease);
    run.commit();
    expect(run.state.workers.get('a')!.unanswered.size).toBe(2);
    run.count(opened[0]);
    expect([...run.state.workers.get('a')!.unanswered.keys()]).toEqual([opened[1].leaseId]);
    expect(run.state.idle.has('a')).toBe(false);
    run.count(opened[1]);
    expect(run.state.workers.get('a')!.unanswered.size).toBe(0);
  });

  it('backs up all leases of a worker that is late with one', () => {
    const { run, opened } = pair();
    run.count(opened[2]);
    run.pass(opened[0].deadlineMs);
    expect(leases(run.feed({ type: 'tick' })).map(({ streams }) => streams)).toEqual(UNITS.slice(0, 2));
  });

  it('measures a worker by all leases that it got at once', () => {
    const { run, opened } = pair();
    run.pass(100);
    run.count(opened[0]);
    run.pass(50);
    run.count(opened[1]);
    expect(run.state.workers.get('a')!.pace).toMatchObject({ measured: true, charsPerSecond: (60 * 1000) / 150 });
  });
});

describe('a decision', () => {
  const lent = (streams: number, workers: number, over: Partial<Lent> = {}): Lent => ({
    ...{ streams, workers, uncovered: 0, pausedBy: [] },
    ...over,
  });
  /** `a` is done with its half of the round; `b` is not. */
  function withOneBusy() {
    const { run, opened } = pairAtRoundOne();
    run.count(opened[0]);
    const { leaseId, workerId } = opened[1];
    return { run, busy: { leaseId, workerId }, deadlineMs: opened[1].deadlineMs };
  }

  it('names who paused and who resumed the run, and says what is lent', () => {
    const { run, opened } = pairAtRoundOne();
    expect(decisions(run.feed({ type: 'pause', by: 'you' }))).toEqual([{ kind: 'paused', by: 'you' }]);
    expect(decisions(run.leave(opened[1].workerId))).toMatchObject([{ lent: lent(0, 0, { uncovered: 4, pausedBy: ['you'] }) }]);
    run.count(opened[0]);
    expect(decisions(run.feed({ type: 'resume', by: 'you' }))).toEqual([{ kind: 'resumed', by: 'you', lent: lent(4, 1) }]);
    expect(run.feed({ type: 'resume', by: 'you' })).toEqual([]);
  });

  it('distinguishes late workers from stuck ones', () => {
    const { run, deadlineMs } = withOneBusy();
    run.pass(deadlineMs);
    expect(decisions(run.feed({ type: 'tick' }))).toEqual([{ kind: 'late', workers: ['b'], lent: lent(4, 1) }]);
    expect(decisions(run.feed({ type: 'tick' }))).toEqual([]);
    run.pass(60_000);
    expect(decisions(run.feed({ type: 'tick' }))).toEqual([
      { kind: 'late', workers: ['a'], lent: lent(0, 0, { uncovered: 4 }) },
      { kind: 'stuck', workers: ['a', 'b'], lent: lent(0, 0, { uncovered: 4 }) },
    ]);
  });

  it('says why a worker with leases left; without leases there is none', () => {
    const { run, busy } = withOneBusy();
    expect(decisions(run.leave(busy.workerId))).toEqual([
      { kind: 'workerLeft', worker: 'b', reason: 'crashed', lent: lent(4, 1) },
    ]);
    expect(decisions(run.leave('nobody'))).toEqual([]);
  });

  it('says why a worker with leases needs a snapshot; without leases there is none', () => {
    const { run, busy } = withOneBusy();
    const input = { type: 'workerSyncing', workerId: busy.workerId, reason: 'missed an update', round: 0 } as const;
    expect(decisions(run.feed(input))).toEqual([
      { kind: 'workerResynced', worker: 'b', reason: 'missed an update', lent: lent(4, 1) },
    ]);
    expect(decisions(run.feed(input))).toEqual([]);
  });

  it('distinguishes a worker that pauses from one that declines a lease', () => {
    const paused = withOneBusy();
    expect(decisions(paused.run.feed({ type: 'declined', ...paused.busy, code: 'paused', reason: 'on battery' }))).toEqual([
      { kind: 'workerPaused', worker: 'b', reason: 'on battery', lent: lent(4, 1) },
    ]);
    const failed = withOneBusy();
    expect(decisions(failed.run.feed({ type: 'declined', ...failed.busy, code: 'engine', reason: 'device lost' }))).toEqual([
      { kind: 'declined', worker: 'b', code: 'engine', reason: 'device lost', lent: lent(4, 1) },
    ]);
  });

  it('says what was wrong with a result; for one that is only late there is none', () => {
    const { run, busy } = withOneBusy();
    const rejected = { type: 'rejected', computeMs: Infinity, ...busy, round: 1, reason: 'digest' } as const;
    expect(decisions(run.feed({ ...rejected, result: 'already_counted' }))).toEqual([]);
    expect(decisions(run.feed({ ...rejected, result: 'replica_diverged' }))).toEqual([
      { kind: 'rejected', worker: 'b', result: 'replica_diverged', reason: 'digest', lent: lent(0, 0) },
    ]);
  });

  it('says that the round starts over', () => {
    const { run } = pairAtRoundOne();
    expect(decisions(run.feed({ type: 'reopen' }))).toEqual([{ kind: 'reopened', lent: lent(8, 2) }]);
  });
});

describe('a training loss', () => {
  /** Commits rounds with these losses. Guessing has 4, and the limit is 3 times that. */
  function commitAll(run: ReturnType<typeof createRun>, losses: readonly number[]): RunEffect[] {
    return losses.flatMap((loss) => {
      for (const lease of [...run.state.leases.values()]) {
        const { id: leaseId, workerId, round, units } = lease;
        run.feed({ type: 'counted', lossSum: 0, computeMs: Infinity, serviceMs: 0, leaseId, workerId, round, streams: units });
      }
      return [...run.commit(loss)];
    });
  }

  function started(settings: Partial<RunSettings> = {}) {
    const run = createRun({ rounds: 100, evaluateEvery: 0, ...settings });
    run.join('a');
    run.feed({ type: 'start' });
    return run;
  }

  const high = (trainLoss: number): Decision => ({ kind: 'lossHigh', trainLoss, chanceLoss: 4, stopsAbove: 12, rounds: 10 });

  it('far above that of guessing is reported at once, and again when it comes back', () => {
    expect(decisions(commitAll(started(), [4, 6, 6.1, 7, 2, 8]))).toEqual([high(6.1), high(8)]);
  });

  it('above the limit for ten rounds in a row ends the run as diverged', () => {
    const run = started();
    expect(types(commitAll(run, [...Array<number>(9).fill(13), 12, ...Array<number>(9).fill(1e6)]))).not.toContain('fail');
    const [end] = run.commit(429_581);
    expect(end).toMatchObject({ type: 'fail', round: 20, reason: expect.stringContaining('above 12.00 nats/char, 3 times') });
    expect(run.state.phase).toBe('over');
    expect(run.commit(1)).toEqual([]);
  });

  it('above the limit ends a run of local rounds, each of many windows, after three of them', () => {
    const run = started({ localSteps: 32 });
    expect(types(commitAll(run, [13, 13, 12, 13, 13]))).not.toContain('fail');
    expect(run.commit(13)[0]).toMatchObject({ type: 'fail', reason: expect.stringContaining('for 3 rounds') });
    expect(types(commitAll(started({ localSteps: 2 }), [13, 13, 13, 13]))).not.toContain('fail');
  });

  it('above the limit before a run resumes counts as well', () => {
    const run = started();
    Object.assign(run.state, { loss: createRunState(run.state.settings, 7, 7).loss });
    expect(types(commitAll(run, [13, 13]))).not.toContain('fail');
    expect(types(commitAll(run, [13]))).toContain('fail');
  });

  it('that is not a number counts as above the limit', () => {
    expect(types(commitAll(started(), Array<number>(10).fill(NaN)))).toContain('fail');
  });

  it('above the limit leaves the last checkpoint as it is', () => {
    const effects = commitAll(started({ checkpointEvery: 2 }), [2, 2, 2, 13, 13, 13, 2, 2]);
    expect(effects.flatMap((effect) => (effect.type === 'checkpoint' ? [effect.round] : []))).toEqual([2, 8]);
  });

  it('has no limit when that is 0', () => {
    expect(types(commitAll(started({ maxLoss: 0 }), Array<number>(20).fill(1e6)))).not.toContain('fail');
  });
});
