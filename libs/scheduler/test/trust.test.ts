import { describe, expect, it } from 'vitest';
import { dealQuotas, limitQuotas } from '../src/dealing.js';
import {
  auditProbability,
  AUDIT_FLOOR,
  createRunState,
  FAR_BEYOND,
  PROBATION_AUDITS,
  step,
  type RunEffect,
  type RunInput,
  type RunSettings,
} from '../src/index.js';
import { oldestUnverified, shareLimits } from '../src/trust.js';

const SETTINGS = {
  ...{ streams: 20, window: 10, rounds: 10_000, windowsPerPass: 100, evaluateEvery: 0, checkpointEvery: 0, sampleEvery: 0 },
  ...{ leaseStreams: 0, chanceLoss: 4, maxLoss: 3 },
};

type LeaseEffect = Extract<RunEffect, { type: 'lease' }>;

function createRun(seed: readonly [number, number] | undefined = [1, 2], settings: Partial<RunSettings> = {}) {
  const state = createRunState({ ...SETTINGS, ...settings, audits: seed && { seed } }, 0);
  const leases: LeaseEffect[] = [];
  const said: RunEffect[] = [];
  let nowMs = 0;
  const feed = (input: RunInput): readonly RunEffect[] => {
    const effects = step(state, input, (nowMs += 10));
    for (const effect of effects) (effect.type === 'lease' ? leases : said).push(effect);
    return effects;
  };
  const join = (workerId: string, trusted = false) =>
    feed({ type: 'workerReady', workerId, name: workerId, trusted, charsPerSecond: 1000 });
  const audited = (lease: LeaseEffect, verdict: 'sound' | 'wrong' | 'unknown') =>
    feed({ ...lease, type: 'audited', verdict, reason: 'its gradient differs' });
  const count = ({ workerId, leaseId, round, streams }: LeaseEffect, lossSum = streams.length * 10 * 4) =>
    feed({ type: 'counted', workerId, leaseId, round, streams, lossSum, computeMs: 5, serviceMs: 0 });
  /** Everybody is honest, and the auditor is at once done. */
  const playRound = (trainLoss = 4): void => {
    const { round } = state;
    while (state.units.some(({ counted }) => !counted)) {
      const due = leases.splice(0);
      if (due.length === 0) throw new Error('nobody computes');
      for (const lease of due.filter((each) => each.round === round)) {
        if (lease.audit !== 'none') audited(lease, 'sound');
        if (!lease.streams.some((stream) => state.units[stream].counted)) count(lease);
      }
    }
    feed({ type: 'updated', round, trainLoss });
  };
  feed({ type: 'start' });
  return { state, leases, said, feed, join, audited, count, playRound };
}

const workersOf = ({ state }: ReturnType<typeof createRun>) => [...state.workers.values()];

describe('the audits of a volunteer', () => {
  it('hold every lease until enough are passed, then become rarer, and never stop', () => {
    const run = createRun();
    run.join('a');
    const modes: string[] = [];
    for (let i = 0; i < 3_000; i++) {
      modes.push(...run.leases.map(({ audit }) => audit));
      run.playRound();
    }
    expect(modes.slice(0, PROBATION_AUDITS)).toEqual(['hold', 'hold', 'hold']);
    expect(modes.slice(PROBATION_AUDITS)).not.toContain('hold');
    const audits = modes.slice(1_000).filter((mode) => mode === 'copy').length / 2_000;
    expect(audits).toBeGreaterThan(AUDIT_FLOOR * 0.6);
    expect(audits).toBeLessThan(AUDIT_FLOOR * 1.5);
  });

  it.each([
    [64, 'contributions', 1],
    [16, 'local ones of many steps', 32],
  ])('are at most %i %s apart', (limit, _, localSteps) => {
    const run = createRun([3, 4], { localSteps });
    run.join('a');
    let [since, most] = [0, 0];
    for (let i = 0; i < 3_000; i++) {
      for (const { audit } of run.leases) since = audit === 'none' ? since + 1 : 0;
      most = Math.max(most, since);
      run.playRound();
    }
    expect(most).toBeGreaterThan(limit / 2);
    expect(most).toBeLessThanOrEqual(limit);
  });

  it('are none for a worker that is trusted, nor in a run without them', () => {
    for (const run of [createRun(), createRun(undefined)]) {
      run.join('a', run.state.audits.policy !== undefined);
      for (let i = 0; i < 200; i++) {
        expect(run.leases.map(({ audit }) => audit)).toEqual(['none']);
        run.playRound();
      }
    }
  });

  it('fall with each that is passed', () => {
    expect([0, 2, 3, 4, 7, 1_000].map(auditProbability)).toEqual([1, 1, 1, 1 / 2, 1 / 5, AUDIT_FLOOR]);
  });

  it('ban a worker that fails one, with the round since which it was not audited', () => {
    const run = createRun();
    run.join('a');
    for (let i = 0; i < 100; i++) run.playRound();
    while (run.leases[0].audit === 'none') run.playRound();
    const [worker] = workersOf(run);
    const [since] = worker.trust.unverified;
    const effects = run.audited(run.leases[0], 'wrong');
    expect(effects).toContainEqual({ type: 'ban', workerId: 'a', reason: 'its gradient differs', since });
  });

  it('clear what counted before the audited lease, and not what came after', () => {
    const run = createRun();
    run.join('a');
    for (let i = 0; i < 100; i++) run.playRound();
    while (run.leases[0].audit === 'none') run.playRound();
    const [copied] = run.leases.splice(0);
    run.count(copied);
    run.feed({ type: 'updated', round: copied.round, trainLoss: 4 });
    const later: string = run.leases[0].audit;
    run.playRound();
    run.audited(copied, 'sound');
    const [worker] = workersOf(run);
    expect(worker.trust.unverified).toEqual(later === 'none' ? [copied.round + 1] : []);
    run.playRound();
    expect(run.audited(copied, 'wrong')).toContainEqual(
      expect.objectContaining({ type: 'ban', since: worker.trust.unverified[0] }),
    );
  });

  it('find a lie of a worker that has left, also one that was copied and counted first', () => {
    const run = createRun();
    run.join('a');
    for (let i = 0; i < 300 && !run.leases.some(({ audit }) => audit === 'copy'); i++) run.playRound();
    const copied = run.leases.find(({ audit }) => audit === 'copy')!;
    const before = run.state.workers.get('a')!.trust.unverified[0] ?? copied.round;
    run.count(copied);
    run.feed({ type: 'workerLeft', workerId: 'a', reason: 'gone' });
    expect(run.audited(copied, 'wrong')).toContainEqual(expect.objectContaining({ type: 'ban', workerId: 'a', since: before }));
  });

  describe('of a worker that has left', () => {
    /** It has contributed in two rounds, both of which are being audited, and then in others. */
    function leaver(settings: Partial<RunSettings> = {}) {
      const run = createRun([1, 2], settings);
      run.join('a');
      const copies: LeaseEffect[] = [];
      for (let i = 0; i < 1_000 && copies.length < 2; i++) {
        const copied = run.leases.filter(({ workerId, audit }) => workerId === 'a' && audit === 'copy' && i > 20);
        copies.push(...copied);
        for (const lease of run.leases.splice(0)) {
          if (lease.audit !== 'none' && !copied.includes(lease)) run.audited(lease, 'sound');
          run.count(lease);
        }
        run.feed({ type: 'updated', round: run.state.round, trainLoss: 4 });
      }
      while (run.leases[0].audit !== 'none') run.playRound();
      const last = run.state.round;
      run.playRound();
      run.feed({ type: 'workerLeft', workerId: 'a', reason: 'gone' });
      return { run, copies, last };
    }

    it('keep its first unaudited round until all are decided, and no longer', () => {
      const { run, copies, last } = leaver();
      expect(copies).toHaveLength(2);
      run.audited(copies[0], 'sound');
      expect(oldestUnverified(run.state)).toBeLessThanOrEqual(last);
      run.audited(copies[1], 'sound');
      expect(oldestUnverified(run.state)).toBeUndefined();
    });

    it('are awaited longer in a local run, whose audits have many steps', () => {
      const { run, copies } = leaver({ localSteps: 32 });
      for (let i = 0; i < 20_000; i++) run.feed({ type: 'tick' });
      expect(run.audited(copies[1], 'wrong')).toContainEqual(expect.objectContaining({ type: 'ban', workerId: 'a' }));
    });

    it('find the lie in the second of two, also when the round was opened again meanwhile', () => {
      const { run, copies } = leaver();
      run.feed({ type: 'reopen' });
      run.audited(copies[0], 'sound');
      expect(run.audited(copies[1], 'wrong')).toContainEqual(
        expect.objectContaining({ type: 'ban', workerId: 'a', since: expect.any(Number) as number }),
      );
    });

    it('are forgotten when no verdict comes', () => {
      const { run } = leaver();
      const ticks = 20_000;
      for (let i = 0; i < ticks; i++) run.feed({ type: 'tick' });
      expect(oldestUnverified(run.state)).toBeUndefined();
    });
  });

  it('of leases that are taken back keep no place: others are audited instead', () => {
    const run = createRun();
    run.join('liar');
    run.join('honest');
    for (let i = 0; i < 30; i++) {
      run.feed({ type: 'workerSyncing', workerId: 'liar', reason: 'again', round: 0 });
      run.join('liar');
    }
    run.feed({ type: 'workerLeft', workerId: 'liar', reason: 'gone' });
    for (let i = 0; i < 5; i++) run.playRound();
    expect(run.state.round).toBe(5);
  });

  it('never end for a worker from an address from which somebody has lied', () => {
    const run = createRun();
    run.feed({ type: 'workerReady', workerId: 'a', name: 'a', trusted: false, suspect: true, charsPerSecond: 1000 });
    for (let i = 0; i < 50; i++) {
      expect(run.leases.map(({ audit }) => audit)).toEqual(['hold']);
      run.playRound();
    }
  });

  it('do not pile up when the auditor is slow: those who owe one wait', () => {
    const run = createRun();
    for (let i = 0; i < 20; i++) run.join(`v${i}`);
    const held = run.leases.filter(({ audit }) => audit === 'hold');
    expect(held.length).toBeLessThanOrEqual(20);
    run.feed({ type: 'tick' });
    expect(run.state.audits.open.size).toBe(held.length);
  });
});

describe('the share of a volunteer', () => {
  /** Units that each of these workers would get, chars/s. */
  function quotasOf(
    workers: readonly { readonly charsPerSecond: number; readonly trusted?: boolean; readonly passed?: number }[],
  ) {
    const run = createRun();
    workers.forEach(({ trusted }, i) => run.join(`v${i}`, trusted));
    const records = workersOf(run);
    records.forEach(({ trust }, i) => (trust.passed = workers[i].passed ?? 100));
    const capacities = workers.map(({ charsPerSecond }, i) => ({ workerId: `v${i}`, charsPerSecond, transferMs: 1, held: 0 }));
    const load = { units: 20, unitCharacters: 10, serviceMs: 0 };
    const quotas = dealQuotas(capacities, load);
    return limitQuotas(capacities, quotas, shareLimits(run.state, records, quotas, load.units), load);
  }

  it('is at most half of a round, however fast it seems', () => {
    expect(quotasOf([{ charsPerSecond: 1e6 }, { charsPerSecond: 1e5, trusted: true }])).toEqual([10, 10]);
    expect(quotasOf([{ charsPerSecond: 1e6, trusted: true }, { charsPerSecond: 1e5 }])).toEqual([19, 1]);
  });

  it('is at most four times the median', () => {
    const quotas = quotasOf([{ charsPerSecond: 4e4 }, ...Array.from({ length: 9 }, () => ({ charsPerSecond: 5e3 }))]);
    expect(quotas[0]).toBe(4);
    expect(quotas.reduce((sum, quota) => sum + quota)).toBe(20);
  });

  it('is at most a tenth before its first audits, if others have passed theirs', () => {
    expect(quotasOf([{ charsPerSecond: 1e6, passed: 0 }, { charsPerSecond: 1e6 }])).toEqual([2, 18]);
    expect(
      quotasOf([
        { charsPerSecond: 1e6, passed: 0 },
        { charsPerSecond: 1e6, passed: 0 },
      ]),
    ).toEqual([10, 10]);
  });

  it('is all of it if nobody else can compute', () => {
    const run = createRun();
    run.join('a');
    for (let i = 0; i < 10; i++) run.playRound();
    expect(run.leases.flatMap(({ streams }) => streams)).toHaveLength(20);
  });
});

describe('what a volunteer says', () => {
  const decline = (run: ReturnType<typeof createRun>, lease: LeaseEffect) =>
    run.feed({ type: 'declined', workerId: lease.workerId, leaseId: lease.leaseId, code: 'not_finite', reason: 'NaN' });

  /** The only worker says three times that its gradient is not finite. */
  function refuses(run: ReturnType<typeof createRun>): readonly RunEffect[] {
    let effects: readonly RunEffect[] = [];
    for (let i = 0; i < 3; i++) {
      effects = decline(run, run.leases.pop()!);
      if (run.state.phase === 'over') return effects;
      run.join('a');
    }
    return effects;
  }

  it('ends no run: the coordinator computes the lease itself', () => {
    const run = createRun();
    run.join('a');
    expect(refuses(run)).toContainEqual(expect.objectContaining({ type: 'verify', round: 0, claimants: ['a'] }));
    expect(run.state.phase).toBe('running');
    run.feed({ type: 'verified', round: 0, claimants: ['a'], finite: false, reason: 'not finite' });
    expect(run.state.phase).toBe('over');
  });

  it('ends the run if everyone who says so is trusted', () => {
    const run = createRun();
    run.join('a', true);
    refuses(run);
    expect(run.state.phase).toBe('over');
  });

  it('bans it when it has said so three times and was wrong', () => {
    const run = createRun();
    run.join('a');
    const wrong = () => run.feed({ type: 'verified', round: 0, claimants: ['a'], finite: true, reason: '' });
    expect([wrong(), wrong()].flat()).not.toContainEqual(expect.objectContaining({ type: 'ban' }));
    expect(wrong()).toContainEqual(expect.objectContaining({ type: 'ban', workerId: 'a' }));
  });

  it('of its loss is not believed without an audit', () => {
    const run = createRun();
    run.join('a');
    for (let i = 0; i < 30; i++) run.playRound();
    let audits = 0;
    for (let i = 0; i < 12; i++) {
      const { round } = run.state;
      const [lease] = run.leases.splice(0);
      if (lease.audit === 'copy') audits++;
      else run.count(lease, 1e9);
      if (lease.audit === 'copy') run.audited(lease, 'sound');
      if (lease.audit === 'copy') run.count(lease);
      run.feed({ type: 'updated', round, trainLoss: 1e9 });
      expect(run.state.phase).toBe('running');
    }
    // Each claim is the reason for an audit of the next lease.
    expect(audits).toBeGreaterThan(4);
  });
});

describe('a norm beyond those of before', () => {
  const NORM = 0.5;
  const countWith = (run: ReturnType<typeof createRun>, { workerId, leaseId, round, streams }: LeaseEffect, norm: number) =>
    run.feed({ type: 'counted', workerId, leaseId, round, streams, lossSum: 1, computeMs: 5, serviceMs: 0, norm });

  it('is named by the leases of volunteers once enough are known, until somebody changes the training', () => {
    const run = createRun();
    run.join('a');
    const named = new Set<number | undefined>();
    const playWithNorms = (): void => {
      const { round } = run.state;
      for (const lease of run.leases.splice(0)) {
        named.add(lease.mostNorm);
        if (lease.audit !== 'none') run.audited(lease, 'sound');
        countWith(run, lease, NORM);
      }
      run.feed({ type: 'updated', round, trainLoss: 4 });
    };
    for (let i = 0; i < 60; i++) playWithNorms();
    expect([...named]).toEqual([Number.MAX_VALUE, NORM * FAR_BEYOND]);
    run.feed({ type: 'tuned' });
    named.clear();
    playWithNorms();
    playWithNorms();
    // The first was lent before.
    expect([...named]).toEqual([NORM * FAR_BEYOND, Number.MAX_VALUE]);
  });

  it('is of no interest in those of workers that are trusted', () => {
    const run = createRun();
    run.join('a', true);
    for (let i = 0; i < 3; i++) {
      expect(run.leases.map((lease) => 'mostNorm' in lease)).toEqual([false]);
      run.playRound();
    }
  });

  it('opens an audit, whose verdict counts as any other', () => {
    const run = createRun();
    run.join('a');
    for (let i = 0; i < 200; i++) run.playRound();
    const lease = run.leases.find(({ audit }) => audit === 'none') ?? run.leases[0];
    run.feed({ ...lease, type: 'conspicuous' });
    expect(run.state.audits.open.get(lease.leaseId)).toMatchObject({ workerId: 'a', mode: 'hold' });
    const { passed } = workersOf(run)[0].trust;
    run.audited(lease, 'sound');
    expect([workersOf(run)[0].trust.passed, run.state.audits.open.size]).toEqual([passed + 1, 0]);
    run.count(lease);
    run.feed({ ...lease, type: 'conspicuous' });
    expect(run.audited(lease, 'wrong')).toContainEqual(expect.objectContaining({ type: 'ban', workerId: 'a' }));
  });
});
